package ledger

import (
	"context"
	"path"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/bucket"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Kept says which objects of a record in a bucket the store keeps from being removed or replaced.
type Kept struct {
	// Objects counts the commits, Kept those that are kept now.
	Objects int64 `json:"objects"`
	Kept    int64 `json:"kept"`
	// Until is when the first of them may be removed; zero if the store tells no time.
	Until time.Time `json:"until,omitzero"`
	// Retention has every object.
	Retention []bucket.Retention `json:"retention"`
}

// keeps reports whether the store keeps an object at a time.
func keeps(r bucket.Retention, now time.Time) bool {
	return r.By != "" && (r.Until.IsZero() || r.Until.After(now))
}

// Retention asks the store of a ledger in a bucket about every commit; with an owner, about those of its log and of
// [jit.AllChain].
func (l *Ledger) Retention(ctx context.Context, owner string) (Kept, error) {
	var k Kept
	b, ok := l.db.(*inBucket)
	if !ok {
		return k, jit.Invalid("--locked", "leave it out: only a bucket can keep its objects from being replaced",
			"%s is not in a bucket", l.db.name())
	}
	now := l.now()
	err := b.log.Retention(ctx, func(r bucket.Retention) {
		chain := path.Base(strings.TrimSuffix(path.Dir(r.Key), "/log"))
		if owner != "" && chain != owner && chain != jit.AllChain {
			return
		}
		k.Objects++
		if keeps(r, now) {
			if k.Kept++; !r.Until.IsZero() && (k.Until.IsZero() || r.Until.Before(k.Until)) {
				k.Until = r.Until
			}
		}
		k.Retention = append(k.Retention, r)
	})
	return k, l.fail("read", err)
}

// Open returns the names of the objects that the store does not keep at a time.
func (k Kept) Open(now time.Time) []string {
	var keys []string
	for _, r := range k.Retention {
		if !keeps(r, now) {
			keys = append(keys, r.Key)
		}
	}
	return keys
}
