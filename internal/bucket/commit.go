package bucket

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// format is the version of the form of commits that this program writes, and the newest that it reads.
const format = 1

// compressFrom is the size in bytes from which a commit is compressed.
const compressFrom = 4 << 10

// Commit is one object of the log: rows of the ledger as one transaction left them.
type Commit struct {
	Format int `json:"format"`
	// Ledger is the id of the ledger.
	Ledger string `json:"ledger"`
	// Chain and Number are the place in the log; the first number is 1.
	Chain  string `json:"chain"`
	Number int64  `json:"number"`
	// Prev is the hash of the commit before; empty for the first.
	Prev string `json:"prev"`
	// After is the last commit of the first log that the writer had read: the commits before it are needed to read this
	// one. It is 0 in the first log itself.
	After int64 `json:"after,omitempty"`
	// Writer is the process that made the commit, and ID the commit itself.
	Writer string `json:"writer"`
	ID     string `json:"commit"`
	// Schema is the version of the tables to which the rows belong.
	Schema int `json:"schema"`
	// Tables are the changed rows.
	Tables []Table `json:"tables"`

	// Hash is the SHA-256 of the commit's text, in hex. It is not part of the text.
	Hash string `json:"-"`
}

// Table holds the changed rows of one table, the rows that exist and the keys of those that were deleted.
type Table struct {
	Name    string   `json:"table"`
	Columns []string `json:"columns,omitempty"`
	Rows    [][]any  `json:"rows,omitempty"`
	Key     []string `json:"key,omitempty"`
	Deleted [][]any  `json:"deleted,omitempty"`
}

// encode returns the object of a commit and sets its hash. The text is canonical: one commit has one text.
func (c *Commit) encode() ([]byte, error) {
	c.Format = format
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	if len(text) > maxCommit {
		return nil, fmt.Errorf("one write of %d MB is too large for the log", len(text)>>20)
	}
	c.Hash = hashOf(text)
	if len(text) < compressFrom {
		return text, nil
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write(text); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if packed.Len() > maxObject {
		return nil, fmt.Errorf("one write of %d MB is too large for the log", packed.Len()>>20)
	}
	return packed.Bytes(), nil
}

func hashOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

var errDamaged = errors.New("the object is not a whole commit")

// decode reads the object of a commit.
func decode(object []byte) (*Commit, error) {
	text := object
	if bytes.HasPrefix(object, []byte{0x1f, 0x8b}) {
		r, err := gzip.NewReader(bytes.NewReader(object))
		if err != nil {
			return nil, errDamaged
		}
		if text, err = io.ReadAll(io.LimitReader(r, maxCommit+1)); err != nil || len(text) > maxCommit {
			return nil, errDamaged
		}
	}
	var version struct {
		Format int `json:"format"`
	}
	if json.Unmarshal(text, &version) != nil || version.Format < 1 {
		return nil, errDamaged
	}
	if version.Format > format {
		return nil, jit.ErrNewerLedger
	}
	c := &Commit{}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	d.DisallowUnknownFields()
	if err := d.Decode(c); err != nil || d.More() {
		return nil, errDamaged
	}
	c.Hash = hashOf(text)
	return c, nil
}
