package cli

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

var exportFormats = []string{"json", "csv", "cloudevents"}

func (p *program) auditExportCommand() *cobra.Command {
	var o exportOptions
	cmd := p.command(&cobra.Command{
		Use:   "export",
		Short: "Write all events as JSON lines, CSV or CloudEvents",
		Long: `Write every event of the ledger: those of each chain in its order, and the chains merged by time.

json writes one object a line, with its chain, its number there, the hash of the event and of the previous one of the
chain. The hash of an event is the SHA-256 of its line with prev set and hash empty, so the file alone is enough to
check each chain. after is the last event of the chain _all that was recorded before. Events without a chain are the
beginning of _all: an older program recorded them.

csv is for spreadsheets. jit writes an apostrophe before each text that a spreadsheet would read as a formula, at the
beginning of a cell or after a semicolon. Hidden characters are written as \u{202e}; details are JSON.

cloudevents writes one CloudEvent (1.0, JSON) a line. data is the event, source the ledger, id the chain, the
number and the beginning of the hash.

Exit codes: 0 written, 1 it could not be written, 2 the ledger could not be read, 3 the command line or the settings are
wrong.`,
		Example: `  jit audit export --output events.jsonl
  jit audit export --format csv --since 2026-11-01T00:00:00Z --until 2026-12-01T00:00:00Z --output november.csv`,
	}, func([]string) (err error) {
		if !slices.Contains(exportFormats, o.format) {
			return invalidChoice("--format", o.format, exportFormats)
		}
		if o.since != "" {
			o.begin, err = p.timeOrAge("--since", o.since)
		}
		if o.until != "" && err == nil {
			o.end, err = p.timeOrAge("--until", o.until)
		}
		return err
	}, func(ctx context.Context, rt *config.Runtime) error { return p.auditExport(ctx, rt, o) })
	cmd.Flags().StringVar(&o.format, "format", "json", "json, csv or cloudevents")
	cmd.Flags().StringVar(&o.since, "since", "",
		"only events from this `time` on (2026-11-01T00:00:00Z), or since this long ago (30d)")
	cmd.Flags().StringVar(&o.until, "until", "",
		"only events before this `time` (2026-12-01T00:00:00Z), or before this long ago (1d)")
	cmd.Flags().StringVarP(&o.output, "output", "o", "", "write to this `file` instead of standard output")
	_ = cmd.RegisterFlagCompletionFunc("format",
		cobra.FixedCompletions(exportFormats, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// exportOptions are the flags of jit audit export.
type exportOptions struct {
	format, output, since, until string
	// begin and end are since and until as times; zero if they are empty.
	begin, end time.Time
}

// includes reports whether to export an event of that time. Each event has the clock of its writer, so an event outside
// of the bounds may be followed by one inside.
func (o exportOptions) includes(at time.Time) bool {
	return !at.Before(o.begin) && (o.end.IsZero() || at.Before(o.end))
}

// auditExport writes the events to standard output, or to a file that only its owner can read.
func (p *program) auditExport(ctx context.Context, rt *config.Runtime, o exportOptions) (err error) {
	if o.output == "" {
		return p.writeEvents(ctx, rt, p.out, o)
	}
	// An error of the ledger has a code of its own, so it is not an error of the file.
	var unread error
	err = replaceFile(o.output, func(file io.Writer) error {
		unread = p.writeEvents(ctx, rt, file, o)
		return unread
	})
	if err == nil || unread != nil {
		return unread
	}
	return notDone(fmt.Errorf("export: %w", err))
}

// writeEvents writes the chosen events.
func (p *program) writeEvents(ctx context.Context, rt *config.Runtime, to io.Writer, o exportOptions) error {
	buffered := bufio.NewWriter(to)
	write, err := p.eventWriter(ctx, rt, buffered, o)
	if err != nil {
		return err
	}
	events := jit.AllEvents(ctx, rt.Ledger)
	if !o.begin.IsZero() {
		events = jit.EventsSince(ctx, rt.Ledger, o.begin)
	}
	if err := exportEvents(events, o, write); err != nil {
		return err
	}
	if err := buffered.Flush(); err != nil {
		return notDone(fmt.Errorf("export: %w", err))
	}
	return nil
}

// exportEvents writes the events of the chosen time.
func exportEvents(events iter.Seq2[jit.Event, error], o exportOptions, write func(jit.Event) error) error {
	for e, err := range events {
		if err != nil {
			return unreadable(fmt.Errorf("read the events: %w", err))
		}
		if o.includes(e.At) {
			if err := write(e); err != nil {
				return notDone(fmt.Errorf("export: %w", err))
			}
		}
	}
	return nil
}

// eventWriter returns a function that writes events to w in the chosen format.
func (p *program) eventWriter(
	ctx context.Context, rt *config.Runtime, w io.Writer, o exportOptions,
) (func(jit.Event) error, error) {
	lines := w
	if p.Terminal && o.output == "" {
		lines = jsonLines{w}
	}
	switch o.format {
	case "csv":
		return csvWriter(w), nil
	case "cloudevents":
		id, err := rt.Ledger.ID(ctx)
		return cloudEventWriter(lines, id), unreadable(err)
	}
	return lineWriter(lines), nil
}

// lineWriter writes events as the lines that their hashes cover.
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

// timeOrAge reads a time, or a duration before now.
func (p *program) timeOrAge(flag, text string) (time.Time, error) {
	if d, err := jit.ParseDuration(flag, text); err == nil {
		return p.Now().Add(-d), nil
	}
	at, err := jit.ParseTime(flag, text)
	if err != nil {
		return at, jit.Invalid(flag, fmt.Sprintf("write for example %s 30d or %s 2026-11-01T00:00:00Z", flag, flag),
			"%q is neither a time nor a duration", text)
	}
	return at, nil
}

// csvWriter writes the heading at once, so an empty record also has one.
func csvWriter(w io.Writer) func(jit.Event) error {
	c := csv.NewWriter(w)
	write := func(cells ...string) error {
		_ = c.Write(cells) // Error returns the error of w
		c.Flush()
		return c.Error()
	}
	// A bufio.Writer keeps its error for later writes.
	_ = write("chain", "seq", "at", "kind", "grant", "policy", "actor", "change", "source", "detail", "after", "prev",
		"hash")
	return func(e jit.Event) error {
		facts, err := cellJSON(e.Detail)
		if err != nil {
			return err
		}
		return write(harmless(e.InChain()), strconv.FormatInt(e.Seq, 10),
			e.At.UTC().Format(time.RFC3339Nano), harmless(string(e.Kind)),
			harmless(string(e.Grant)), harmless(e.Policy), harmless(e.Name), harmless(e.Change),
			harmless(string(e.Source)),
			facts, strconv.FormatInt(e.After, 10), harmless(e.Prev), harmless(e.Hash))
	}
}

// cellJSON writes details as JSON with sorted names. Any details read back unchanged. The JSON has no hidden characters,
// and no semicolon, which separates the cells of some spreadsheets.
func cellJSON(facts map[string]string) (string, error) {
	if len(facts) == 0 {
		return "", nil
	}
	text, err := json.Marshal(facts)
	return strings.ReplaceAll(jit.VisibleJSON(string(text)), ";", `\u003b`), err
}

// formula matches where a spreadsheet would read a formula: at the beginning of a cell, and after a semicolon, which
// separates cells in locales with a decimal comma (https://owasp.org/www-community/attacks/CSV_Injection). It also
// matches an apostrophe that is already there, so that the added one can be removed again.
var formula = regexp.MustCompile(`(^|;)('|[ "]*[=+\-@＝＋－＠])`)

// harmless returns a cell without hidden characters, with an apostrophe before every would-be formula.
func harmless(cell string) string {
	return formula.ReplaceAllString(jit.Printable(cell), "${1}'${2}")
}
