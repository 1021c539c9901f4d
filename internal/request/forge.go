package request

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// remote is where a branch is pushed to.
type remote struct {
	name string
	// url is its address without a user, host its host, and path the path of the repository there. They are empty for a
	// folder.
	host, path string
}

// scpForm is the short form of an address for SSH: git@host:path.
var scpForm = regexp.MustCompile(`^(?:[^@/:]+@)?([^@/:]+):([^/].*)$`)

// remote returns the remote of the branch that is checked out, else origin, else the only one.
func (r *Repo) remote(ctx context.Context) (m remote, err error) {
	list, err := r.git(ctx, "remote")
	if err != nil {
		return m, err
	}
	names := strings.Fields(list)
	own := "branch." + r.branch
	for _, setting := range []string{own + ".pushRemote", "remote.pushDefault", own + ".remote"} {
		if name, err := r.git(ctx, "config", "--get", setting); err == nil && name != "" && name != "." {
			m.name = name
			break
		}
	}
	if m.name == "" {
		m.name = "origin"
		if len(names) == 1 {
			m.name = names[0]
		}
	}
	address, err := r.git(ctx, "remote", "get-url", "--push", "--", m.name)
	if err != nil {
		return m, jit.Errorf(
			jit.ErrDenied,
			"--pr",
			"add one: git remote add origin URL",
			"there is no remote %q",
			jit.WithoutUsers(m.name),
		)
	}
	m.host, m.path = repositoryOf(address)
	return m, nil
}

// repositoryOf returns host and path of the address of a remote, without user and password; empty for a folder.
func repositoryOf(address string) (host, path string) {
	if u, err := url.Parse(address); err == nil && u.Scheme != "" && u.Scheme != "file" && u.Hostname() != "" {
		host, path = u.Hostname(), u.Path
		if (u.Scheme == "https" || u.Scheme == "http") && u.Port() != "" {
			host = u.Host
		}
	} else if short := scpForm.FindStringSubmatch(address); short != nil && !strings.Contains(address, "://") {
		host, path = short[1], short[2]
	}
	return host, strings.TrimSuffix(strings.Trim(path, "/"), ".git")
}

// Push pushes the branch of a pull request, which does nothing if the remote has it.
func (r *Repo) Push(ctx context.Context, p Pull) error {
	m, err := r.remote(ctx)
	if err == nil {
		_, err = r.git(ctx, "push", "--quiet", "--set-upstream", m.name, "refs/heads/"+p.Branch+":refs/heads/"+p.Branch)
	}
	return err
}

// base returns the branch on the remote that the current branch follows; empty for the remote's default.
func (r *Repo) base(ctx context.Context, m remote) string {
	follows, err := r.git(ctx, "rev-parse", "--abbrev-ref", r.branch+"@{upstream}")
	if name, ok := strings.CutPrefix(follows, m.name+"/"); err == nil && ok {
		return name
	}
	return ""
}

// Propose opens the pull request with gh or glab, unless it is open, and returns its address. Without such a tool it
// returns the address of the page that opens it, and opened is false; that address is empty if it is unknown.
func (r *Repo) Propose(ctx context.Context, p Pull) (address string, opened bool, err error) {
	m, err := r.remote(ctx)
	if err != nil {
		return "", false, err
	}
	base, gitlab := r.base(ctx, m), strings.Contains(m.host, "gitlab")
	has := func(tool string) bool { _, err := exec.LookPath(tool); return err == nil }
	switch {
	case m.host == "":
		return "", false, nil
	case gitlab && has("glab"):
		address, err = r.glab(ctx, p, base)
	case !gitlab && has("gh"):
		address, err = r.gh(ctx, p, base)
	default:
		return m.compare(p.Branch, base, gitlab), false, nil
	}
	return address, err == nil, err
}

// gh opens a pull request of GitHub. See https://cli.github.com/manual/gh_pr_list and
// https://cli.github.com/manual/gh_pr_create.
func (r *Repo) gh(ctx context.Context, p Pull, base string) (string, error) {
	open, err := r.run(ctx, r.dir, nil, "gh", "pr", "list", "--head", p.Branch, "--state", "open", "--json", "url",
		"--jq", ".[].url")
	if err != nil || open != "" {
		return firstLine(open), err
	}
	args := []string{"pr", "create", "--head", p.Branch, "--title", p.Title, "--body-file", "-"}
	if base != "" {
		args = append(args, "--base", base)
	}
	said, err := r.run(ctx, r.dir, []byte(p.Body), "gh", args...)
	return addressIn(said), err
}

// glab opens a merge request of GitLab: https://docs.gitlab.com/cli/mr/list/, https://docs.gitlab.com/cli/mr/create/.
func (r *Repo) glab(ctx context.Context, p Pull, base string) (string, error) {
	list, err := r.run(ctx, r.dir, nil, "glab", "mr", "list", "--source-branch", p.Branch, "--output", "json")
	if err != nil {
		return "", err
	}
	var open []struct {
		Address string `json:"web_url"`
	}
	if err := json.Unmarshal([]byte(list), &open); err == nil && len(open) > 0 { // without any, glab writes words
		return open[0].Address, nil
	}
	args := []string{"mr", "create", "--source-branch", p.Branch, "--title", p.Title, "--description", p.Body, "--yes"}
	if base != "" {
		args = append(args, "--target-branch", base)
	}
	said, err := r.run(ctx, r.dir, nil, "glab", args...)
	return addressIn(said), err
}

// webAddress matches the address of a pull request or a merge request in the output of a tool.
var webAddress = regexp.MustCompile(`https?://[^\s"'<>]+/(?:pull|merge_requests)/[0-9]+`)

func addressIn(said string) string { return webAddress.FindString(said) }

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// compare returns the address of the page that opens a pull request.
func (m remote) compare(branch, base string, gitlab bool) string {
	u := url.URL{Scheme: "https", Host: m.host, Path: "/" + m.path}
	if gitlab {
		u.Path += "/-/merge_requests/new"
		query := url.Values{"merge_request[source_branch]": {branch}}
		if base != "" {
			query.Set("merge_request[target_branch]", base)
		}
		u.RawQuery = query.Encode()
		return u.String()
	}
	u.Path += "/compare/" + branch
	if base != "" {
		u.Path = strings.TrimSuffix(u.Path, branch) + base + "..." + branch
	}
	u.RawQuery = url.Values{"expand": {"1"}}.Encode()
	return u.String()
}

// Published is how far a pull request has come.
type Published struct {
	// Done says what was done, in words.
	Done []string `json:"done"`
	// Address is that of the pull request, or of the page that opens it; empty if it is unknown. Opened: it is open.
	Address string `json:"address,omitempty"`
	Opened  bool   `json:"opened"`
}

// Publish makes the pull request: commit, push, proposal. What is done already is not done again, so after an error the
// same call goes on. Once the commit is made, the change leaves the work tree: new files go, and the edit is taken
// back.
func (r *Repo) Publish(ctx context.Context, p Pull, e Edit) (done Published, err error) {
	step := func(what, next string, err error) error {
		if err == nil {
			done.Done = append(done.Done, what)
			return nil
		}
		so := "nothing was done"
		if len(done.Done) > 0 {
			so = "done so far: " + strings.Join(done.Done, "; ")
		}
		return &jit.Error{Problem: fmt.Sprintf("%v (%s)", err, so), Err: err,
			Hint: "run the same command again, or go on with " + next}
	}
	push := "git push -u REMOTE " + p.Branch
	paths, err := r.paths(p.Files)
	if err != nil {
		return done, err
	}
	if same, err := r.has(ctx, "HEAD", paths); err != nil || same {
		return done, step("branch "+r.branch+" has the files already, so there is nothing to propose", push, err)
	}
	made := false
	if err = r.Pushed(ctx); err == nil {
		made, err = r.Commit(ctx, p)
	}
	if err != nil && !e.Nothing() {
		err = errors.Join(err, e.undo()) // so that a second run makes the same edit
	}
	what := "branch " + p.Branch + " has the commit already"
	if made {
		what = "committed on the new branch " + p.Branch
	}
	if err := step(what, "the git commands that jit request prints without --pr", err); err != nil {
		return done, err
	}
	if err := r.tidy(ctx, paths, e); err != nil {
		return done, step("", push, err)
	}
	if err := step("pushed the branch", push, r.Push(ctx, p)); err != nil {
		return done, err
	}
	done.Address, done.Opened, err = r.Propose(ctx, p)
	switch what = "open the pull request on the website of the remote"; {
	case done.Opened:
		what = "the pull request is open"
	case done.Address != "":
		what = "gh and glab are not installed; open the pull request on this page"
	}
	return done, step(what, "opening the pull request by hand", err)
}

// Pushed refuses commits that are on no branch of a remote: they would go into the pull request too.
func (r *Repo) Pushed(ctx context.Context) error {
	if _, err := r.remote(ctx); err != nil {
		return err
	}
	n, err := r.git(ctx, "rev-list", "--count", "HEAD", "--not", "--remotes")
	if err == nil && n != "0" {
		err = jit.Errorf(jit.ErrDenied, "--pr", "push it first, or check out the branch that the pull request is to go into",
			"branch %s has commits that are not pushed (%s), and they would go into the pull request", r.branch, n)
	}
	return err
}

// tidy takes a committed change out of the work tree: the edit, and files that the checked out branch does not have.
func (r *Repo) tidy(ctx context.Context, paths []string, e Edit) error {
	if !e.Nothing() {
		if err := e.undo(); err != nil {
			return err
		}
	}
	for _, path := range paths {
		slashed := filepath.ToSlash(path)
		tracked, err := r.git(ctx, "ls-tree", "--full-tree", "HEAD", "--", slashed)
		switch full := filepath.Join(r.top, path); {
		case err == nil && tracked == "":
			err = os.Remove(full)
		case err == nil && e.Path != "" && e.Nothing():
			// An earlier run without --pr made the edit, and [Repo.Alone] found nothing else in the file.
			_, err = r.gitIn(ctx, r.top, nil, "restore", "--worktree", "--source=HEAD", "--", slashed)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Alone refuses a file with changes other than the edit that are not committed: they would go into the pull request
// too.
func (r *Repo) Alone(ctx context.Context, e Edit) error {
	paths, err := r.paths([]string{e.Path})
	if err != nil {
		return err
	}
	committed, err := r.git(ctx, "cat-file", "--filters", "HEAD:"+filepath.ToSlash(paths[0]))
	if err == nil {
		var edited []byte
		if edited, err = e.of([]byte(committed)); err == nil && e.Nothing() && sameText(edited, e.before) {
			return nil
		}
		if sameText([]byte(committed), e.before) {
			return nil
		}
	}
	return jit.Errorf(errors.Join(jit.ErrDenied, err), "--pr", "commit them first",
		"%s has changes that are not committed", e.Path)
}

// sameText compares texts without their last line end.
func sameText(a, b []byte) bool {
	return bytes.Equal(bytes.TrimSuffix(a, []byte("\n")), bytes.TrimSuffix(b, []byte("\n")))
}
