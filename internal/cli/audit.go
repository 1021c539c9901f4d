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
	cmd.AddCommand(p.auditVerifyCommand(), p.auditExportCommand())
	return cmd
}

func (p *program) auditVerifyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check that no event was changed, removed or added",
		Long: `Check every event against its hash, each against the one before, and the last against the ledger's head.

The head that is printed names the whole record. Whoever can write to the database can write a whole new
chain: note the head down elsewhere now and then, and look for it in jit audit export later.

Exit codes: 0 the record is intact, 1 it is not, 2 it could not be read.`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.withRuntime(cmd.Context(), jit.FromCLI, func(ctx context.Context, rt *config.Runtime) error { return p.auditVerify(ctx, rt) })
		},
	}
	p.jsonFlag(cmd)
	return cmd
}

func (p *program) auditVerify(ctx context.Context, rt *config.Runtime) error {
	report, err := rt.Ledger.Verify(ctx)
	if err != nil {
		return unreadable(err)
	}
	if p.json {
		err = p.printJSON(struct {
			OK bool `json:"ok"`
			ledger.Report
		}{report.OK(), report})
	} else if report.OK() {
		_, err = fmt.Fprintf(p.out, "The record is intact: %d events, head %s.\n", report.Events, cmp.Or(report.Head, "none"))
	} else {
		for _, d := range report.Damage {
			fmt.Fprintln(p.out, printable(d.String()))
		}
		if !report.OK() {
			fmt.Fprintln(p.out, report.Vouched())
		}
	}
	if err != nil {
		return notDone(err)
	}
	if !report.OK() {
		return notDone(fmt.Errorf("the record is not intact: %d findings among %d events", len(report.Damage), report.Events))
	}
	return nil
}

var exportFormats = []string{"json", "csv"}

func (p *program) auditExportCommand() *cobra.Command {
	var format, output string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write all events as JSON lines or CSV",
		Long: `Write every event of the ledger in its order.

json is one object a line, with the hash of the event and of the one before: with prev set and hash empty, the
SHA-256 of a line as it is written here is its hash, so the chain can be checked with nothing but this file.
csv is for spreadsheets: a cell that would be taken for a formula begins with an apostrophe.`,
		Example: `  jit audit export --output events.jsonl
  jit audit export --format csv --output november.csv`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !slices.Contains(exportFormats, format) {
				return jit.Invalid("--format", fmt.Sprintf("write one of %v", exportFormats), "%q is not a format", format)
			}
			return p.withRuntime(cmd.Context(), jit.FromCLI, func(ctx context.Context, rt *config.Runtime) error { return p.auditExport(ctx, rt, format, output) })
		},
	}
	cmd.Flags().StringVar(&format, "format", "json", "json or csv")
	cmd.Flags().StringVarP(&output, "output", "o", "", "write to this `file` instead of standard output")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(exportFormats, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// auditExport writes the events to output, which it makes readable by its owner only, or to standard output.
func (p *program) auditExport(ctx context.Context, rt *config.Runtime, format, output string) (err error) {
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
	write := lineWriter(buffered)
	if format == "csv" {
		write = csvWriter(buffered)
	}
	for e, err := range rt.Ledger.Events(ctx, 1) {
		if err != nil {
			return unreadable(fmt.Errorf("read the events: %w", err))
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

// csvWriter writes the heading at once, so that an empty record has one too.
func csvWriter(w io.Writer) func(jit.Event) error {
	c := csv.NewWriter(w)
	write := func(cells ...string) error {
		for i := range cells {
			cells[i] = harmless(cells[i])
		}
		_ = c.Write(cells) // what is wrong with w is told by Error
		c.Flush()
		return c.Error()
	}
	_ = write("seq", "at", "kind", "grant", "policy", "actor", "change", "source", "detail", "prev", "hash") // a bufio.Writer keeps its error for later writes
	return func(e jit.Event) error {
		return write(strconv.FormatInt(e.Seq, 10), e.At.UTC().Format(time.RFC3339Nano), string(e.Kind), string(e.Grant), e.Policy,
			e.Name, e.Change, string(e.Source), detail(e.Detail), e.Prev, e.Hash)
	}
}

// harmless keeps a spreadsheet from taking a cell for a formula
// (https://owasp.org/www-community/attacks/CSV_Injection).
func harmless(cell string) string {
	if cell != "" && strings.ContainsRune("=+-@\t\r\n＝＋－＠", []rune(cell)[0]) {
		return "'" + cell
	}
	return cell
}
