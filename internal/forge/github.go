package forge

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// GitHub reads pull requests of GitHub. Create it with [NewGitHub].
type GitHub struct{ client *client }

// NewGitHub returns a reader. url is that of the REST API, https://api.github.com by default. The token must be allowed
// to read pull requests and contents.
func NewGitHub(url, token string) (*GitHub, error) {
	c, err := newClient(cmp.Or(url, "https://api.github.com"), "X-Ratelimit-Reset", http.Header{
		"Authorization": {
			"Bearer " + token,
		}, "Accept": {"application/vnd.github+json"}, "X-Github-Api-Version": {"2022-11-28"},
	})
	return &GitHub{c}, err
}

type gitHubUser struct {
	Login string `json:"login"`
	Type  string `json:"type"`
}

// bot reports whether it is anything but a person (type of a simple user in GitHub's REST API).
func (u gitHubUser) bot() bool { return u.Type != "User" }

// Reviews reads the approvals of a pull request (docs.github.com/rest/pulls/reviews).
func (g *GitHub) Reviews(ctx context.Context, ref Ref) (*Reviews, error) {
	path := fmt.Sprintf("repos/%s/pulls/%d", ref.Repository, ref.Number)
	var pull struct {
		State    string     `json:"state"`
		MergedAt *time.Time `json:"merged_at"`
		Merge    string     `json:"merge_commit_sha"` // of an open pull request: of a merge on trial
		User     gitHubUser `json:"user"`
		Head     struct {
			SHA  string `json:"sha"`
			Ref  string `json:"ref"`
			Repo *struct {
				FullName string `json:"full_name"`
			} `json:"repo"`
		} `json:"head"`
	}
	if err := g.client.get(ctx, path, nil, &pull); err != nil {
		return nil, err
	}
	r := &Reviews{
		Host: strings.TrimPrefix(g.client.base.Host, "api."), Head: pull.Head.SHA, Author: pull.User.Login,
	}
	if err := r.settle(ref, pull.State == "open", pull.State == "closed", pull.MergedAt, pull.Merge); err != nil {
		return nil, err
	}
	if pull.Head.Repo == nil || pull.Head.SHA == "" {
		return nil, fmt.Errorf("the branch of %s is gone, so nobody can say who pushed last", ref)
	}
	var err error
	if r.Pusher, err = g.pusher(ctx, pull.Head.Repo.FullName, pull.Head.Ref, pull.Head.SHA); err != nil {
		return nil, err
	}
	latest, err := g.latest(ctx, path)
	if err != nil {
		return nil, err
	}
	for _, l := range latest {
		switch l.State {
		case "APPROVED":
			r.count(
				Review{Login: l.User.Login, ID: strconv.FormatInt(l.ID, 10), Commit: l.Commit, At: l.At},
				l.User.bot(),
			)
		case "DISMISSED":
			r.ignore(l.User.Login, "it was dismissed")
		}
	}
	return r, nil
}

type gitHubReview struct {
	ID     int64       `json:"id"`
	User   *gitHubUser `json:"user"` // null for an account that was deleted
	State  string      `json:"state"`
	Commit string      `json:"commit_id"`
	At     time.Time   `json:"submitted_at"`
}

// latest returns each person's last review that decides anything. The list is in chronological order; a comment does not
// take an approval back.
func (g *GitHub) latest(ctx context.Context, path string) ([]gitHubReview, error) {
	at := map[string]int{}
	var latest []gitHubReview
	err := g.client.list(ctx, path+"/reviews", url.Values{"per_page": {"100"}}, func() (any, func() bool) {
		var page []gitHubReview
		return &page, func() bool {
			for _, review := range page {
				if review.User == nil || review.State == "COMMENTED" || review.State == "PENDING" {
					continue
				}
				i, seen := at[review.User.Login]
				if !seen {
					at[review.User.Login] = len(latest)
					latest = append(latest, review)
				} else {
					latest[i] = review
				}
			}
			return true
		}
	})
	return latest, err
}

// pusher returns who moved a branch to a commit (docs.github.com/rest/repos/repos, "List repository activities"; newest
// first).
func (g *GitHub) pusher(ctx context.Context, repository, branch, commit string) (string, error) {
	pusher := ""
	query := url.Values{"ref": {"refs/heads/" + branch}, "per_page": {"100"}}
	err := g.client.list(ctx, "repos/"+repository+"/activity", query, func() (any, func() bool) {
		var page []struct {
			After string      `json:"after"`
			Actor *gitHubUser `json:"actor"`
		}
		return &page, func() bool {
			for _, a := range page {
				if a.After == commit && a.Actor != nil && pusher == "" {
					pusher = a.Actor.Login
				}
			}
			return pusher == ""
		}
	})
	if err == nil && pusher == "" {
		err = fmt.Errorf(
			"GitHub does not say who pushed %s to %s of %s; try again in a minute",
			commit,
			branch,
			repository,
		)
	}
	return pusher, err
}
