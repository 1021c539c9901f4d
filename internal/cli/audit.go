package cli

import (
	"bufio"
	"cmp"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
)

func (p *program) auditCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Check and export the record",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(p.auditVerifyCommand(), p.auditHeadCommand(), p.auditExportCommand())
	return cmd
}

func (p *program) auditVerifyCommand() *cobra.Command {
	var head headCheck
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check that the record is what was recorded",
		Long: `Check every event against its hash, each against the one before, and the last against the ledger's head. Rebuild the grants
and policies from their events and name each one that differs from its row, was removed, or has no event.

The head that is printed names the whole record. Whoever can write to the database can write a whole new
chain: keep the head elsewhere now and then (jit audit head), and have the record checked against it with --head: the same
ledger has to have the same event at that place. --signer says whose signature a head has to bear. Without --head a cut tail cannot
be seen: somebody may have removed the last events together with what they tell of.

Exit codes: 0 the record is intact, 1 it is not, 2 it could not be read.`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.withRuntime(cmd.Context(), jit.FromCLI, func(ctx context.Context, rt *config.Runtime) error { return p.auditVerify(ctx, rt, head) })
		},
	}
	cmd.Flags().StringVar(&head.file, "head", "", "also check that the record still holds the head in this `file`")
	cmd.Flags().StringVar(&head.signer, "signer", "", "with --head: the `file` of the public SSH key that signed it")
	p.jsonFlag(cmd)
	return cmd
}

func (p *program) auditVerify(ctx context.Context, rt *config.Runtime, check headCheck) error {
	kept, signed, err := check.load()
	if err != nil {
		return err
	}
	report, err := rt.Ledger.Verify(ctx)
	if err != nil {
		return unreadable(err)
	}
	gone := ""
	if kept != nil {
		if gone, err = kept.missingFrom(ctx, rt, report); err != nil {
			return unreadable(err)
		}
	}
	if p.json {
		err = p.printJSON(struct {
			OK bool `json:"ok"`
			ledger.Report
			HeadProblem string `json:"head_problem,omitempty"`
			HeadChecked bool   `json:"head_checked"`
			Signed      bool   `json:"head_signature_checked,omitempty"`
		}{report.OK() && gone == "", report, gone, kept != nil, signed})
	} else {
		err = p.printVerified(report, gone, kept != nil)
	}
	if err != nil {
		return notDone(err)
	}
	if kept != nil && !signed {
		fmt.Fprintln(p.err, "warning: the signature of the head was not checked; name the key that has to have made it with --signer")
	}
	if gone != "" {
		return notDone(errors.New(gone))
	}
	if !report.OK() {
		return notDone(notIntact(report))
	}
	return nil
}

func notIntact(r ledger.Report) error {
	return fmt.Errorf("the record is not intact: %d findings among %d events and %d grants", r.Findings(), r.Events, r.Grants)
}

// printVerified says in words what a check found.
func (p *program) printVerified(r ledger.Report, gone string, headChecked bool) error {
	for _, d := range r.Damage {
		fmt.Fprintln(p.out, printable(d.String()))
	}
	if len(r.Damage) > 0 {
		fmt.Fprintln(p.out, r.Vouched())
	}
	for _, m := range r.Mismatches {
		fmt.Fprintln(p.out, printable(m.String()))
	}
	if more := r.MismatchCount - int64(len(r.Mismatches)); more > 0 {
		fmt.Fprintf(p.out, "%d more rows do not agree with the events.\n", more)
	}
	if r.Older > 0 {
		fmt.Fprintf(p.out, "Of %d grants some facts were not recorded when their events were written, and could not be compared.\n", r.Older)
	}
	if !r.OK() || gone != "" {
		return nil
	}
	_, err := fmt.Fprintf(p.out, "The record is intact: %d events, %d grants that agree with them, head %s.\n", r.Events, r.Grants, cmp.Or(r.Head, "none"))
	if !headChecked && r.Events > 0 {
		fmt.Fprintln(p.out, "A cut tail cannot be seen without --head: keep the head elsewhere (jit audit head) and check the record against it.")
	}
	return err
}

var exportFormats = []string{"json", "csv", "cloudevents"}

func (p *program) auditExportCommand() *cobra.Command {
	var format, output, since, until string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write all events as JSON lines, CSV or CloudEvents",
		Long: `Write every event of the ledger in its order.

json is one object a line, with the hash of the event and of the one before: with prev set and hash empty, the
SHA-256 of a line as it is written here is its hash, so the chain can be checked with nothing but this file.
csv is for spreadsheets. An apostrophe stands before what would be taken for a formula, at the beginning of a cell or after a
semicolon. Control and other hidden characters are written as \u{202e}; details are JSON.
cloudevents is one CloudEvent (1.0, JSON) a line, whose data is the event; source names the ledger and id is the sequence number.`,
		Example: `  jit audit export --output events.jsonl
  jit audit export --format csv --since 2026-11-01T00:00:00Z --until 2026-12-01T00:00:00Z --output november.csv`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !slices.Contains(exportFormats, format) {
				return jit.Invalid("--format", fmt.Sprintf("write one of %v", exportFormats), "%q is not a format", format)
			}
			return p.withRuntime(cmd.Context(), jit.FromCLI, func(ctx context.Context, rt *config.Runtime) error {
				return p.auditExport(ctx, rt, format, output, since, until)
			})
		},
	}
	cmd.Flags().StringVar(&format, "format", "json", "json, csv or cloudevents")
	cmd.Flags().StringVar(&since, "since", "", "only events from this `time` on (2026-11-01T00:00:00Z), or this long back (30d)")
	cmd.Flags().StringVar(&until, "until", "", "only events before this `time` (2026-12-01T00:00:00Z), or before this long back (1d)")
	cmd.Flags().StringVarP(&output, "output", "o", "", "write to this `file` instead of standard output")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(exportFormats, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// auditExport writes the events to output, which it makes readable by its owner only, or to standard output.
func (p *program) auditExport(ctx context.Context, rt *config.Runtime, format, output, since, until string) (err error) {
	begin, err := p.bound("--since", since)
	if err != nil {
		return err
	}
	end, err := p.bound("--until", until)
	if err != nil {
		return err
	}
	first := int64(1)
	if !begin.IsZero() {
		if first, err = rt.Ledger.FirstEvent(ctx, begin); err != nil {
			return unreadable(err)
		}
	}
	to := p.out
	if output != "" {
		file, openErr := os.OpenFile(output, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if openErr != nil {
			return notDone(fmt.Errorf("export: %w", openErr))
		}
		defer func() { err = errors.Join(err, notDone(file.Close())) }()
		to = file
	}
	buffered := bufio.NewWriter(to)
	var lines io.Writer = buffered
	if p.Terminal && output == "" {
		lines = jsonLines{buffered}
	}
	write := lineWriter(lines)
	switch format {
	case "csv":
		write = csvWriter(buffered)
	case "cloudevents":
		id, err := rt.Ledger.ID(ctx)
		if err != nil {
			return unreadable(err)
		}
		write = cloudEventWriter(lines, id)
	}
	for e, err := range rt.Ledger.Events(ctx, first) {
		if err != nil {
			return unreadable(fmt.Errorf("read the events: %w", err))
		}
		// Each event bears the clock of its writer: after one from outside of the bounds there may be others from inside.
		if !begin.IsZero() && e.At.Before(begin) || !end.IsZero() && !e.At.Before(end) {
			continue
		}
		if err := write(e); err != nil {
			return notDone(fmt.Errorf("export: %w", err))
		}
	}
	if err := buffered.Flush(); err != nil {
		return notDone(fmt.Errorf("export: %w", err))
	}
	return nil
}

// lineWriter writes events as the lines of which their hashes are made.
func lineWriter(w io.Writer) func(jit.Event) error {
	return func(e jit.Event) error {
		line, err := json.Marshal(e)
		if err != nil {
			return err
		}
		_, err = w.Write(append(line, '\n'))
		return err
	}
}

// cloudEventWriter writes events as CloudEvents, one a line.
func cloudEventWriter(w io.Writer, ledger string) func(jit.Event) error {
	encoder := json.NewEncoder(w)
	return func(e jit.Event) error { return encoder.Encode(e.CloudEvent(ledger)) }
}

// bound is the time that a flag names; zero where it names none.
func (p *program) bound(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	return p.back(flag, text)
}

// back reads a time, or a duration back from now.
func (p *program) back(flag, text string) (time.Time, error) {
	if d, err := jit.ParseDuration(flag, text); err == nil {
		return p.Now().Add(-d), nil
	}
	at, err := jit.ParseTime(flag, text)
	if err != nil {
		return at, jit.Invalid(flag, fmt.Sprintf("write for example %s 30d or %s 2026-11-01T00:00:00Z", flag, flag), "%q is neither a time nor a duration", text)
	}
	return at, nil
}

// csvWriter writes the heading at once, so that an empty record has one too.
func csvWriter(w io.Writer) func(jit.Event) error {
	c := csv.NewWriter(w)
	write := func(cells ...string) error {
		_ = c.Write(cells) // what is wrong with w is told by Error
		c.Flush()
		return c.Error()
	}
	_ = write("seq", "at", "kind", "grant", "policy", "actor", "change", "source", "detail", "prev", "hash") // a bufio.Writer keeps its error for later writes
	return func(e jit.Event) error {
		facts, err := cellJSON(e.Detail)
		if err != nil {
			return err
		}
		return write(strconv.FormatInt(e.Seq, 10), e.At.UTC().Format(time.RFC3339Nano), harmless(string(e.Kind)), harmless(string(e.Grant)),
			harmless(e.Policy), harmless(e.Name), harmless(e.Change), harmless(string(e.Source)), facts, harmless(e.Prev), harmless(e.Hash))
	}
}

// cellJSON writes details so that they read back whatever is in them: as JSON with sorted names, without a semicolon, which separates
// the cells of some spreadsheets, and without hidden characters.
func cellJSON(facts map[string]string) (string, error) {
	if len(facts) == 0 {
		return "", nil
	}
	text, err := json.Marshal(facts)
	return strings.ReplaceAll(visibleJSON(string(text)), ";", `\u003b`), err
}

// formula matches where a spreadsheet would take what follows for a formula: at the beginning of a cell, and after a semicolon, which
// separates cells where the comma is a decimal point (https://owasp.org/www-community/attacks/CSV_Injection). An apostrophe that is
// there already is matched too, so that the one that is put in can be taken out again.
var formula = regexp.MustCompile(`(^|;)('|[ "]*[=+\-@＝＋－＠])`)

// harmless returns a cell without hidden characters, in which an apostrophe stands before whatever would be a formula.
func harmless(cell string) string {
	return formula.ReplaceAllString(jit.Printable(cell), "${1}'${2}")
}
