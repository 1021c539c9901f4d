package ledger

import (
	"fmt"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// behind returns the error for a ledger that lacks a head; nil if it lacks none.
func (c *comparison) behind(name string) error {
	switch {
	case c.lost != (jit.Head{}):
		return &jit.Error{
			Attribute: "ledger",
			Problem: fmt.Sprintf("%s has gone back in time: event %s with the hash %.12s… was recorded and is not there. "+
				"Revocations may be lost, so nothing is granted, started, changed or repaired; ending goes on",
				name, c.lost.Place(), c.lost.Hash),
			Hint: "put the newer ledger back; if it is lost, look at `jit list` and " +
				"accept this one: jit ledger accept --reason TEXT",
			Err: jit.ErrBehind,
		}
	case c.told != (jit.Head{}):
		epoch := ""
		if c.told.Epoch != c.epoch() { // no event names it, so the acceptance has to
			epoch = " --epoch " + c.told.Epoch
		}
		return &jit.Error{
			Attribute: "ledger",
			Problem: fmt.Sprintf("%s does not have event %s with the hash %.12s…, which the state remembers. The state may "+
				"belong to a copy of the ledger, or the ledger has gone back in time. So this run grants, changes and "+
				"repairs nothing; it can end access", name, c.told.Place(), c.told.Hash),
			Hint: "if the state belongs to a copy, set ledger to the URL of that copy, or use the state of this ledger; " +
				"if this ledger was restored from a backup, accept it: jit ledger accept --reason TEXT" + epoch,
			Err: jit.ErrStateAhead,
		}
	}
	return nil
}
