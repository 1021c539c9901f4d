package jit_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// TestNoRefusalRepeatsCredentials: the server repeats all headers, in its body, its headers and as a count of bytes.
func TestNoRefusalRepeatsCredentials(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var dump bytes.Buffer
		_ = r.Header.Write(&dump)
		_, password, _ := r.BasicAuth()
		w.Header().Set("Location", "https://elsewhere/?token="+r.Header.Get("Api-Key"))
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(dump.String() + password))
	}))
	defer server.Close()
	client := &http.Client{Transport: jit.GuardAnswers(server.Client().Transport)}
	for name, set := range map[string]func(http.Header){
		"bearer": func(h http.Header) { h.Set("Authorization", "Bearer tok-hunter2") },
		"basic": func(h http.Header) {
			h.Set("Authorization", "Basic "+"YWRtaW46eC1odW50ZXIy") // admin:x-hunter2
		},
		"key": func(h http.Header) { h.Set("Api-Key", "xapi-hunter2") },
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		set(r.Header)
		r.Header.Set("X-Other", "kept-hunter")
		answer, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		text := string(body) + answer.Header.Get("Location")
		if err != nil || strings.Contains(text, "hunter2") || strings.Contains(text, "odW50ZXIy") ||
			!strings.Contains(text, "kept-hunter") || answer.ContentLength != int64(len(body)) {
			t.Errorf("%s: %v, %s", name, err, text)
		}
		if err := answer.Body.Close(); err != nil {
			t.Error(err)
		}
	}
}

// endless is a body without an end.
type endless struct{ read int64 }

func (e *endless) Read(p []byte) (int, error) { e.read += int64(len(p)); return len(p), nil }
func (e *endless) Close() error               { return nil }

func TestNoAnswerIsReadForEver(t *testing.T) {
	for code, most := range map[int]int64{http.StatusOK: 65 << 20, http.StatusBadGateway: 2 << 20} {
		body := &endless{}
		answer := &http.Response{StatusCode: code, Body: body, ContentLength: -1}
		jit.GuardAnswer(nil, answer)
		_, err := io.Copy(io.Discard, answer.Body)
		if body.read > most || code == http.StatusOK && err == nil {
			t.Errorf("%d: %d bytes were read, %v", code, body.read, err)
		}
	}
}
