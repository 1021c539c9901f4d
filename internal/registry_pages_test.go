package internal_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/text"
)

const (
	// docsURL is where the registry shows docs/.
	docsURL = "https://registry.terraform.io/providers/jitaccess/jit/latest/docs"
	// sourceURL is where the files of the repository are.
	sourceURL = "https://github.com/jitaccess/terraform-provider-jit/"
)

// rendered is a page of the registry, as CommonMark with GitHub's extensions shows it.
type rendered struct {
	anchors map[string]bool
	links   []string
	// html is what the page holds of HTML. The registry takes out most of it.
	html []string
}

// notInSlugs are the characters of a heading that its anchor has not.
var notInSlugs = regexp.MustCompile(`[^\p{L}\p{N} _-]`)

// render reads a page of docs/.
func render(t *testing.T, path string) rendered {
	t.Helper()
	matter, body, ok := strings.Cut(strings.TrimPrefix(read(t, path), "---\n"), "\n---\n")
	if !ok || !strings.Contains("\n"+matter, "\npage_title: ") || !strings.Contains(matter, "\ndescription: ") {
		t.Errorf("%s has no title or description before its text", path)
	}
	source := []byte(body)
	p := rendered{anchors: map[string]bool{}}
	tree := goldmark.New(goldmark.WithExtensions(extension.GFM)).Parser().Parse(text.NewReader(source))
	err := ast.Walk(tree, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Heading:
			slug := strings.ReplaceAll(notInSlugs.ReplaceAllString(strings.ToLower(plainText(n, source)), ""), " ", "-")
			for i, unique := 1, slug; ; i++ {
				if !p.anchors[unique] {
					p.anchors[unique] = true
					break
				}
				unique = fmt.Sprintf("%s-%d", slug, i)
			}
		case *ast.Link:
			p.links = append(p.links, string(n.Destination))
		case *ast.Image:
			p.links = append(p.links, string(n.Destination))
		case *ast.AutoLink:
			p.links = append(p.links, string(n.URL(source)))
		case *ast.RawHTML:
			p.html = append(p.html, string(n.Segments.Value(source)))
		case *ast.HTMLBlock:
			p.html = append(p.html, string(n.Lines().Value(source)))
		}
		return ast.WalkContinue, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`<a id="([^"]+)"></a>`).FindAllStringSubmatch(strings.Join(p.html, ""), -1) {
		p.anchors[m[1]] = true
	}
	return p
}

// plainText is the text of a heading.
func plainText(n ast.Node, source []byte) string {
	var b strings.Builder
	for c := n.FirstChild(); c != nil; c = c.NextSibling() {
		switch c := c.(type) {
		case *ast.Text:
			b.Write(c.Value(source))
		case *ast.String:
			b.Write(c.Value)
		default:
			b.WriteString(plainText(c, source))
		}
	}
	return b.String()
}

// No link of the registry's pages is dead: each leads to a page and one of its headings, to a file of the repository,
// or to another site. The registry does not follow relative links, and takes out HTML.
func TestRegistryPages(t *testing.T) {
	pages := map[string]rendered{}
	err := filepath.WalkDir("../docs", func(path string, _ fs.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(filepath.ToSlash(path), ".md"); ok && err == nil {
			pages[strings.TrimPrefix(name, "../docs/")] = render(t, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	inner, sources, others := 0, 0, 0
	for name, p := range pages {
		for _, h := range p.html {
			if !regexp.MustCompile(`^(<a id="[\w.-]+">|</a>|<br ?/?>|<!--[^>]*-->\n?)$`).MatchString(h) {
				t.Errorf("%s holds %q, which the registry may not show", name, h)
			}
		}
		for _, link := range p.links {
			address, anchor, anchored := strings.Cut(link, "#")
			target, within := name, address == ""
			if rest, ok := strings.CutPrefix(address, docsURL); ok {
				target, within = strings.TrimPrefix(rest, "/"), true
			}
			if within && target == "" {
				target = "index"
			}
			file, isSource := strings.CutPrefix(address, sourceURL)
			switch there, ok := pages[target]; {
			case within && !ok:
				t.Errorf("%s: %s leads to no page", name, link)
			case within && anchored && !there.anchors[anchor]:
				t.Errorf("%s: %s leads to no heading", name, link)
			case within:
				inner++
			case isSource && regexp.MustCompile(`^(tree|blob)/main/`).MatchString(file):
				if _, err := os.Stat(filepath.Join("..", file[len("tree/main/"):])); err != nil {
					t.Errorf("%s: %s leads to no file", name, link)
				}
				sources++
			case !strings.HasPrefix(address, "https://") && !strings.HasPrefix(address, "http://127.0.0.1:"):
				t.Errorf("%s: %s is relative, or not encrypted", name, link)
			default:
				others++
			}
		}
	}
	if len(pages) == 0 || inner == 0 || sources == 0 || others == 0 {
		t.Fatalf("%d pages with %d links to pages, %d to files, %d to others", len(pages), inner, sources, others)
	}
}
