package ledger

import (
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// headFile is the end of the name of the file that holds the newest head of a ledger in a file. It is written after
// each commit and not flushed: it may lag behind the ledger, and is never ahead of it.
const headFile = ".head"

// loadHead returns the head in the file beside the ledger; zero if there is none or it cannot be read.
func (s *sqliteFile) loadHead() (h jit.Head) {
	path, err := resolved(s.path)
	if err != nil {
		return h
	}
	text, err := os.ReadFile(path + headFile)
	if err != nil || json.Unmarshal(text, &h) != nil {
		return jit.Head{}
	}
	return h
}

// saveHead replaces the file beside the ledger. The ledger works without it, so an error is no error of the write.
func (s *sqliteFile) saveHead(h jit.Head) {
	path, err := resolved(s.path)
	if err != nil {
		return
	}
	text, err := json.Marshal(h)
	if err != nil {
		panic(err) // texts and a number always marshal
	}
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+headFile+".*")
	if err != nil {
		return
	}
	_, err = file.Write(append(text, '\n'))
	if closed := file.Close(); err == nil && closed == nil {
		err = os.Rename(file.Name(), path+headFile)
	}
	if err != nil {
		_ = os.Remove(file.Name())
	}
}
