package notice

import (
	"context"
	"math"
	"time"
)

// Position is how far the deliveries to a receiver have come.
type Position struct {
	Receiver string `json:"receiver"`
	Format   Format `json:"format"`
	// Seq is the last event delivered or skipped; 0 before the first.
	Seq int64 `json:"seq"`
	// Behind counts the events after Seq, wanted or not, and Since is when the first of them was recorded.
	Behind int64     `json:"behind"`
	Since  time.Time `json:"since,omitzero"`
	// Sender is the process that delivers to the receiver; empty if none does.
	Sender string `json:"sender,omitempty"`
	// New is set while no sender has served the receiver. It is sent the events from then on.
	New bool `json:"new,omitempty"`
}

// never is later than any recorded event, whatever a wrong clock said: the first event since then is the next one.
var never = time.UnixMicro(math.MaxInt64)

// Positions returns the position of each receiver. It writes nothing.
func (s *Sender) Positions(ctx context.Context) ([]Position, error) {
	now := s.Now()
	all := make([]Position, len(s.Receivers))
	for i, r := range s.Receivers {
		next, holder, until, err := s.Leases.Holder(ctx, s.leaseOf(r))
		if err != nil {
			return nil, err
		}
		p := &all[i]
		p.Receiver, p.Format, p.New = r.Name, r.Format, next == 0
		if until.After(now) {
			p.Sender = holder
		}
		if p.New {
			continue
		}
		end, err := s.Ledger.FirstEvent(ctx, never)
		if err != nil {
			return nil, err
		}
		p.Seq, p.Behind = next-1, max(0, end-next)
		for e, err := range s.Ledger.Events(ctx, next) {
			if err != nil {
				return nil, err
			}
			p.Since = e.At
			break
		}
	}
	return all, nil
}
