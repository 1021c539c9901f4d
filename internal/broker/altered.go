package broker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Alteration says how a record differs from its events.
type Alteration struct {
	Words string
	// End is when the access ends according to the events; zero if they do not say.
	End time.Time
}

// Altered returns the grants whose record differs from its events: somebody has written into the ledger from outside.
// It reads the events of all grants with a few statements.
func (b *Broker) Altered(ctx context.Context, grants []jit.Grant) (map[jit.ID]Alteration, error) {
	altered := map[jit.ID]Alteration{}
	for range maxRetries {
		suspects, err := b.compare(ctx, grants)
		if err != nil {
			return nil, err
		}
		if grants, err = b.confirmAltered(ctx, grants, suspects, altered); err != nil {
			return nil, err
		}
		if len(grants) == 0 {
			return altered, nil
		}
	}
	for _, g := range grants { // nothing is put on a target for these
		altered[g.ID] = Alteration{Words: "it was changed each time when its events were read"}
	}
	return altered, nil
}

// confirmAltered adds the suspects to altered, except those whose record is newer than the given one, as the events may
// be. It returns the newer records.
func (b *Broker) confirmAltered(
	ctx context.Context, grants []jit.Grant, suspects, altered map[jit.ID]Alteration,
) (newer []jit.Grant, err error) {
	for _, g := range grants {
		a, suspect := suspects[g.ID]
		if !suspect {
			continue
		}
		recorded, known, err := b.Find(ctx, g.ID)
		if err != nil {
			return nil, err
		}
		if known && recorded.Version != g.Version {
			newer = append(newer, recorded)
		} else {
			altered[g.ID] = a
		}
	}
	return newer, nil
}

// compare returns the records that differ from their events.
func (b *Broker) compare(ctx context.Context, grants []jit.Grant) (map[jit.ID]Alteration, error) {
	accounts := make(map[jit.ID]*jit.Account, len(grants))
	ids := make([]jit.ID, 0, len(grants))
	for _, g := range grants {
		ids = append(ids, g.ID)
		accounts[g.ID] = &jit.Account{}
	}
	for e, err := range b.Ledger.EventsOf(ctx, ids) {
		if err != nil {
			return nil, fmt.Errorf("read the events of the grants: %w", err)
		}
		if account, asked := accounts[e.Grant]; asked {
			account.Add(e)
		}
	}
	altered := map[jit.ID]Alteration{}
	for _, g := range grants {
		if a, is := alteration(accounts[g.ID], g); is {
			altered[g.ID] = a
		}
	}
	return altered, nil
}

// alteration compares a record with its events.
func alteration(account *jit.Account, g jit.Grant) (a Alteration, is bool) {
	if account.Empty() {
		return Alteration{Words: "no event describes the record"}, true
	}
	var words []string
	for _, c := range account.Contradictions(g) {
		words = append(words, c.String())
	}
	return Alteration{strings.Join(words, "; "), account.End()}, len(words) > 0
}

// checkAltered returns an error for each grant whose record differs from its events: nothing is put on a target for it.
func (b *Broker) checkAltered(ctx context.Context, grants []jit.Grant) []error {
	altered, err := b.Altered(ctx, grants)
	errs := slices.Repeat([]error{err}, len(grants))
	for i, g := range grants {
		if a, is := altered[g.ID]; is {
			hint := "somebody has written into the ledger: run `jit audit verify`; `jit revoke %s` ends the access"
			errs[i] = jit.Errorf(jit.ErrAltered, "", fmt.Sprintf(hint, g.ID),
				"the record of grant %s differs from its events, so nothing is put on target %q for it: %s",
				g.ID, g.Target, a.Words)
		}
	}
	return errs
}
