package jit

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// maxAnswer and maxRefusal limit how much of an answer is read, in bytes.
const (
	maxAnswer  = 64 << 20
	maxRefusal = 1 << 20
)

// minSecret is the shortest value of a header that is taken out of answers.
const minSecret = 6

// GuardAnswers returns a transport that does [GuardAnswer] with each answer of another one, and tells each exchange to
// whom the context names: see [WithExchanges]. It must see the credentials
// in the headers of the request, so it belongs below what adds them.
func GuardAnswers(next http.RoundTripper) http.RoundTripper { return guard{next} }

type guard struct{ next http.RoundTripper }

// RoundTrip makes the request.
func (g guard) RoundTrip(r *http.Request) (*http.Response, error) {
	began, tell := time.Now(), Exchanges(r.Context())
	answer, err := g.next.RoundTrip(r)
	if err == nil {
		GuardAnswer(r.Header, answer)
	}
	if tell != nil {
		e := ExchangeOf(r, answer, err, began)
		e.Key = keyOf(r)
		tell(e)
	}
	return answer, err
}

// WrappedRoundTripper lets client-go find the transport below.
func (g guard) WrappedRoundTripper() http.RoundTripper { return g.next }

// GuardAnswer limits the body of an answer, so that no server can use up our memory. A server, or a proxy before it,
// may repeat the request in a refusal. GuardAnswer takes the credentials that were sent out of it; lengths stay, because
// some formats count them.
func GuardAnswer(sent http.Header, answer *http.Response) {
	if answer.StatusCode < http.StatusMultipleChoices {
		answer.Body = &limited{answer.Body, maxAnswer}
		return
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxRefusal))
	secrets := secretsIn(sent)
	hide := func(text []byte) []byte {
		for _, secret := range secrets {
			text = bytes.ReplaceAll(text, []byte(secret), bytes.Repeat([]byte("*"), len(secret)))
		}
		return text
	}
	answer.Status = string(hide([]byte(answer.Status)))
	for _, values := range answer.Header {
		for i, value := range values {
			values[i] = string(hide([]byte(value)))
		}
	}
	body := io.Reader(bytes.NewReader(hide(text)))
	if err != nil {
		body = io.MultiReader(body, failing{err})
	}
	if len(text) == maxRefusal && answer.ContentLength > maxRefusal {
		answer.ContentLength = -1
	}
	answer.Body = struct {
		io.Reader
		io.Closer
	}{body, answer.Body}
}

// secretHeaders are the headers that hold credentials.
var secretHeaders = []string{"Authorization", "Proxy-Authorization", "Cookie", "Api-Key", "X-Api-Key", "Private-Token",
	"X-Amz-Security-Token"}

// secretsIn returns the credentials in the headers of a request, in the forms in which a server may repeat them.
func secretsIn(sent http.Header) (secrets []string) {
	add := func(secret string) {
		quoted, _ := json.Marshal(secret) // a string has no error
		for _, form := range []string{secret, strings.Trim(string(quoted), `"`), url.QueryEscape(secret)} {
			if len(secret) >= minSecret {
				secrets = append(secrets, form)
			}
		}
	}
	for _, name := range secretHeaders {
		for _, value := range sent.Values(name) {
			add(value)
			scheme, credential, ok := strings.Cut(value, " ")
			if !ok {
				continue
			}
			add(credential)
			if pair, err := base64.StdEncoding.DecodeString(credential); err == nil && strings.EqualFold(scheme, "Basic") {
				_, password, _ := strings.Cut(string(pair), ":")
				add(password)
			}
		}
	}
	return secrets
}

// limited is a body that fails when it is too long.
type limited struct {
	io.ReadCloser
	left int64
}

var errLongAnswer = errors.New("the answer is too long; a server or something in between misbehaves")

// Read reads up to the limit.
func (l *limited) Read(p []byte) (int, error) {
	n, err := l.ReadCloser.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return 0, errLongAnswer
	}
	return n, err
}

// failing is a reader that only fails.
type failing struct{ err error }

// Read returns the error.
func (f failing) Read([]byte) (int, error) { return 0, f.err }
