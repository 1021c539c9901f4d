package hcledit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// mention is a place that names a resource.
type mention struct {
	file         string
	offset, line int
}

// dotted matches words with dots between them, such as the address of a resource in a text.
var dotted = regexp.MustCompile(`[\pL\pN_-]+(\.[\pL\pN_-]+)+`)

// Mentions says where the folder names a resource outside of its own block and of the given blocks: file and line. It
// counts more than references: texts that contain the address, and files that Unread names.
func (f *Folder) Mentions(b Block, except []Block) (places []string) {
	if f.mentions == nil {
		f.mentions = map[string][]mention{}
		for path, file := range f.files {
			f.index(path, file)
		}
	}
	within := func(m mention) bool {
		return slices.ContainsFunc(append(slices.Clone(except), b), func(b Block) bool {
			return b.File == m.file && b.start <= m.offset && m.offset < b.end
		})
	}
	for _, m := range f.mentions[b.Address()] {
		if !within(m) {
			places = append(places, fmt.Sprintf("%s:%d", m.file, m.line))
		}
	}
	for path, file := range f.files {
		dotted := slices.ContainsFunc(f.mentions[b.Address()], func(m mention) bool { return m.file == path })
		if file.body == nil && !dotted && declares(path, file.text, b) {
			places = append(places, path)
		}
	}
	slices.Sort(places)
	return slices.Compact(places)
}

// declares reports whether a file that was not read may have a block for the resource: it has both words of its
// header, which need quotes in JSON only.
func declares(path string, text []byte, b Block) bool {
	words := map[string]bool{}
	for word := range jsonTexts(path, text) {
		words[word] = true
	}
	has := func(word string) bool {
		before, after := `(^|[^\pL\pN_-])`, `($|[^\pL\pN_-])`
		if kindOf(path) == inJSON {
			before, after = `"`, `"`
		}
		return words[word] || regexp.MustCompile(before+regexp.QuoteMeta(word)+after).Match(text)
	}
	return kindOf(path) != test && has(b.Type) && has(b.Name)
}

// jsonTexts returns the texts of a JSON file, without escapes, and where each ends. It stops at a syntax error.
func jsonTexts(path string, text []byte) iter.Seq2[string, int] {
	return func(yield func(string, int) bool) {
		if !strings.HasSuffix(path, ".json") {
			return
		}
		decoder := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(text, byteOrderMark)))
		for {
			token, err := decoder.Token()
			if err != nil {
				return
			}
			if s, ok := token.(string); ok && !yield(s, int(decoder.InputOffset())) {
				return
			}
		}
	}
}

// index finds the mentions of a file. It reads tokens, so a syntax error hides nothing.
func (f *Folder) index(path string, from *file) {
	add := func(address []byte, offset, line int) {
		f.mentions[string(address)] = append(f.mentions[string(address)], mention{path, offset, line})
	}
	tokens, _ := hclsyntax.LexConfig(from.text, path, hcl.InitialPos)
	addresses(tokens, func(address []byte, at hcl.Pos) { add(address, at.Byte, at.Line) })
	for text, end := range jsonTexts(path, from.text) { // escapes hide addresses in the text of the file
		line := 1 + bytes.Count(from.text[:end], []byte("\n"))
		for _, lex := range []func([]byte, string, hcl.Pos) (hclsyntax.Tokens, hcl.Diagnostics){
			hclsyntax.LexTemplate, hclsyntax.LexExpression,
		} {
			tokens, _ := lex([]byte(text), path, hcl.InitialPos)
			addresses(tokens, func(address []byte, _ hcl.Pos) { add(address, end, line) })
		}
	}
}

// addresses calls add for each address in the tokens.
func addresses(all hclsyntax.Tokens, add func(address []byte, at hcl.Pos)) {
	tokens := slices.DeleteFunc(all, func(t hclsyntax.Token) bool {
		return t.Type == hclsyntax.TokenComment || t.Type == hclsyntax.TokenNewline
	})
	is := func(i int, kind hclsyntax.TokenType) bool { return i >= 0 && i < len(tokens) && tokens[i].Type == kind }
	for i, t := range tokens {
		switch t.Type {
		case hclsyntax.TokenIdent:
			if is(i+1, hclsyntax.TokenDot) && is(i+2, hclsyntax.TokenIdent) && !is(i-1, hclsyntax.TokenDot) {
				add(slices.Concat(t.Bytes, []byte("."), tokens[i+2].Bytes), t.Range.Start)
			}
		case hclsyntax.TokenQuotedLit, hclsyntax.TokenStringLit:
			for _, text := range dotted.FindAll(t.Bytes, -1) {
				words := bytes.Split(text, []byte("."))
				for i := range words[1:] {
					add(bytes.Join(words[i:i+2], []byte(".")), t.Range.Start)
				}
			}
		}
	}
}

// Repeats counts the blocks of each address that more than one block of the folder has.
func (f *Folder) Repeats() map[string]int {
	count := map[string]int{}
	for _, b := range f.Blocks {
		count[b.Address()]++
	}
	maps.DeleteFunc(count, func(_ string, n int) bool { return n < 2 })
	return count
}
