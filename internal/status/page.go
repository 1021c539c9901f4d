package status

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
)

//go:embed assets
var assets embed.FS

func asset(name string) string {
	text, err := assets.ReadFile("assets/" + name)
	if err != nil {
		panic(err) // it is part of the program
	}
	return string(text)
}

var (
	style, script = asset("style.css"), asset("script.js")
	// contentPolicy permits the style and the script of the page, and no request to any other host.
	contentPolicy = "default-src 'none'; style-src '" + digest(style) + "'; script-src '" + digest(script) +
		"'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	// stillPolicy is for pages without a script and a form.
	stillPolicy = "default-src 'none'; style-src '" + digest(style) +
		"'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)

// pages returns the templates. Most runs of the program make no page, so they are parsed for the first one.
var pages = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("").Funcs(template.FuncMap{
		"style":  func() template.CSS { return template.CSS(style) }, //nolint:gosec // it is part of the program
		"script": func() template.JS { return template.JS(script) },  //nolint:gosec // it is part of the program
		"done":   func(k reconcile.Kind) string { return doneWords[k] },
		"stamp":  jit.FormatTime,
		"clock":  func(t time.Time) string { return t.UTC().Format("2 Jan 15:04:05") },
		"dated":  func(t time.Time) string { return t.UTC().Format("2 Jan 2006 15:04") },
		"day":    func(t time.Time) string { return t.UTC().Format("2 Jan 2006") },
		"exact":  func(t time.Time) string { return t.UTC().Format("2 Jan 2006 15:04:05") },
		"change": changeParts,
		"words":  func(s any) string { return strings.ReplaceAll(fmt.Sprint(s), "_", " ") },
		// No server sends the policy of a report with it.
		"reportPolicy": func() string {
			return "default-src 'none'; style-src '" + digest(style) + "'; form-action 'none'; base-uri 'none'"
		},
	}).ParseFS(assets, "assets/*.tmpl"))
})

// doneWords are the words for the action on drift.
var doneWords = map[reconcile.Kind]string{
	reconcile.End: "ended", reconcile.Start: "started", reconcile.Repair: "repaired", reconcile.Remove: "removed",
	reconcile.Revoke: "revoked", reconcile.Report: "reported",
}

// digest identifies a text in a content security policy.
func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// readTimeout bounds the reading of the ledger for a page, well below the time that an answer may take: there is a page
// without the ledger, too.
const readTimeout = 20 * time.Second

// maxQuery is how long a filter may be, in bytes.
const maxQuery = 200

// render returns a page that shows hidden characters as [jit.Printable] does, and no user or password of a URL. The
// templates themselves have none.
func render(name string, data any) ([]byte, error) {
	var page bytes.Buffer
	if err := pages().ExecuteTemplate(&page, name, data); err != nil {
		return nil, err
	}
	return []byte(jit.WithoutUsers(jit.PrintableLines(page.String()))), nil
}

// queryOf returns the filter of a request.
func queryOf(r *http.Request) (query, error) {
	asked := r.URL.Query()
	q := query{Principal: asked.Get("principal"), Target: asked.Get("target"), Owner: asked.Get("owner")}
	if max(len(q.Principal), len(q.Target), len(q.Owner)) > maxQuery {
		return query{}, errors.New("the filter is too long")
	}
	return q, nil
}

// page answers with who has access now, what ended today, what could not be revoked, and drift.
func (s *Server) page(w http.ResponseWriter, r *http.Request) {
	q, err := queryOf(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), readTimeout)
	defer cancel()
	s.send(w, http.StatusOK, "page.html.tmpl", gather(ctx, s.Source, q), contentPolicy)
}

// send answers with a page, under a content security policy.
func (s *Server) send(w http.ResponseWriter, code int, name string, data any, policy string) {
	page, err := render(name, data)
	if err != nil {
		s.Log.Error("cannot make the status page", "error", err)
		http.Error(w, "the page could not be made; the log says why", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", policy)
	w.WriteHeader(code)
	_, _ = w.Write(page) //nolint:gosec // html/template has escaped it; the client may be gone
}
