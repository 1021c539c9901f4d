package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/status"
)

// reportOptions are the flags of jit report.
type reportOptions struct {
	selection
	from, to, output string
}

func (p *program) reportCommand() *cobra.Command {
	var o reportOptions
	cmd := p.command(&cobra.Command{
		Use:   "report",
		Short: "Write who had access to what in a period, as one HTML file",
		Long: `Write the grants that gave access in a period: who, what, why, from when until when, and how each ended. The
report also says who asked for each grant, in which change, and who approved it. It has a timeline, what people
decided on requests, which requests lapsed, drift, failed revocations and policy changes. Each row links to the facts
and events of its grant, in the same file, for the first 1,000 grants. The HTML file needs no script and no network. It
names the head of the record (the number and hash of the last event), which jit audit verify checks.

Exit codes: 0 written, 1 the file could not be written, or the record is not intact, 2 the ledger could not be read,
3 the command line or the settings are wrong, 5 no target or principal has that name.`,
		Example: `  jit report -o report.html
  jit report --from 2026-11-01T00:00:00Z --to 2026-12-01T00:00:00Z --target 'prod*' -o november.html
  jit report --from 7d --json | jq .totals`,
	}, func([]string) error {
		if p.json == (o.output != "") {
			return jit.Invalid("--output", "write -o report.html, -o - for standard output, or --json",
				"choose one form of output: a file, or --json")
		}
		return nil
	}, func(ctx context.Context, rt *config.Runtime) error { return p.makeReport(ctx, rt, o) })
	o.addFlags(p, cmd)
	cmd.Flags().
		StringVar(&o.from, "from", "30d", "the beginning: a `time` (2026-11-01T00:00:00Z), or how long ago (30d)")
	cmd.Flags().StringVar(&o.to, "to", "", "the end: a `time`, or how long ago (default now)")
	cmd.Flags().StringVarP(&o.output, "output", "o", "", "the HTML `file` to write; - is standard output")
	p.jsonFlag(cmd)
	return cmd
}

// period reads the beginning and the end of the report.
func (p *program) period(o reportOptions) (from, to time.Time, err error) {
	if from, err = p.timeOrAge("--from", o.from); err != nil {
		return from, to, err
	}
	to, err = p.timeOrAge("--to", cmp.Or(o.to, jit.FormatTime(p.Now().Add(time.Second))))
	if err == nil && !from.Before(to) {
		err = jit.Invalid("--from", "choose a beginning before the end", "the period would begin at %s and end at %s",
			jit.FormatTime(from), jit.FormatTime(to))
	}
	return from, to, err
}

func (p *program) makeReport(ctx context.Context, rt *config.Runtime, o reportOptions) error {
	from, to, err := p.period(o)
	if err != nil {
		return err
	}
	wanted, err := o.ledgerMatcher(ctx, rt)
	if err != nil {
		return err
	}
	if err := o.checkTarget(ctx, rt); err != nil {
		return err
	}
	checked, err := rt.Ledger.Verify(ctx)
	if err != nil {
		return unreadable(err)
	}
	head := status.Head{Ledger: checked.Ledger, Root: checked.Root, Events: checked.Events, Intact: checked.OK()}
	r, err := status.NewReport(ctx, rt.Ledger, rt.Broker.Owner, status.Period{From: from, To: to, Wanted: wanted}, head,
		p.Now())
	if err != nil {
		return unreadable(err)
	}
	if err := p.writeReport(r, o.output); err != nil {
		return notDone(err)
	}
	if !checked.OK() {
		return notDone(fmt.Errorf("%w; see jit audit verify", notIntact(checked)))
	}
	return nil
}

// writeReport writes the report as JSON to standard output, or as HTML to the output.
func (p *program) writeReport(r status.Report, output string) error {
	if p.json {
		return p.printJSON(r)
	}
	var page bytes.Buffer
	if err := r.WriteHTML(&page); err != nil {
		return err
	}
	if output == "-" {
		_, err := page.WriteTo(p.out)
		return err
	}
	write := func(file io.Writer) error { _, err := page.WriteTo(file); return err }
	if err := replaceFile(output, write); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	fmt.Fprintf(p.err, "Wrote %s to %s.\n", counted(r.Totals.Grants, "grant"), printable(output))
	return nil
}

// replaceFile replaces a file as a whole by what write writes, readable only by its owner. On an error the old file
// stays. A link stays, and what it leads to is replaced. It writes into a pipe or a device as it is.
func replaceFile(name string, write func(io.Writer) error) error {
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		file, err := os.OpenFile(name, os.O_WRONLY, 0) // #nosec G304 -- the user names it
		if err != nil {
			return err
		}
		return errors.Join(write(file), file.Close())
	}
	if target, err := filepath.EvalSymlinks(name); err == nil {
		name = target
	}
	next, err := os.CreateTemp(filepath.Dir(name), ".jit-*")
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer func() { _ = os.Remove(next.Name()) }() // after the rename there is none
	if err := errors.Join(write(next), next.Sync(), next.Close()); err != nil {
		return err
	}
	return os.Rename(next.Name(), name)
}
