package approval

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

var digestForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

const (
	// Extension ends the name of every file with a statement.
	Extension = ".approval"
	// signatureExtension is the extension that ssh-keygen appends for a signature beside its text.
	signatureExtension = ".sig"
	// maxFile bounds a file, in bytes, and maxFiles their number in a folder.
	maxFile, maxFiles = 64 << 10, 100_000
)

// begin is the line at which the signature of a file begins.
const begin = "-----BEGIN SSH SIGNATURE-----"

// Signed is a statement that was found. Only its form has been checked.
type Signed struct {
	Statement
	// Text is the signed text, and Signature the armored signature.
	Text, Signature []byte
	// Source names the place, such as the file.
	Source string
	// Recorded reports whether the ledger has it.
	Recorded bool
}

// FileName returns the name of the file for a statement. It is unique for a request, a person and a moment.
func FileName(s Statement) string {
	who := strings.Map(func(r rune) rune {
		if r < 0x80 &&
			(r == '@' || r == '.' || r == '-' || r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z') {
			return r
		}
		return '_'
	}, s.Approver)
	who = strings.TrimLeft(who, ".-")
	return fmt.Sprintf("%s-%s-%d%s", s.Digest[:12], who, s.SignedAt.Unix(), Extension)
}

// Join returns the content of a file with a text and its signature.
func Join(text, armored []byte) []byte { return slices.Concat(text, armored) }

// Split parses the content of a file. Line ends that a checkout on Windows has changed do not matter.
func Split(content []byte, source string) (Signed, error) {
	content = bytes.ReplaceAll(content, []byte("\r\n"), []byte("\n"))
	at := bytes.Index(content, []byte("\n"+begin))
	if at < 0 {
		return Signed{}, errors.New("it has no signature; sign it with ssh-keygen -Y sign -n " + Namespace)
	}
	text, armored := content[:at+1], content[at+1:]
	s, err := Parse(text)
	return Signed{Statement: s, Text: text, Signature: armored, Source: source}, err
}

// ReadDir reads all statements of a folder. A folder that does not exist holds none. An entry that is no statement does
// not stop the others; bad names it. The error means that the folder, or a file that may be a statement, cannot be read.
func ReadDir(dir string) (all []Signed, bad []error, err error) {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil, nil
	case err != nil:
		return nil, nil, fmt.Errorf("read approvals: %w", err)
	case len(entries) > maxFiles:
		return nil, nil, fmt.Errorf(
			"read approvals: %s holds %d files; at most %d are read",
			dir,
			len(entries),
			maxFiles,
		)
	}
	for _, e := range entries {
		if filepath.Ext(e.Name()) != Extension {
			continue
		}
		path := filepath.Join(dir, e.Name())
		content, err := readFile(path)
		if errors.Is(err, errUnfit) || errors.Is(err, fs.ErrNotExist) {
			bad = append(bad, err)
			continue
		}
		if err != nil { // it may deny
			return nil, nil, fmt.Errorf("read approvals: %w", err)
		}
		s, err := Split(content, path)
		if err != nil {
			bad = append(bad, fmt.Errorf("%s: %w", path, err))
			continue
		}
		all = append(all, s)
	}
	return all, bad, nil
}

// readFile reads a file, with the signature beside it if it holds none.
func readFile(path string) ([]byte, error) {
	content, err := readBounded(path)
	if err != nil || bytes.Contains(content, []byte("\n"+begin)) {
		return content, err
	}
	beside, err := readBounded(path + signatureExtension)
	if errors.Is(err, fs.ErrNotExist) {
		return content, nil
	}
	return slices.Concat(content, beside), err
}

// errUnfit is the error of an entry that cannot be a statement.
var errUnfit = errors.New("it is no file of an approval")

func readBounded(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: %w", path, errUnfit)
	}
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path) // #nosec G304 -- the folder is the user's own setting
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was read only
	content, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(content) > maxFile {
		err = fmt.Errorf("%s is longer than %d bytes: %w", path, maxFile, errUnfit)
	}
	return content, err
}
