package bucket

import (
	"context"
	"errors"
	"path"
	"strings"
	"time"
)

// Retention says until when the store keeps an object from being removed or replaced, whoever asks.
type Retention struct {
	// Key is the name of the object.
	Key string `json:"key"`
	// By is what keeps it, in the store's own words; empty if nothing does.
	By string `json:"by,omitempty"`
	// Until is when that ends; zero if the store does not say, or if it does not end by itself.
	Until time.Time `json:"until,omitzero"`
}

// keeper is a store that tells about retention.
type keeper interface {
	// retention returns, in order, some objects whose names begin with prefix and come after a key, with what keeps each;
	// more: others may follow.
	retention(ctx context.Context, prefix, after string) (some []Retention, more bool, err error)
}

var _, _, _ keeper = (*s3Store)(nil), (*gcsStore)(nil), (*azureStore)(nil)

// Retention passes what keeps each commit of each chain to visit.
func (l *Log) Retention(ctx context.Context, visit func(Retention)) error {
	prefix, after := l.at.Prefix, ""
	if prefix != "" {
		prefix += "/"
	}
	for more := true; more; {
		var some []Retention
		err := retried(ctx, func(ctx context.Context) (err error) {
			some, more, err = l.store.(keeper).retention(ctx, prefix, after)
			return err
		})
		if errors.Is(err, errBusy) || errors.Is(err, errUnsure) {
			return l.failed("read the retention in", err)
		}
		if err != nil {
			return err
		}
		for _, r := range some {
			if after = r.Key; isCommit(strings.TrimPrefix(r.Key, prefix)) {
				visit(r)
			}
		}
		more = more && len(some) > 0
	}
	return nil
}

// isCommit reports whether the name of an object below the prefix is that of a commit.
func isCommit(name string) bool {
	folder, _ := path.Split(name)
	chain, log := path.Split(strings.TrimSuffix(folder, "/"))
	_, err := numberOf(folder, name)
	return err == nil && log == "log" && chain != "" && !strings.Contains(strings.TrimSuffix(chain, "/"), "/")
}
