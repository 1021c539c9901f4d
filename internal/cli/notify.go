package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/notice"
)

// sender returns a sender of notices to the receivers in the settings.
func (p *program) sender(rt *config.Runtime, holder string) *notice.Sender {
	return &notice.Sender{
		Ledger: rt.Ledger, LedgerID: rt.Ledger.ID, Leases: rt.Ledger.Leases(), Owner: rt.Broker.Owner,
		Receivers: rt.Receivers, Holder: holder, Now: p.Now,
	}
}

// flushTimeout bounds the delivery of notices after one pass.
const flushTimeout = 30 * time.Second

// flush records which grants end soon, and delivers the notices that are due after one pass of the sweeper. The next
// pass delivers the rest.
func (p *program) flush(ctx context.Context, rt *config.Runtime) {
	if len(rt.Receivers) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	var err error
	if rt.NoticeBefore > 0 {
		_, err = rt.Broker.Announce(ctx, rt.NoticeBefore)
	}
	sender := p.sender(rt, uniqueHolder())
	var mu sync.Mutex // receivers are served concurrently
	sender.Tried = func(receiver string, r notice.Result, err error) {
		if r == notice.PassedOver {
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintf(p.err, "warning: notify %s: %v\n", receiver, err)
		}
	}
	if err := errors.Join(err, sender.Flush(ctx)); err != nil {
		fmt.Fprintf(p.err, "warning: not every notice was delivered; the next sweep tries again: %v\n", err)
	}
}

func (p *program) notifyCommand() *cobra.Command {
	var name string
	test := p.command(&cobra.Command{
		Use:   "test NAME",
		Short: "Send a test notice to a receiver",
		Long: `Send one notice of the type io.github.jitaccess.test to a receiver that notify in jit.hcl names, whatever
its events and targets are.

Exit codes: 0 the receiver accepted it, 1 it did not, 2 the ledger could not be read, 3 the command line or the settings
are wrong, 5 no receiver has that name.`,
		Example:           `  jit notify test ops`,
		Args:              oneArgument("NAME", "give the name of a receiver under notify in jit.hcl"),
		ValidArgsFunction: p.completeReceivers,
	}, func(args []string) error {
		name = args[0]
		return nil
	}, func(ctx context.Context, rt *config.Runtime) error { return p.notifyTest(ctx, rt, name) })
	status := p.command(&cobra.Command{
		Use:   "status",
		Short: "List the last event sent to each receiver",
	}, nil, p.notifyStatus)
	p.jsonFlag(status)
	cmd := &cobra.Command{Use: "notify", Short: "Test the receivers of notices, and see how far behind each one is"}
	return group(cmd, test, status)
}

func (p *program) notifyTest(ctx context.Context, rt *config.Runtime, name string) error {
	r, err := receiver(rt, name)
	if err != nil {
		return err
	}
	err = p.sender(rt, uniqueHolder()).Test(ctx, r, rt.Broker.Actor)
	switch {
	case errors.Is(err, notice.ErrNotAccepted):
		return notDone(fmt.Errorf("notify %s: %w", name, err))
	case err != nil:
		return unreadable(fmt.Errorf("notify %s: %w", name, err))
	}
	fmt.Fprintf(p.err, "%s accepted the notice.\n", name)
	return nil
}

// receiver returns the receiver with that name in the settings.
func receiver(rt *config.Runtime, name string) (*notice.Receiver, error) {
	var names []string
	for _, r := range rt.Receivers {
		if r.Name == name {
			return r, nil
		}
		names = append(names, r.Name)
	}
	return nil, &jit.Error{
		Attribute: "NAME", Err: jit.ErrUnknown, Problem: fmt.Sprintf("%q is not a receiver", name),
		Hint: "write one of the names under notify in the settings" + didYouMean(name, names),
	}
}

func (p *program) notifyStatus(ctx context.Context, rt *config.Runtime) error {
	all, err := p.sender(rt, uniqueHolder()).Positions(ctx)
	if err != nil {
		return unreadable(err)
	}
	if p.json {
		return p.printJSON(all)
	}
	if len(all) == 0 {
		fmt.Fprintln(p.err, "There are no receivers.")
		return nil
	}
	t := p.table(p.out, "SENDER", "FORMAT")
	t.row("RECEIVER", "FORMAT", "LAST EVENT", "BEHIND", "SINCE", "SENDER")
	for _, r := range all {
		last := jit.PlaceIn(rt.Broker.Owner, r.Seq) + ", " + jit.PlaceIn(jit.AllChain, r.All)
		if r.New {
			last = "new"
		}
		t.row(r.Receiver, string(r.Format), last, strconv.FormatInt(r.Behind, 10), jit.FormatTime(r.Since), r.Sender)
	}
	t.flush()
	return nil
}
