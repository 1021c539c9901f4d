package ledger

import (
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// headFile is the end of the name of the file that holds the newest heads of a ledger in a file, one a chain. It is
// written after each commit and not flushed: it may lag behind the ledger, and is never ahead of it.
const headFile = ".head"

// headKeeper keeps the newest heads in a file of this machine.
type headKeeper interface {
	loadHeads() map[string]jit.Head
	saveHeads(heads []jit.Head)
}

// loadHeads returns the heads in the file beside the ledger, by chain; none if there is none or it cannot be read.
func (s *sqliteFile) loadHeads() map[string]jit.Head {
	heads := map[string]jit.Head{}
	path, err := resolved(s.path)
	if err != nil {
		return heads
	}
	text, err := os.ReadFile(path + headFile)
	if err != nil {
		return heads
	}
	for _, h := range jit.ParseHeads(text) {
		heads[h.Chain] = h
	}
	return heads
}

// saveHeads replaces the file beside the ledger. The ledger works without it, so an error is no error of the write.
func (s *sqliteFile) saveHeads(heads []jit.Head) {
	path, err := resolved(s.path)
	if err != nil {
		return
	}
	text, err := json.Marshal(heads)
	if err != nil {
		panic(err) // texts and numbers always marshal
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
