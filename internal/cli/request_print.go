package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/request"
)

// requested is a request and what became of it.
type requested struct {
	request.Verdict
	kind request.Kind
	edit request.Edit
	request.Written
	pull request.Pull
	done *request.Published
}

// carryOut prints the verdict. If it does not refuse, carryOut writes the request and its pull request.
func (p *program) carryOut(ctx context.Context, d *request.Desk, a *ask, r *requested) error {
	r.Notes = append(r.Notes, d.Notes...)
	if !p.json {
		p.printVerdict(a, r)
		p.printFirstPolicy(d, r)
	}
	outcome := r.Outcome()
	var err error
	if writes := outcome != jit.Refused && (!r.Granted || r.kind == request.Longer); writes {
		if a.asked && !a.dry && !p.confirms(ctx) {
			return notDone(errors.New("nothing was written"))
		}
		err = p.writeRequest(ctx, d, a, r)
	}
	if p.json && (err == nil || len(r.Files) > 0) {
		err = errors.Join(err, p.printJSON(p.requestView(a, r)))
	}
	switch {
	case err != nil:
		return err
	case outcome == jit.Refused:
		return codeError{exitForbidden, fmt.Errorf("the request is refused")}
	case outcome == jit.NeedsApproval:
		return codeError{exitWaits, fmt.Errorf("the request waits for approval")}
	}
	return nil
}

func (p *program) confirms(ctx context.Context) bool {
	fmt.Fprint(p.err, "Write the request? Type y: ")
	return p.typed(ctx) == "y"
}

// writeRequest writes the file of a request, or edits it, and makes the pull request.
func (p *program) writeRequest(ctx context.Context, d *request.Desk, a *ask, r *requested) (err error) {
	var repo *request.Repo
	if a.pr && !a.dry {
		if repo, err = request.OpenRepo(ctx, a.dir, p.Interactive && !p.json); err != nil {
			return err
		}
	}
	if r.edit.Path == "" {
		notes := r.Notes
		r.Written, err = d.Write(r.Verdict, request.Format(a.format), p.settingsFile(), a.dry)
		r.Notes = append(notes, r.Notes...)
	} else {
		err = r.editFile(ctx, a, repo)
	}
	if err != nil {
		return err
	}
	d.NoteUncommitted(ctx, &r.Written, p.settingsFile())
	if !p.json {
		p.printFiles(d, a, r)
	}
	r.pull = request.NewPull(r.kind, r.Verdict, r.Files)
	if repo != nil {
		done, err := repo.Publish(ctx, r.pull, r.edit)
		if r.done = &done; err != nil {
			return err
		}
	}
	if !p.json {
		p.printPull(a, r)
	}
	return nil
}

// editFile edits the file of a grant that has one.
func (r *requested) editFile(ctx context.Context, a *ask, repo *request.Repo) error {
	r.Files = []string{r.edit.Path}
	if repo != nil {
		if err := repo.Alone(ctx, r.edit); err != nil {
			return err
		}
	}
	if a.dry || r.edit.Nothing() {
		return nil
	}
	r.New = r.Files
	return r.edit.Write()
}

// printFirstPolicy shows a policy while there is none.
func (p *program) printFirstPolicy(d *request.Desk, r *requested) {
	if len(d.Policies) == 0 && r.Refusal == nil {
		fmt.Fprint(p.err, firstPolicy)
	}
}

// printVerdict says what the policies decide.
func (p *program) printVerdict(a *ask, r *requested) {
	outcome := r.Outcome().String()
	switch {
	case r.Granted && r.Decision.Grant.GrantedAt.IsZero():
		outcome = "requested already"
	case r.Granted:
		outcome = "granted already"
	}
	rule := r.Rule()
	if awaits := r.Decision.Awaits; awaits != "" && r.Outcome() == jit.NeedsApproval {
		rule = "the approval of " + awaits + "; " + rule
	}
	fmt.Fprintf(p.out, "%s: %s\n", outcome, printable(rule))
	if r.Refusal == nil {
		g := r.Decision.Grant
		ends := "a sweeper ends it"
		if g.Enforcement == jit.Native {
			ends = "the platform ends it"
		}
		fmt.Fprintf(p.out, "  %s\n  grant %s; %s\n", printable(r.Summary()), g.ID, ends)
		if r.Granted {
			fmt.Fprintf(p.out, "  from %s to %s\n", jit.FormatTime(g.Start), jit.FormatTime(g.End))
		}
	}
	if n := r.Nearest; n != nil {
		fmt.Fprintf(
			p.out,
			"nearest form that passes (%s): %s\n  %s\n",
			n.Outcome,
			printable(strings.Join(n.Changes, "; ")),
			printable(r.nearestCommand(a)),
		)
	}
	for _, w := range r.Decision.Warnings {
		fmt.Fprintf(p.out, "warning: %s\n", indented(jit.PrintableLines(w.Summary+". "+w.Detail)))
	}
	for _, note := range r.Notes {
		fmt.Fprintf(p.out, "note: %s\n", printable(note))
	}
	r.Notes = nil
}

// nearestCommand returns the command that asks for the nearest form.
func (r *requested) nearestCommand(a *ask) string {
	if r.Nearest == nil {
		return ""
	}
	to, defaults := r.Nearest.Asked, request.Asked{}
	if a.given.Principal == "" && to.Principal == a.Principal && to.Target == a.Target {
		defaults.Principal = to.Principal
	}
	if a.given.Requester == "" {
		defaults.Requester = to.Requester
	}
	command := to.Command(defaults)
	switch r.kind {
	case request.Longer:
		command = "jit request --extend " + a.extend + " --ttl " + to.TTL
	case request.Again:
		command = "jit request --renew " + a.renew + " --ttl " + to.TTL
	}
	if a.settings != "" {
		command += " --config " + request.Word(a.settings)
	}
	if a.dir != "." {
		command += " --dir " + request.Word(a.dir)
	}
	if r.kind == request.New && a.format != string(request.HCL) {
		command += " --format " + a.format
	}
	if a.pr {
		command += " --pr"
	}
	return command
}

// printFiles says what was written.
func (p *program) printFiles(d *request.Desk, a *ask, r *requested) {
	for _, path := range r.Files {
		what := "already there: "
		for _, added := range r.New {
			switch {
			case added != path:
			case a.dry:
				what = "would write "
			case r.edit.Path != "":
				what = "edited "
			default:
				what = "wrote "
			}
		}
		if a.dry && r.edit.Path != "" && !r.edit.Nothing() {
			what = "would edit "
		}
		fmt.Fprintf(p.out, "%s%s\n", what, printable(path))
	}
	for _, note := range r.Notes {
		fmt.Fprintf(p.out, "note: %s\n", printable(note))
	}
	if a.format == string(request.TFVars) && r.edit.Path == "" && !d.ReadsEntries() {
		fmt.Fprintf(
			p.out,
			"\nTerraform reads the entries with this block. Add it once to a .tf file in %s:\n\n%s",
			printable(a.dir),
			request.EntriesBlock,
		)
	}
}

// printPull says what became of the pull request, or how to make it.
func (p *program) printPull(a *ask, r *requested) {
	if r.done != nil {
		for _, line := range append(r.done.Done, r.done.Address) {
			if line != "" {
				fmt.Fprintln(p.out, printable(line))
			}
		}
		return
	}
	fmt.Fprintf(p.out, "\npull request:\n  branch: %s\n  title:  %s\n\n%s\n", r.pull.Branch, printable(r.pull.Title),
		indent(jit.PrintableLines(strings.TrimSpace(r.pull.Body))))
	fmt.Fprintln(p.out, "\nMake the pull request with these commands, or run jit request again with --pr:")
	for _, command := range r.pull.Commands(a.dir) {
		fmt.Fprintf(p.out, "  %s\n", printable(command))
	}
}

// indent indents every line.
func indent(text string) string { return "  " + strings.ReplaceAll(text, "\n", "\n  ") }

// requestView is what --json prints of a request.
type requestView struct {
	// Verdict is permitted, needs approval or refused.
	Verdict string `json:"verdict"`
	Granted bool   `json:"granted"`
	Policy  string `json:"policy,omitempty"`
	Rule    string `json:"rule"`
	Awaits  string `json:"awaits,omitempty"`
	// Request is what the file says, or would say.
	Request     request.Asked `json:"request"`
	ID          jit.ID        `json:"id,omitempty"`
	Enforcement string        `json:"enforcement,omitempty"`
	Warnings    []string      `json:"warnings,omitempty"`
	Notes       []string      `json:"notes,omitempty"`
	// Nearest is the command that asks for the nearest form that passes.
	Nearest string `json:"nearest,omitempty"`
	// Files are its files; Written are those that were written or edited.
	Files   []string `json:"files,omitempty"`
	Written []string `json:"written,omitempty"`
	Pull    *struct {
		Branch   string   `json:"branch"`
		Title    string   `json:"title"`
		Message  string   `json:"commit_message"`
		Body     string   `json:"body"`
		Commands []string `json:"commands"`
	} `json:"pull_request,omitempty"`
	Published *request.Published `json:"published,omitempty"`
}

func (p *program) requestView(a *ask, r *requested) requestView {
	v := requestView{
		Verdict: r.Outcome().String(), Granted: r.Granted, Policy: r.Decision.Verdict.Policy, Rule: r.Rule(),
		Awaits: r.Decision.Awaits, Request: r.Asked, ID: r.Decision.Grant.ID,
		Enforcement: string(r.Decision.Grant.Enforcement), Notes: r.Notes, Nearest: r.nearestCommand(a),
		Files: slashed(r.Files), Published: r.done,
	}
	if !a.dry {
		v.Written = slashed(r.New)
	}
	for _, w := range r.Decision.Warnings {
		v.Warnings = append(v.Warnings, w.Summary+". "+w.Detail)
	}
	if r.pull.Branch != "" {
		v.Pull = &struct {
			Branch   string   `json:"branch"`
			Title    string   `json:"title"`
			Message  string   `json:"commit_message"`
			Body     string   `json:"body"`
			Commands []string `json:"commands"`
		}{r.pull.Branch, r.pull.Title, r.pull.Message, r.pull.Body, r.pull.Commands(a.dir)}
	}
	return v
}

func slashed(paths []string) (all []string) {
	for _, p := range paths {
		all = append(all, filepath.ToSlash(p))
	}
	return all
}
