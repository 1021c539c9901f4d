package cli

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/aymanbagabas/go-udiff"

	"github.com/jitaccess/terraform-provider-jit/internal/hcledit"
)

// pruneReport is what goes and what stays.
type pruneReport struct {
	DryRun  bool     `json:"dry_run"`
	Pruned  []pruned `json:"pruned"`
	Left    []pruned `json:"left"`
	Deleted []string `json:"deleted"`
	Unread  []string `json:"unread"`
	// Diff is the change that a dry run does not make.
	Diff string `json:"diff,omitempty"`
}

func pruneReportOf(dryRun bool, folder *hcledit.Folder, all []pruned, edits []fileEdit) (r pruneReport, err error) {
	r = pruneReport{DryRun: dryRun, Pruned: []pruned{}, Left: []pruned{}, Deleted: []string{}, Unread: []string{}}
	for _, each := range all {
		if each.Why == "" {
			r.Pruned = append(r.Pruned, each)
		} else {
			r.Left = append(r.Left, each)
		}
	}
	for _, u := range folder.Unread {
		r.Unread = append(r.Unread, u.String())
	}
	for _, e := range edits {
		if e.empty() {
			r.Deleted = append(r.Deleted, e.file)
		}
		if dryRun {
			diff, err := e.diff()
			if err != nil {
				return r, err
			}
			r.Diff += diff
		}
	}
	return r, nil
}

// printPruned prints what goes and what stays.
func (p *program) printPruned(r pruneReport) error {
	if p.json {
		return p.printJSON(r)
	}
	for _, u := range r.Unread {
		fmt.Fprintf(p.err, "note: not read: %s\n", u)
	}
	to, did := p.out, "pruned"
	if r.DryRun {
		to, did = p.err, "would be pruned"
		fmt.Fprint(p.out, r.Diff)
	}
	if len(r.Pruned)+len(r.Left) > 0 {
		t := p.table(to, "ID")
		t.row("ADDRESS", "RESULT", "FILE", "ID", "WHY")
		for _, each := range r.Pruned {
			t.row(each.Address, did, each.place(), string(each.ID), "")
		}
		for _, each := range r.Left {
			t.row(each.Address, "left", each.place(), string(each.ID), each.Why)
		}
		t.flush()
	}
	switch n := len(r.Pruned); {
	case n == 0:
		fmt.Fprintln(p.err, "Nothing to prune.")
	case !r.DryRun:
		fmt.Fprintf(p.err, "%s pruned. Commit the change and apply it: the plan destroys these grants only.\n",
			counted(n, "block"))
	}
	return nil
}

// place returns where the block stands; empty if it was not found.
func (r *pruned) place() string {
	if r.File == "" {
		return ""
	}
	return fmt.Sprintf("%s:%d", r.File, r.Line)
}

// diff returns the change as a unified diff.
func (e fileEdit) diff() (string, error) {
	name := strings.TrimPrefix(filepath.ToSlash(e.file), "/")
	after, label := string(e.after), "b/"+name
	if e.empty() {
		after, label = "", "/dev/null"
	}
	edits := udiff.Lines(string(e.before), after)
	text, err := udiff.ToUnified("a/"+name, label, string(e.before), edits, udiff.DefaultContextLines)
	if err != nil {
		return "", fmt.Errorf("compare %s: %w", e.file, err)
	}
	return text, nil
}
