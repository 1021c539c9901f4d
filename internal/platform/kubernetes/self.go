package kubernetes

import (
	"context"
	"encoding/json"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// selfReview is where a cluster says whom it takes the caller for; every authenticated user may ask.
// https://kubernetes.io/docs/reference/access-authn-authz/authentication/#self-subject-review
const selfReview = "/apis/authentication.k8s.io/v1/selfsubjectreviews"

// operator returns the principal that the cluster knows us as; empty when it does not say. It is asked once.
func (p *Platform) operator(ctx context.Context, c *client) string {
	p.mu.Lock()
	known := p.self
	p.mu.Unlock()
	if known != nil {
		return *known
	}
	var review struct {
		Status struct {
			UserInfo struct {
				Username string `json:"username"`
			} `json:"userInfo"`
		} `json:"status"`
	}
	answer, err := c.api.Post().AbsPath(selfReview).SetHeader("Accept", "application/json").SetHeader("Content-Type",
		"application/json").
		Body([]byte(`{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}`)).DoRaw(ctx)
	if err == nil {
		err = json.Unmarshal(answer, &review)
	}
	self := ""
	if name := review.Status.UserInfo.Username; err == nil && name != "" {
		self = principalOf(rbacv1.Subject{Kind: rbacv1.UserKind, Name: name})
	} else if !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err) {
		return "" // it is asked again
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.self = &self
	return self
}
