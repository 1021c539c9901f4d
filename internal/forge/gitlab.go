package forge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// GitLab reads merge requests of GitLab. Create it with [NewGitLab].
type GitLab struct{ client *client }

// NewGitLab returns a reader. url is that of the REST API, https://gitlab.com/api/v4 by default. The token needs the
// scope read_api.
func NewGitLab(url, token string) (*GitLab, error) {
	c, err := newClient(
		cmp.Or(url, "https://gitlab.com/api/v4"),
		"Ratelimit-Reset",
		http.Header{"Private-Token": {token}},
	)
	return &GitLab{c}, err
}

// Reviews reads the approvals of a merge request (docs.gitlab.com/api/merge_request_approvals). GitLab ties an approval
// to no commit, so only one that is newer than the newest version of the merge request counts.
func (g *GitLab) Reviews(ctx context.Context, ref Ref) (*Reviews, error) {
	path := fmt.Sprintf("projects/%s/merge_requests/%d", url.PathEscape(ref.Repository), ref.Number)
	var request struct {
		SHA      string     `json:"sha"`
		State    string     `json:"state"`
		MergedAt *time.Time `json:"merged_at"`
		Merge    string     `json:"merge_commit_sha"`
		Squash   string     `json:"squash_commit_sha"`
		Author   struct {
			Username string `json:"username"`
		} `json:"author"`
		Source *int64 `json:"source_project_id"`
		Branch string `json:"source_branch"`
	}
	if err := g.client.get(ctx, path, nil, &request); err != nil {
		return nil, err
	}
	r := &Reviews{Host: g.client.base.Host, Head: request.SHA, Author: request.Author.Username}
	open, merged := request.State == "opened", request.State == "merged"
	if err := r.settle(ref, open, merged, request.MergedAt, request.Merge, request.Squash); err != nil {
		return nil, err
	}
	if request.Source == nil || request.SHA == "" {
		return nil, fmt.Errorf("the source of %s is gone, so nobody can say who pushed last", ref)
	}
	var err error
	if r.Pusher, err = g.pusher(ctx, *request.Source, request.Branch, request.SHA); err != nil {
		return nil, err
	}
	since, err := g.versionSince(ctx, path, request.SHA)
	if err != nil {
		return nil, err
	}
	return r, g.approvals(ctx, path, since, r)
}

// approvals adds those who approved since the newest version.
func (g *GitLab) approvals(ctx context.Context, path string, since time.Time, r *Reviews) error {
	var answer struct {
		ApprovedBy []struct {
			User struct {
				ID       int64  `json:"id"`
				Username string `json:"username"`
			} `json:"user"`
			At *time.Time `json:"approved_at"`
		} `json:"approved_by"`
	}
	if err := g.client.get(ctx, path+"/approvals", nil, &answer); err != nil {
		return err
	}
	for _, a := range answer.ApprovedBy {
		if a.At == nil {
			return errors.New("this GitLab does not say when somebody approved; a newer version does")
		}
		if !a.At.After(since) {
			r.ignore(a.User.Username, "it is older than the newest commit")
			continue
		}
		var user struct {
			Bot *bool `json:"bot"`
		}
		if err := g.client.get(ctx, fmt.Sprintf("users/%d", a.User.ID), nil, &user); err != nil {
			return err
		}
		bot := user.Bot == nil || *user.Bot
		r.count(Review{Login: a.User.Username, ID: strconv.FormatInt(a.User.ID, 10), Commit: r.Head, At: *a.At}, bot)
	}
	return nil
}

// versionSince returns when the newest version of a merge request was made, which must be of the head commit
// (docs.gitlab.com/api/merge_requests, "Retrieve merge request diff versions"; newest first).
func (g *GitLab) versionSince(ctx context.Context, path, head string) (time.Time, error) {
	var versions []struct {
		Head string    `json:"head_commit_sha"`
		At   time.Time `json:"created_at"`
	}
	if err := g.client.get(ctx, path+"/versions", url.Values{"per_page": {"1"}}, &versions); err != nil {
		return time.Time{}, err
	}
	if len(versions) == 0 || versions[0].Head != head || versions[0].At.IsZero() {
		return time.Time{}, errors.New("GitLab has not compared the newest commit yet; try again in a minute")
	}
	return versions[0].At, nil
}

// pusher returns who moved a branch to a commit (docs.gitlab.com/api/events, newest first).
func (g *GitLab) pusher(ctx context.Context, project int64, branch, commit string) (string, error) {
	pusher := ""
	query := url.Values{"action": {"pushed"}, "sort": {"desc"}, "per_page": {"100"}}
	err := g.client.list(ctx, fmt.Sprintf("projects/%d/events", project), query, func() (any, func() bool) {
		var page []struct {
			Author string `json:"author_username"`
			Push   struct {
				To  string `json:"commit_to"`
				Ref string `json:"ref"`
			} `json:"push_data"`
		}
		return &page, func() bool {
			for _, e := range page {
				if e.Push.To == commit && e.Push.Ref == branch && pusher == "" {
					pusher = e.Author
				}
			}
			return pusher == ""
		}
	})
	if err == nil && pusher == "" {
		err = fmt.Errorf("GitLab does not say who pushed %s to %s; try again in a minute", commit, branch)
	}
	return pusher, err
}
