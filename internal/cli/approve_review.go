package cli

import (
	"cmp"
	"context"
	"fmt"
	"os"

	"github.com/jitaccess/terraform-provider-jit/internal/approval"
	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/forge"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// reviewsOf reads who approved the pull request, and returns the name of its forge.
func reviewsOf(ctx context.Context, v verdict) (name string, ref forge.Ref, found *forge.Reviews, err error) {
	name, flag, variable, service := approval.GitHub, "--github", "GITHUB_TOKEN", os.Getenv("GITHUB_API_URL")
	if v.gitlab != "" {
		name, flag, variable, service = approval.GitLab, "--gitlab", "GITLAB_TOKEN", os.Getenv("CI_API_V4_URL")
	}
	if ref, err = forge.ParseRef(cmp.Or(v.github, v.gitlab)); err != nil {
		return name, ref, nil, usage(about(flag, err))
	}
	token := os.Getenv(variable)
	if token == "" {
		return name, ref, nil, usage(jit.Invalid(flag, "set "+variable+" to a token that may read pull requests",
			"there is no token: %s is not set", variable))
	}
	if name == approval.GitLab {
		var site *forge.GitLab
		if site, err = forge.NewGitLab(service, token); err == nil {
			found, err = site.Reviews(ctx, ref)
		}
	} else {
		var site *forge.GitHub
		if site, err = forge.NewGitHub(service, token); err == nil {
			found, err = site.Reviews(ctx, ref)
		}
	}
	return name, ref, found, err
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
	requests, unknown, err := readPlan(v.plan)
	if err != nil {
		return usage(err)
	}
	name, ref, found, err := reviewsOf(ctx, v)
	if err != nil {
		return err
	}
	for _, why := range append(unknown, found.Ignored...) {
		fmt.Fprintf(p.err, "note: %s\n", printable(why))
	}
	reviews := make([]approval.Reviewed, 0, len(found.Approved))
	for _, r := range found.Approved {
		reviews = append(reviews, approval.Reviewed{
			Login: r.Login, Forge: name, Repository: ref.Repository, Number: ref.Number, Commit: r.Commit, Review: r.ID,
			At: jit.Second(r.At), NotAfter: jit.Second(r.At).Add(v.valid),
		})
	}
	left := len(unknown)
	for _, r := range requests {
		recorded, ignored, err := rt.Broker.DecideByReview(ctx, r.request, r.digest, reviews)
		if err != nil {
			return fmt.Errorf("%s: %w", r.address, err)
		}
		for _, why := range ignored {
			fmt.Fprintf(p.err, "note: %s: %s\n", printable(r.address), printable(why))
		}
		for _, one := range recorded {
			fmt.Fprintf(p.out, "%s approved %s in %s.\n", printable(one.Person), printable(r.address), ref)
		}
		if len(recorded) == 0 {
			left++
		}
	}
	return undecided(left)
}
