package notice

import (
	"context"
	"math"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Position is how far the deliveries to a receiver have come.
type Position struct {
	Receiver string `json:"receiver"`
	Format   Format `json:"format"`
	// Seq is the last event of the owner's chain that was delivered or skipped, and All that of [jit.AllChain]; 0 before
	// the first.
	Seq int64 `json:"seq"`
	All int64 `json:"all_seq"`
	// Behind counts the events after Seq and All, wanted or not, and Since is when the first of them was recorded.
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
		p := &all[i]
		p.Receiver, p.Format = r.Name, r.Format
		if err := s.position(ctx, r, now, p); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// idle reports that a receiver has been sent everything, so that nobody needs its lease. Other ledgers than thrifty
// ones are never idle: their sender keeps the lease. It writes nothing.
func (s *Sender) idle(ctx context.Context, r *Receiver) (bool, error) {
	if !jit.Thrifty(s.Leases) {
		return false, nil
	}
	for _, c := range s.cursorsOf(r) {
		next, _, _, err := s.Leases.Holder(ctx, c.lease)
		if err != nil || next == 0 {
			return false, err
		}
		end, err := s.Ledger.FirstEvent(ctx, c.chain, never)
		if err != nil || next != end {
			return false, err
		}
	}
	return true, nil
}

// position adds how far the deliveries to a receiver have come in each chain.
func (s *Sender) position(ctx context.Context, r *Receiver, now time.Time, p *Position) error {
	for _, c := range s.cursorsOf(r) {
		next, holder, until, err := s.Leases.Holder(ctx, c.lease)
		if err != nil {
			return err
		}
		if c.chain == jit.AllChain {
			if until.After(now) {
				p.Sender = holder
			}
			if p.New = next == 0; p.New {
				return nil
			}
		}
		next = max(next, 1) // an older program served the receiver last
		end, err := s.Ledger.FirstEvent(ctx, c.chain, never)
		if err != nil {
			return err
		}
		p.Behind += max(0, end-next)
		p.Seq = next - 1
		if c.chain == jit.AllChain {
			p.All, p.Seq = next-1, 0
		}
		for e, err := range s.Ledger.Events(ctx, c.chain, next) {
			if err != nil {
				return err
			}
			if p.Since.IsZero() || e.At.Before(p.Since) {
				p.Since = e.At
			}
			break
		}
	}
	return nil
}
