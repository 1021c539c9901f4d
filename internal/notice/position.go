package notice

import (
	"context"
	"time"
)

// Position is how far a receiver has been told.
type Position struct {
	Receiver string `json:"receiver"`
	Format   Format `json:"format"`
	// Seq is the last event that it was told of or is not to be told of; 0 before there was any.
	Seq int64 `json:"seq"`
	// Behind counts the events after that, wanted or not, and Since is when the first of them was recorded.
	Behind int64     `json:"behind"`
	Since  time.Time `json:"since,omitzero"`
	// Sender is the process that has the receiver in hand; empty when none has.
	Sender string `json:"sender,omitempty"`
	// New: no sender has looked at it yet. It will be told of what comes then.
	New bool `json:"new,omitempty"`
}

// ahead is more than clocks are apart: no event was recorded that far ahead of now.
const ahead = 24 * time.Hour

// Positions tells how far each receiver has been told. It writes nothing.
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
		end, err := s.Ledger.FirstEvent(ctx, now.Add(ahead))
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
