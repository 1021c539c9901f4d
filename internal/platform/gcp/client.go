package gcp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/impersonate"
	"google.golang.org/api/option"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	// maxAnswer limits an answer, in bytes. A policy at its limits has less than 2 MiB.
	maxAnswer  = 16 << 20
	oauthScope = "https://www.googleapis.com/auth/cloud-platform"
)

// client calls the service. It reads and writes policies as JSON, because the SDK's type would drop fields that it does
// not know.
type client struct {
	http *http.Client
	now  func() time.Time
	// agent is the user agent.
	agent string
}

// client returns the client, which the first use makes. A failure is tried again at the next call: a file may appear
// meanwhile.
func (p *Platform) client(ctx context.Context) (*client, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("reach Google Cloud: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.opened != nil {
		return p.opened, nil
	}
	var base http.RoundTripper = http.DefaultTransport.(*http.Transport).Clone()
	if p.cfg.Endpoint != "" {
		u, err := url.Parse(p.cfg.Endpoint)
		if err != nil {
			return nil, fmt.Errorf("read the endpoint: %w", err)
		}
		base = &oneHost{u, base}
	}
	base = jit.GuardAnswers(base)
	authorized, err := p.cfg.authorize(base)
	if err != nil {
		return nil, err
	}
	p.opened = &client{now: p.now, http: patient(authorized), agent: p.agent}
	return p.opened, nil
}

// authorize adds the credentials to base.
func (c Config) authorize(base http.RoundTripper) (http.RoundTripper, error) {
	if c.anonymous() {
		return base, nil
	}
	source, file, err := c.tokens()
	if err != nil {
		return nil, err
	}
	paid := &payer{quotaProject(file), base}
	if c.ImpersonateServiceAccount != "" {
		own := &http.Client{Transport: &oauth2.Transport{Source: tokenSource{source, ""}, Base: paid},
			Timeout: callTimeout}
		paid = &payer{quotaProject(nil), base} // the account that is impersonated has a project of its own
		source, err = impersonate.CredentialsTokenSource(context.Background(),
			impersonate.CredentialsConfig{TargetPrincipal: c.ImpersonateServiceAccount,
				Scopes: []string{oauthScope}}, option.WithHTTPClient(own))
		if err != nil {
			return nil, fmt.Errorf("impersonate %s: %w", c.ImpersonateServiceAccount, err)
		}
	}
	return &oauth2.Transport{Source: tokenSource{source, c.ImpersonateServiceAccount}, Base: paid}, nil
}

// tokens returns the token source of the credentials themselves, and their file, if they have one.
func (c Config) tokens() (source oauth2.TokenSource, file []byte, err error) {
	// The source renews tokens with this context, so it must not end.
	ctx := context.WithValue(context.Background(), oauth2.HTTPClient, &http.Client{
		Transport: jit.GuardAnswers(http.DefaultTransport), Timeout: callTimeout})
	switch {
	case c.AccessToken != "":
		return oauth2.StaticTokenSource(&oauth2.Token{AccessToken: c.AccessToken}), nil, nil
	case c.Credentials != "":
		text, kind, err := c.readCredentials()
		if err != nil {
			return nil, nil, err
		}
		found, err := google.CredentialsFromJSONWithType(ctx, text, kind, oauthScope)
		if err != nil {
			return nil, nil, about("credentials", problem(nil,
				"make a new key, or write the workload identity configuration anew",
				"%s cannot be used: %s", c.credentialsName(), jit.Said(err.Error())))
		}
		return found.TokenSource, found.JSON, nil
	}
	found, err := google.FindDefaultCredentials(ctx, oauthScope)
	if err != nil {
		return nil, nil, problem(err, "run `gcloud auth application-default login`, set GOOGLE_APPLICATION_CREDENTIALS to "+
			"the path of a credentials file, or write credentials or access_token into the target",
			"there are no credentials for Google Cloud: %s", jit.Said(err.Error()))
	}
	return found.TokenSource, found.JSON, nil
}

// oneHost sends every request to one host.
type oneHost struct {
	to   *url.URL
	next http.RoundTripper
}

// RoundTrip makes the request.
func (t *oneHost) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Scheme, r.URL.Host, r.Host = t.to.Scheme, t.to.Host, t.to.Host
	return t.next.RoundTrip(r)
}

// clock is the time of an answer.
type clock struct{ jit.Clock }

// now is the earlier of the two times: what is over then is over by both.
func (c clock) now() time.Time {
	if c.Remote.IsZero() || c.Local.Before(c.Remote) {
		return c.Local
	}
	return c.Remote
}

// after is the clock, that much later.
func (c clock) after(d time.Duration) clock {
	c.Local = c.Local.Add(d)
	if !c.Remote.IsZero() {
		c.Remote = c.Remote.Add(d)
	}
	return c
}

// reading is a policy, as a read or a write answered with it.
type reading struct {
	*policy
	clock clock
	// cached: it was not read now, and its claims are unknown.
	cached bool
	// claimed are the claims from before the read, and unclaimed is why they are unknown.
	claimed   jit.ClaimSet
	unclaimed error
}

// getPolicy reads a resource's policy. The error wraps [errGone] if there is no such resource; the clock is set even
// then.
func (c *client) getPolicy(ctx context.Context, at resource) (reading, error) {
	doing := "read the policy of " + at.String()
	address, body := at.policyURL("getIamPolicy"), json.RawMessage(nil)
	if at.kind.ask == "" {
		body = json.RawMessage(fmt.Sprintf(`{"options":{"requestedPolicyVersion":%d}}`, policyVersion))
	} else {
		address += fmt.Sprintf("?%s=%d", at.kind.ask, policyVersion)
	}
	r, err := c.call(ctx, at, at.kind.get, address, body, "")
	return r, explain(ctx, doing, at, "getIamPolicy", err)
}

// setPolicy writes a policy, and checks that the answer holds every condition that was sent.
func (c *client) setPolicy(ctx context.Context, at resource, p *policy) (reading, error) {
	body, err := p.encode()
	if err != nil {
		return reading{}, err
	}
	address, etag := at.policyURL("setIamPolicy"), ""
	switch {
	case p.dataset:
		address += fmt.Sprintf("?%s=%d", at.kind.ask, policyVersion)
		err = json.Unmarshal(p.fields["etag"], &etag)
	case at.kind.set == post:
		// The default mask leaves the audit configuration alone. It is sent back as it was read all the same.
		body = json.RawMessage(`{"policy":` + string(bytes.TrimSpace(body)) + `}`)
	}
	if err != nil {
		return reading{}, fmt.Errorf("write the policy: %w", err)
	}
	answer, err := c.call(ctx, at, at.kind.set, address, body, etag)
	if err != nil {
		return answer, err
	}
	if lost := p.lost(answer.policy); len(lost) > 0 {
		return answer, lostConditions(at, lost)
	}
	return answer, nil
}

// call makes one request that is answered with a policy. A write with an etag fails if it is not the present one.
func (c *client) call(
	ctx context.Context, on resource, method, address string, body json.RawMessage, etag string,
) (reading, error) {
	r, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return reading{}, err
	}
	r.Header.Set("User-Agent", c.agent)
	r.Header.Set("Content-Type", "application/json")
	if etag != "" {
		r.Header.Set("If-Match", etag)
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return reading{}, err
	}
	defer func() { _ = answer.Body.Close() }()
	at := reading{clock: clock{jit.ReadClock(answer.Header, c.now())}}
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return at, errors.Join(errUnanswered, err)
	}
	if err := googleapi.CheckResponseWithBody(answer, text); err != nil {
		return at, err
	}
	if on.kind == datasetKind {
		at.policy, err = decodeDataset(text, on)
	} else {
		at.policy, err = decodePolicy(text)
	}
	return at, err
}
