package awsidentitycenter

import (
	"context"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ssoadmin/types"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// request is a write that the service has accepted and not finished.
type request struct {
	op jit.Op
	id string
}

// result is how a request ended, or why that is unknown.
type result struct {
	status *types.AccountAssignmentOperationStatus
	err    error
}

// progress waits for requests. At each tick, one list for all creations and one for all deletions show which are under
// way; a request that has left the list is then described by itself. It is safe for concurrent use.
type progress struct {
	client *client

	mu      sync.Mutex
	waiting map[request]chan result
	polling bool
}

func newProgress(c *client) *progress {
	return &progress{client: c, waiting: map[request]chan result{}}
}

// await returns how the request ended. An error means that it may still be under way.
func (p *progress) await(ctx context.Context, r request) (*types.AccountAssignmentOperationStatus, error) {
	done := make(chan result, 1)
	p.mu.Lock()
	p.waiting[r] = done
	if !p.polling {
		p.polling = true
		go p.poll(context.WithoutCancel(ctx))
	}
	p.mu.Unlock()
	select {
	case ended := <-done:
		return ended.status, ended.err
	case <-ctx.Done():
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.waiting, r)
		return nil, ctx.Err()
	}
}

// poll polls for as long as somebody waits.
func (p *progress) poll(ctx context.Context) {
	for {
		time.Sleep(p.client.platform.pace.tick)
		p.mu.Lock()
		open := map[jit.Op][]string{}
		for r := range p.waiting {
			open[r.op] = append(open[r.op], r.id)
		}
		p.polling = len(p.waiting) > 0
		p.mu.Unlock()
		if len(open) == 0 {
			return
		}
		for op, ids := range open {
			p.pollAll(ctx, op, ids)
		}
	}
}

// pollAll delivers the results of the requests that have ended.
func (p *progress) pollAll(ctx context.Context, op jit.Op, ids []string) {
	underWay, err := p.client.underWay(ctx, op)
	for _, id := range ids {
		ended := result{err: err}
		if err == nil {
			if underWay[id] {
				continue
			}
			ended.status, ended.err = p.client.status(ctx, op, id)
			if ended.err == nil && ended.status.Status == types.StatusValuesInProgress {
				continue // the list does not have it yet
			}
		}
		p.mu.Lock()
		if done, ok := p.waiting[request{op, id}]; ok {
			done <- ended
			delete(p.waiting, request{op, id})
		}
		p.mu.Unlock()
	}
}
