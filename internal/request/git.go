package request

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Repo is the git repository of a folder. It runs git, gh and glab, with arguments that no shell reads.
type Repo struct {
	// dir is a folder in the repository, top its root.
	dir, top string
	// branch is the branch that is checked out.
	branch string
	// ask: the tools may ask on the terminal.
	ask bool
}

// OpenRepo finds the repository of a folder. It refuses one with staged changes, or with no branch checked out.
func OpenRepo(ctx context.Context, dir string, ask bool) (r *Repo, err error) {
	r = &Repo{dir: dir, ask: ask}
	if r.top, err = r.git(ctx, "rev-parse", "--show-toplevel"); err != nil {
		return r, jit.Errorf(
			err,
			"--pr",
			"run it in a git repository, or leave out --pr",
			"%s is not in a git work tree: %v",
			dir,
			err,
		)
	}
	if r.branch, err = r.git(ctx, "symbolic-ref", "--quiet", "--short", "HEAD"); err != nil {
		return r, jit.Errorf(jit.ErrDenied, "--pr", "check out the base branch of the pull request",
			"HEAD is detached in %s", r.top)
	}
	if _, err = r.git(ctx, "rev-parse", "--quiet", "--verify", "HEAD^{commit}"); err != nil {
		return r, jit.Errorf(jit.ErrDenied, "--pr", "commit something first", "branch %s has no commit", r.branch)
	}
	if staged, err := r.git(ctx, "diff", "--cached", "--name-only"); err != nil || staged != "" {
		return r, jit.Errorf(errors.Join(jit.ErrDenied, err), "--pr", "commit or unstage them first",
			"%s has staged changes", r.top)
	}
	return r, nil
}

// git runs git in the folder and returns its output without the last line end.
func (r *Repo) git(ctx context.Context, args ...string) (string, error) {
	return r.gitIn(ctx, r.dir, nil, args...)
}

func (r *Repo) gitIn(ctx context.Context, dir string, stdin []byte, args ...string) (string, error) {
	return r.run(ctx, dir, stdin, "git", args...)
}

// run runs a tool. Its error holds what the tool said.
func (r *Repo) run(ctx context.Context, dir string, stdin []byte, tool string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, tool, args...) // #nosec G204 -- git, gh or glab, without a shell
	cmd.Dir, cmd.Env, cmd.WaitDelay = dir, r.env(), 10*time.Second
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &out, &errs
	if err := cmd.Run(); err != nil {
		said := strings.TrimSpace(errs.String())
		if said == "" {
			said = err.Error()
		}
		return "", fmt.Errorf("%s %s: %s", tool, args[0], jit.PrintableLines(jit.WithoutSecrets(said)))
	}
	return strings.TrimSuffix(out.String(), "\n"), nil
}

// env is the environment of the tools: without a repository that a hook of git names.
func (r *Repo) env() []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains([]string{"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"}, name)
	})
	env = append(env, "GIT_LITERAL_PATHSPECS=1", "LC_ALL=C")
	if !r.ask {
		env = append(env, "GIT_TERMINAL_PROMPT=0", "GH_PROMPT_DISABLED=1", "NO_PROMPT=1")
	}
	return env
}

// Commit makes the branch of a pull request with one commit of its files, unless it is there. It works in a worktree of
// its own: the branch that is checked out, its index and all other files stay as they are. made is false if the branch
// has the same files already.
func (r *Repo) Commit(ctx context.Context, p Pull) (made bool, err error) {
	paths, err := r.paths(p.Files)
	if err != nil {
		return false, err
	}
	ref := "refs/heads/" + p.Branch
	_, missing := r.git(ctx, "show-ref", "--verify", "--quiet", ref)
	if missing == nil {
		same, err := r.has(ctx, ref, paths)
		if err != nil || same {
			return false, err
		}
		ahead, err := r.git(ctx, "rev-list", "--count", "HEAD.."+ref)
		if err != nil {
			return false, err
		}
		if ahead != "0" {
			return false, jit.Errorf(jit.ErrDenied, "--pr", "delete or rename it: git branch -m "+p.Branch+" NEW",
				"branch %s exists, with other commits", p.Branch)
		}
	}
	tree, err := os.MkdirTemp("", "jit-request-")
	if err != nil {
		return false, err
	}
	defer func() { _ = os.RemoveAll(tree) }()
	// The worktree has no branch checked out, so that one which an interrupted run leaves behind keeps no branch busy.
	work := filepath.Join(tree, "work")
	if _, err := r.git(ctx, "worktree", "add", "--quiet", "--detach", work, "HEAD"); err != nil {
		return false, err
	}
	defer func() {
		// It is removed also if the user has interrupted the command.
		_, _ = r.git(context.WithoutCancel(ctx), "worktree", "remove", "--force", work)
	}()
	if err := r.commitIn(ctx, work, paths, p.Message); err != nil {
		return false, err
	}
	commit, err := r.gitIn(ctx, work, nil, "rev-parse", "--verify", "HEAD^{commit}")
	if err != nil {
		return false, err
	}
	same, err := r.holdsOnly(ctx, commit, paths)
	if err == nil && !same {
		err = jit.Errorf(jit.ErrDenied, "--pr",
			"have the hook leave "+strings.Join(paths, ", ")+" as written, or commit by hand",
			"a commit hook of %s has changed files, so the commit does not hold just what was judged", r.top)
	}
	if err != nil {
		return false, err
	}
	branch := []string{"branch", "--no-track", p.Branch, commit}
	if missing == nil {
		branch = []string{"branch", "--no-track", "--force", p.Branch, commit}
	}
	_, err = r.git(ctx, branch...)
	return err == nil, err
}

// commitIn copies files into a worktree and commits them.
func (r *Repo) commitIn(ctx context.Context, work string, paths []string, message string) error {
	root, err := os.OpenRoot(work)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	for _, path := range paths {
		text, err := os.ReadFile(filepath.Join(r.top, path)) // #nosec G304 -- a file of this request
		if err == nil {
			err = root.MkdirAll(filepath.Dir(path), 0o755) // #nosec G301 -- it holds nothing secret
		}
		if err == nil {
			err = root.WriteFile(path, text, 0o644) // #nosec G306 -- it holds nothing secret
		}
		if err != nil {
			return err
		}
	}
	if _, err := r.gitIn(ctx, work, nil, append([]string{"add", "--"}, paths...)...); err != nil {
		return err
	}
	_, err = r.gitIn(ctx, work, []byte(message), "commit", "--quiet", "--cleanup=verbatim", "--file=-")
	return err
}

// paths returns the paths of files in the repository.
func (r *Repo) paths(files []string) ([]string, error) {
	top, err := filepath.EvalSymlinks(r.top)
	if err != nil {
		return nil, err
	}
	paths := make([]string, len(files))
	for i, f := range files {
		folder, err := filepath.Abs(filepath.Dir(f))
		if err == nil {
			folder, err = filepath.EvalSymlinks(folder)
		}
		if err == nil {
			paths[i], err = filepath.Rel(top, filepath.Join(folder, filepath.Base(f)))
		}
		if err != nil || !filepath.IsLocal(paths[i]) {
			return nil, jit.Errorf(jit.ErrDenied, "--pr", "", "%s is not in the repository %s", f, r.top)
		}
	}
	return paths, nil
}

// has reports whether a commit has these files as they are in the work tree.
func (r *Repo) has(ctx context.Context, ref string, paths []string) (bool, error) {
	for _, path := range paths {
		slashed := filepath.ToSlash(path)
		is, err := r.gitIn(ctx, r.top, nil, "hash-object", "--path="+slashed, "--", filepath.Join(r.top, path))
		if err != nil {
			return false, err
		}
		committed, err := r.git(ctx, "ls-tree", "--full-tree", "--object-only", ref, "--", slashed)
		if err != nil {
			return false, err
		}
		if committed != is {
			return false, nil
		}
	}
	return true, nil
}

// holdsOnly reports whether a commit has these files as they are in the work tree, and all else as HEAD has it.
func (r *Repo) holdsOnly(ctx context.Context, commit string, paths []string) (bool, error) {
	same, err := r.has(ctx, commit, paths)
	if err != nil || !same {
		return false, err
	}
	changed, err := r.git(ctx, "diff-tree", "-r", "-z", "--name-only", "HEAD", commit)
	for name := range strings.SplitSeq(changed, "\x00") {
		if name != "" && !slices.Contains(paths, filepath.FromSlash(name)) {
			return false, err
		}
	}
	return err == nil, err
}

// listed returns the files in a folder that git ls-files names; none outside a repository.
func listed(ctx context.Context, folder string, args ...string) []string {
	found, err := (&Repo{dir: folder}).git(ctx, append([]string{"ls-files", "-z"}, args...)...)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(strings.Split(found, "\x00"), func(name string) bool { return name == "" })
}
