package sweeper

import (
	"context"
	"fmt"
	"time"
)

// lapse records the requests that waited for approval in vain, unless the clocks disagree, which skew says.
func (e *engine) lapse(ctx context.Context, now time.Time, skew error) error {
	if skew != nil || e.DryRun {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, ledgerTimeout)
	defer cancel()
	if err := e.Broker.Lapse(ctx, e.served(), now); err != nil {
		return fmt.Errorf("record requests that lapsed: %w", err)
	}
	return nil
}
