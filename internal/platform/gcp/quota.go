package gcp

import (
	"encoding/json"
	"net/http"
	"os"
)

// quotaProject returns the project whose quota requests use, as Google's own libraries find it: in
// GOOGLE_CLOUD_QUOTA_PROJECT, else in the credentials file. Most APIs refuse a user's credentials without one
// (https://cloud.google.com/docs/quotas/set-quota-project). Empty means the project of the credentials.
func quotaProject(credentials []byte) string {
	if project := os.Getenv("GOOGLE_CLOUD_QUOTA_PROJECT"); project != "" {
		return project
	}
	var file struct {
		QuotaProject string `json:"quota_project_id"`
	}
	if json.Unmarshal(credentials, &file) != nil {
		return ""
	}
	return file.QuotaProject
}

// payer names the project whose quota each request uses.
type payer struct {
	project string
	next    http.RoundTripper
}

// RoundTrip makes the request.
func (p *payer) RoundTrip(r *http.Request) (*http.Response, error) {
	if p.project != "" {
		r = r.Clone(r.Context())
		r.Header.Set("X-Goog-User-Project", p.project)
	}
	return p.next.RoundTrip(r)
}
