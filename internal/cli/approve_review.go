package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/approval"
	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/forge"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/plan"
)

// site is the forge that a flag names.
type site struct {
	// name is [approval.GitHub] or [approval.GitLab], flag the flag, and variable the one that holds the token.
	name, flag, variable string
	open                 func(token string) (reader, error)
}

// reader reads the reviews of a pull request.
type reader interface {
	Reviews(ctx context.Context, ref forge.Ref) (*forge.Reviews, error)
}

// site returns the forge whose pull request decides.
func (v *verdict) site() site {
	if v.gitlab != "" {
		return site{approval.GitLab, "--gitlab", "GITLAB_TOKEN", func(token string) (reader, error) {
			return forge.NewGitLab(os.Getenv("CI_API_V4_URL"), token)
		}}
	}
	return site{approval.GitHub, "--github", "GITHUB_TOKEN", func(token string) (reader, error) {
		return forge.NewGitHub(os.Getenv("GITHUB_API_URL"), token)
	}}
}

// reviewsOf reads who approved the pull request. In CI it must be the one that the run plans.
func reviewsOf(ctx context.Context, v verdict) (s site, ref forge.Ref, found *forge.Reviews, err error) {
	s = v.site()
	if ref, err = forge.ParseRef(cmp.Or(v.github, v.gitlab)); err != nil {
		return s, ref, nil, usage(about(s.flag, err))
	}
	planned, err := config.Planned()
	if err == nil && planned.OfForge(s.name) {
		err = samePull(s.flag, planned, ref)
	}
	token := os.Getenv(s.variable)
	if err == nil && token == "" {
		err = jit.Invalid(s.flag, "set "+s.variable+" to a token that may read pull requests",
			"there is no token: %s is not set", s.variable)
	}
	if err != nil {
		return s, ref, nil, usage(err)
	}
	site, err := s.open(token)
	if err != nil {
		return s, ref, nil, err
	}
	if found, err = site.Reviews(ctx, ref); err == nil && planned.OfForge(s.name) {
		err = sameCommit(planned, ref, found)
	}
	if errors.Is(err, jit.ErrDenied) {
		err = notDone(about(s.flag, err))
	}
	return s, ref, found, err
}

// samePull refuses another pull request than the one that this CI run plans, as far as that is known.
func samePull(flag string, planned config.PullRequest, ref forge.Ref) error {
	other := planned.Repository != "" && !strings.EqualFold(planned.Repository, ref.Repository)
	if !other && (planned.Number == 0 || planned.Number == ref.Number) {
		return nil
	}
	of := planned.Repository
	if planned.Number != 0 {
		of += "#" + strconv.Itoa(planned.Number)
	}
	return jit.Invalid(flag, "name the pull request that the plan is of", "this CI run plans %s, not %s",
		jit.Printable(of), ref)
}

// sameCommit refuses reviews of another commit than the one that this CI run plans, if that is known: a job of an older
// commit may run again after the newest was approved.
func sameCommit(planned config.PullRequest, ref forge.Ref, found *forge.Reviews) error {
	if planned.Commit == "" || found.Cover(planned.Commit) {
		return nil
	}
	return jit.Errorf(jit.ErrDenied, "", "run it on the newest commit of the pull request, or on its merge",
		"this CI run plans commit %s, and the reviews of %s are about %s", jit.Printable(planned.Commit), ref,
		found.Head)
}

// about gives an error without an attribute the name of a flag.
func about(flag string, err error) error {
	if e, ok := err.(*jit.Error); ok && e.Attribute == "" { //nolint:errorlint // only an error that nothing wraps
		named := *e
		named.Attribute = flag
		return &named
	}
	return err
}

// decideByReview records the reviews of a pull request for each request of a plan.
func (p *program) decideByReview(ctx context.Context, rt *config.Runtime, v verdict) error {
	asked, err := plan.Load("--plan", v.plan)
	if err != nil {
		return usage(err)
	}
	requests, unknown := asked.Requests()
	from, ref, found, err := reviewsOf(ctx, v)
	if err != nil {
		return err
	}
	for _, why := range append(unknown, found.Ignored...) {
		fmt.Fprintf(p.err, "note: %s\n", printable(why))
	}
	reviews := make([]approval.Reviewed, 0, len(found.Approved))
	for _, r := range found.Approved {
		reviews = append(reviews, approval.Reviewed{
			Login: r.Login, Forge: from.name, Host: found.Host, Repository: ref.Repository, Number: ref.Number,
			Commit: r.Commit, Review: r.ID, At: jit.Second(r.At), NotAfter: jit.Second(r.At).Add(v.valid),
		})
	}
	left := len(unknown)
	for _, r := range requests {
		recorded, ignored, err := rt.Broker.DecideByReview(ctx, r.Asked, r.Digest, reviews)
		if errors.Is(err, jit.ErrInvalid) || errors.Is(err, jit.ErrDenied) { // it holds up no other request
			ignored, err = []string{err.Error()}, nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", r.Address, err)
		}
		for _, why := range ignored {
			fmt.Fprintf(p.err, "note: %s: %s\n", printable(r.Address), printable(why))
		}
		for _, one := range recorded {
			fmt.Fprintf(p.out, "%s approved %s in %s.\n", printable(one.Person), printable(r.Address), ref)
		}
		if len(recorded) == 0 {
			left++
		}
	}
	return undecided(left)
}
