package approval

import "sync"

// Folder holds the statements of a folder. It reads the folder once, and again after Forget. The zero Folder holds
// none. It is safe for concurrent use.
type Folder struct {
	// Dir is the folder; empty for none.
	Dir string

	mu       sync.Mutex
	known    bool
	byDigest map[string][]Signed
	bad      []error
	err      error
}

// About returns the statements about the request of that digest. The error means that the folder cannot be read.
func (f *Folder) About(digest string) ([]Signed, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.read()
	return f.byDigest[digest], f.err
}

// Bad returns an error for each file that is not a statement.
func (f *Folder) Bad() []error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.read()
	return f.bad
}

// Forget makes the next call read the folder again.
func (f *Folder) Forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.known = false
}

func (f *Folder) read() {
	if f.Dir == "" || f.known {
		return
	}
	f.known = true
	var all []Signed
	all, f.bad, f.err = ReadDir(f.Dir)
	f.byDigest = map[string][]Signed{}
	for _, s := range all {
		f.byDigest[s.Digest] = append(f.byDigest[s.Digest], s)
	}
}
