package status

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html/template"
	"net/http"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
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
	pages         = template.Must(template.New("").Funcs(template.FuncMap{
		"style":  func() template.CSS { return template.CSS(style) }, //nolint:gosec // it is part of the program
		"script": func() template.JS { return template.JS(script) },  //nolint:gosec // it is part of the program
		"stamp":  func(t time.Time) string { return jit.FormatTime(t) },
		"clock":  func(t time.Time) string { return t.UTC().Format("2 Jan 15:04:05") },
		"dated":  func(t time.Time) string { return t.UTC().Format("2 Jan 2006 15:04") },
		"day":    func(t time.Time) string { return t.UTC().Format("2 Jan 2006") },
		// Of a file there is nobody else who could say what it may do.
		"reportPolicy": func() string {
			return "default-src 'none'; style-src '" + digest(style) + "'; form-action 'none'; base-uri 'none'"
		},
	}).ParseFS(assets, "assets/*.tmpl"))
	// contentPolicy permits the style and the script of the page, and no request to anywhere.
	contentPolicy = "default-src 'none'; style-src '" + digest(style) + "'; script-src '" + digest(script) + "'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

// digest is how a content security policy names a text.
func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// FoundCount counts the findings.
func (d pageData) FoundCount() int { return len(d.Found) + d.MoreFound }

// readTimeout bounds the reading of the ledger for a page, well below the time that an answer may take: without the ledger there is a page too.
const readTimeout = 20 * time.Second

// maxQuery bounds what is asked for.
const maxQuery = 200

// render makes a page in which every text is what it looks like: what is hidden is written as [jit.Printable] does. The page itself
// hides nothing.
func render(name string, data any) ([]byte, error) {
	var page bytes.Buffer
	if err := pages.ExecuteTemplate(&page, name, data); err != nil {
		return nil, err
	}
	return []byte(jit.PrintableLines(page.String())), nil
}

// Page shows who has access now, what ended today, what could not be revoked, and drift.
func Page(source Source) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked := r.URL.Query()
		q := query{Principal: asked.Get("principal"), Target: asked.Get("target"), Owner: asked.Get("owner")}
		if max(len(q.Principal), len(q.Target), len(q.Owner)) > maxQuery {
			http.Error(w, "the filter is too long", http.StatusBadRequest)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), readTimeout)
		defer cancel()
		page, err := render("page.html.tmpl", gather(ctx, source, q))
		if err != nil {
			http.Error(w, "the page could not be made", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", contentPolicy)
		_, _ = w.Write(page) // who asked may have gone
	})
}
