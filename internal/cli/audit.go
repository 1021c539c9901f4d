package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
)

func (p *program) auditCommand() *cobra.Command {
	return group(&cobra.Command{Use: "audit", Short: "Check and export the record"},
		p.auditVerifyCommand(), p.auditHeadCommand(), p.auditExportCommand())
}

func (p *program) auditVerifyCommand() *cobra.Command {
	head := headCheck{flag: "--head"}
	var owner string
	var locked bool
	check := func() error {
		if head.since && head.file == "" {
			return jit.Invalid("--since-head", "name the head with --head", "there is no head")
		}
		if owner == "" {
			return nil
		}
		return jit.CheckOwner(owner)
	}
	cmd := p.command(&cobra.Command{
		Use:   "verify [URL]",
		Args:  cobra.MaximumNArgs(1),
		Short: "Check that nobody changed the record",
		Long: `Check every event against its hash and the event before it, and the last event against the ledger's head.
Rebuild the grants and policies from their events, and name each one that differs from its row in the database, was
removed, or has no event. Check each decision of a person again: the signed
statement is about the request as it was then, the key belonged to the person, and neither the principal nor the
requester decided. Count the approvals of each grant again: as many people as its policy asked for approved it in time,
and nobody denied it.

The events of each owner are a chain of their own; _all is the chain of policies, persons and the ledger itself. Damage
in one chain accuses no other. --owner checks the chain and the grants of one owner, with _all, whose rules decide on
them.

With a URL, the command checks the ledger there, and needs no settings. Of a ledger in a bucket it then reads every
object of the logs into a copy of its own, so a missing, foreign or changed object is found whatever is in the copy in
the user's cache.

--locked also asks the store of a ledger in a bucket, for each object of the logs, whether object lock, a retention
policy or an immutability policy keeps it from being removed or replaced, and until when.

The printed root is the hash over the last event of each chain. It identifies the whole record. Anyone who can write to
the database can write new chains. So keep the head elsewhere from time to time (jit audit head), and check the record
against it with --head: the same ledger must still have the same events with those numbers. --signer names the key that
must have signed the head. Without --head, jit does not notice if somebody removed the last events of a chain together
with the rows that they describe.

On a large record, --since-head checks only what is newer than the head: the events after it, all policies and persons,
and with all their events the grants that are open or that newer events tell of. It trusts the other events up to the
head, so check the whole record from time to time too.

Exit codes: 0 the record is intact, 1 it is not or, with --locked, the store does not keep all of it, 2 it could not be
read, 3 the command line or the settings are wrong.`,
		Example: `  jit audit verify
  jit audit verify --owner payments --json
  jit audit verify "s3://example-state/jit?region=eu-central-1" --locked`,
	}, func([]string) error { return check() }, func(ctx context.Context, rt *config.Runtime) error {
		return p.auditVerify(ctx, rt, owner, head, locked)
	})
	bySettings := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return bySettings(cmd, args)
		}
		if err := cmp.Or(ledger.CheckURL(args[0]), check()); err != nil {
			return usage(err)
		}
		return p.limited(cmd.Context(), func(ctx context.Context) error {
			return p.auditVerifyAt(ctx, args[0], owner, head, locked)
		})
	}
	cmd.Flags().StringVar(&owner, "owner", "", "check only the chain and the grants of this `owner`, and the rules")
	cmd.Flags().StringVar(&head.file, "head", "", "also check that the record still has the head in this `file`")
	cmd.Flags().BoolVar(&head.since, "since-head", false, "with --head: check only what is newer than the head")
	cmd.Flags().StringVar(&head.signer, "signer", "", "with --head: the `file` of the public SSH key that signed it")
	cmd.Flags().BoolVar(&locked, "locked", false, "also check that the store keeps each object from being replaced")
	p.jsonFlag(cmd)
	return cmd
}

// verified is the outcome of jit audit verify.
type verified struct {
	ledger.Report
	HeadProblem string `json:"head_problem,omitempty"`
	// Behind says that the ledger has gone back in time.
	Behind      string `json:"behind,omitempty"`
	HeadChecked bool   `json:"head_checked"`
	Signed      bool   `json:"head_signature_checked,omitempty"`
	// Since is the time of the head, if only what is newer was checked.
	Since string `json:"since,omitempty"`
	// Locked is nil if nobody asked.
	Locked *ledger.Kept `json:"locked,omitempty"`
}

func (v verified) OK() bool {
	return v.Report.OK() && v.HeadProblem == "" && v.Behind == "" && (v.Locked == nil || v.Locked.Kept == v.Locked.Objects)
}

// auditVerifyAt checks the ledger at a URL, with a copy of its own if it is in a bucket.
func (p *program) auditVerifyAt(ctx context.Context, url, owner string, head headCheck, locked bool) error {
	folder, err := os.MkdirTemp("", "jit-verify-*")
	if err != nil {
		return unreadable(err)
	}
	defer func() { _ = os.RemoveAll(folder) }()
	l, err := ledger.Open(ctx, ledger.Config{URL: url, Now: p.Now, Copy: folder})
	if err != nil {
		return unreadable(err)
	}
	defer func() { _ = l.Close() }()
	return p.auditVerify(ctx, &config.Runtime{Ledger: l}, owner, head, locked)
}

func (p *program) auditVerify(
	ctx context.Context, rt *config.Runtime, owner string, head headCheck, locked bool,
) error {
	kept, signed, err := head.load()
	if err != nil {
		return err
	}
	v, err := verify(ctx, rt, owner, kept, head.since)
	if err == nil && locked {
		v.Locked = &ledger.Kept{}
		if *v.Locked, err = rt.Ledger.Retention(ctx, owner); errors.Is(err, jit.ErrInvalid) {
			return usage(err)
		}
	}
	if err != nil {
		return unreadable(err)
	}
	v.Signed = signed
	if err := rt.Ledger.Recall(ctx); errors.Is(err, jit.ErrBehind) {
		v.Behind = err.Error()
	}
	if err := p.printVerified(v); err != nil {
		return notDone(err)
	}
	if v.HeadChecked && !v.Signed {
		fmt.Fprintln(p.err, "warning: the signature of the head was not checked; name the signing key with --signer")
	}
	switch {
	case v.Behind != "":
		return notDone(errors.New(v.Behind))
	case v.HeadProblem != "":
		return notDone(errors.New(v.HeadProblem))
	case !v.Report.OK():
		return notDone(notIntact(v.Report))
	case !v.OK():
		return notDone(fmt.Errorf("the store does not keep %s of %d: whoever may write there can remove or replace them",
			counted(v.Locked.Objects-v.Locked.Kept, "object"), v.Locked.Objects))
	}
	return nil
}

// verify checks the record, and that it has the head if there is one; since: only what is newer than the head.
func verify(ctx context.Context, rt *config.Runtime, owner string, kept *auditHead, since bool) (v verified, err error) {
	v.HeadChecked = kept != nil
	switch {
	case since:
		var tips []jit.Tip
		if tips, err = kept.tips(); err == nil {
			v.Since = kept.At
			v.Report, err = rt.Ledger.VerifySince(ctx, owner, tips)
		}
	case owner == "":
		v.Report, err = rt.Ledger.Verify(ctx)
	default:
		v.Report, err = rt.Ledger.VerifyOwner(ctx, owner)
	}
	if err == nil && kept != nil {
		v.HeadProblem, err = kept.missingFrom(ctx, rt, v.Report)
	}
	return v, err
}

func notIntact(r ledger.Report) error {
	return fmt.Errorf("the record is not intact: %s among %s and %s", counted(r.Findings(), "finding"),
		counted(r.Events, "event"), counted(r.Grants, "grant"))
}

// printVerified prints the outcome of a check.
func (p *program) printVerified(v verified) error {
	if p.json {
		return p.printJSON(struct {
			OK bool `json:"ok"`
			verified
		}{v.OK(), v})
	}
	p.printDamage(v.Report)
	if v.Locked != nil {
		p.printLocked(*v.Locked)
	}
	if !v.OK() {
		return nil
	}
	agree := "agree"
	if v.Grants == 1 {
		agree = "agrees"
	}
	since := ""
	if v.Since != "" {
		since = " since the head of " + v.Since
	}
	_, err := fmt.Fprintf(p.out, "The record%s is intact%s: %s, %s that %s with them, root %s.\n", of(v.Owner), since,
		counted(v.Events, "event"), counted(v.Grants, "grant"), agree, cmp.Or(v.Root, "none"))
	if !v.HeadChecked && v.Events > 0 {
		fmt.Fprintln(p.out, "A cut tail goes unnoticed without --head: "+
			"keep the head elsewhere (jit audit head) and check the record against it.")
	}
	return err
}

// mostOpen is how many objects are named that the store does not keep.
const mostOpen = 20

// printLocked prints which objects the store keeps.
func (p *program) printLocked(k ledger.Kept) {
	until := ""
	if !k.Until.IsZero() {
		until = ", the first until " + jit.FormatTime(k.Until)
	}
	fmt.Fprintf(p.out, "The store keeps %d of %s%s.\n", k.Kept, counted(k.Objects, "object"), until)
	open := k.Open(p.Now())
	for _, key := range open[:min(len(open), mostOpen)] {
		fmt.Fprintln(p.out, "not kept: "+printable(key))
	}
	if more := len(open) - mostOpen; more > 0 {
		fmt.Fprintf(p.out, "and %d more, which --json lists\n", more)
	}
}

// of names the owner of a record; empty for that of all.
func of(owner string) string {
	if owner == "" {
		return ""
	}
	return " of " + owner
}

func (p *program) printDamage(r ledger.Report) {
	for _, d := range r.Damage {
		fmt.Fprintln(p.out, printable(d.String()))
	}
	for _, c := range r.Chains {
		if c.Seq > 0 && slices.ContainsFunc(r.Damage, func(d ledger.Damage) bool { return d.Chain == c.Chain }) {
			fmt.Fprintln(p.out, printable(c.Vouched()))
		}
	}
	for _, m := range r.Mismatches {
		fmt.Fprintln(p.out, printable(m.String()))
	}
	if more := r.MismatchCount - int64(len(r.Mismatches)); more > 0 {
		fmt.Fprintf(p.out, "Further rows that differ from the events: %d.\n", more)
	}
	if r.Older > 0 {
		fmt.Fprintf(p.out, "%s could not be compared in full: older events do not record every fact.\n",
			counted(r.Older, "grant"))
	}
}
