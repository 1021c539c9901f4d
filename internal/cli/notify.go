package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/notice"
)

// sender makes what delivers the notices.
func (p *program) sender(rt *config.Runtime, holder string) *notice.Sender {
	return &notice.Sender{
		Ledger: rt.Ledger, LedgerID: rt.Ledger.ID, Leases: rt.Ledger.Leases(), Owner: rt.Broker.Owner, Receivers: rt.Receivers, Holder: holder, Now: p.Now,
	}
}

// flushTimeout bounds the delivery of notices after one pass.
const flushTimeout = 30 * time.Second

// flush announces what ends soon and delivers what is there to be told, after one pass of the sweeper. What cannot be delivered now is with the next one.
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
	var mu sync.Mutex // the receivers are told side by side
	sender.Told = func(receiver string, r notice.Result, err error) {
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
	cmd := &cobra.Command{
		Use:   "notify",
		Short: "Try the receivers of notices, and see how far each has been told",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	test := &cobra.Command{
		Use:   "test NAME",
		Short: "Send a notice that only tries a receiver",
		Long: `Send one notice of the type io.github.jitaccess.test to the receiver of that name in notify of the settings, whatever
events and targets say.

Exit codes: 0 the receiver took it, 1 it did not, 2 the ledger could not be read, 3 there is no such receiver, or the settings are
wrong.`,
		Example: `  jit notify test ops`,
		Args:    cobra.ExactArgs(1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			s, err := config.Load(p.config)
			if err != nil || len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return slices.Sorted(maps.Keys(s.Notify)), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.withRuntime(cmd.Context(), jit.FromCLI, func(ctx context.Context, rt *config.Runtime) error { return p.notifyTest(ctx, rt, args[0]) })
		},
	}
	status := &cobra.Command{
		Use:               "status",
		Short:             "List how far each receiver has been told",
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.withRuntime(cmd.Context(), jit.FromCLI, p.notifyStatus)
		},
	}
	p.jsonFlag(status)
	cmd.AddCommand(test, status)
	return cmd
}

func (p *program) notifyTest(ctx context.Context, rt *config.Runtime, name string) error {
	for _, r := range rt.Receivers {
		if r.Name != name {
			continue
		}
		if err := p.sender(rt, uniqueHolder()).Test(ctx, r, rt.Broker.Actor); err != nil {
			err = fmt.Errorf("notify %s: %w", name, err)
			if errors.Is(err, notice.ErrNotTaken) {
				return notDone(err)
			}
			return unreadable(err)
		}
		fmt.Fprintf(p.err, "%s took the notice.\n", name)
		return nil
	}
	return jit.Invalid("NAME", "write one of the names in notify of the settings", "%q is not a receiver", name)
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
	t := p.table(p.out)
	t.row("RECEIVER", "FORMAT", "TOLD UP TO EVENT", "BEHIND", "SINCE", "SENDER")
	for _, r := range all {
		told := strconv.FormatInt(r.Seq, 10)
		if r.New {
			told = "new"
		}
		t.row(r.Receiver, string(r.Format), told, strconv.FormatInt(r.Behind, 10), jit.FormatTime(r.Since), r.Sender)
	}
	t.flush()
	return nil
}
