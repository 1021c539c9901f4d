package hcledit

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// source is the text of a file with its tokens and blocks.
type source struct {
	text []byte
	// tokens end with one at the end of the file.
	tokens hclsyntax.Tokens
	body   *hclsyntax.Body
}

// parse reads the text of a file.
func parse(name string, text []byte) (*source, error) {
	parsed, diags := hclsyntax.ParseConfig(text, name, hcl.InitialPos)
	if diags.HasErrors() {
		return nil, diags
	}
	tokens, diags := hclsyntax.LexConfig(text, name, hcl.InitialPos)
	body, ok := parsed.Body.(*hclsyntax.Body)
	if diags.HasErrors() || !ok {
		return nil, fmt.Errorf("read %s: %w", name, diags)
	}
	return &source{text, tokens, body}, nil
}

// block finds a resource block by its type and name.
func (s *source) block(b Block) (found *hclsyntax.Block, err error) {
	for _, each := range s.body.Blocks {
		if each.Type != "resource" || !slices.Equal(each.Labels, []string{b.Type, b.Name}) {
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("%s has two blocks for %s", b.File, b.Address())
		}
		found = each
	}
	if found == nil {
		return nil, fmt.Errorf("%s has no block for %s", b.File, b.Address())
	}
	return found, nil
}

// at returns the index of the first token that starts at a byte or after it.
func (s *source) at(offset int) int {
	i, _ := slices.BinarySearchFunc(s.tokens, offset, func(t hclsyntax.Token, offset int) int {
		return t.Range.Start.Byte - offset
	})
	return i
}

func (s *source) is(i int, kind hclsyntax.TokenType) bool {
	return i >= 0 && i < len(s.tokens) && s.tokens[i].Type == kind
}

// endsLine reports whether a line ends with the token. A comment that begins with # or // includes the end of its line.
func (s *source) endsLine(i int) bool {
	return s.is(i, hclsyntax.TokenNewline) ||
		s.is(i, hclsyntax.TokenComment) && bytes.HasSuffix(s.tokens[i].Bytes, []byte("\n"))
}

// afterLine returns the index of the first token after the line of a token.
func (s *source) afterLine(i int) int {
	for ; !s.is(i, hclsyntax.TokenEOF); i++ {
		if s.endsLine(i) {
			return i + 1
		}
	}
	return i
}

// start returns where a token starts, with the white space before it.
func (s *source) start(i int) int { return s.tokens[i].Range.Start.Byte - len(s.indent(i)) }

// indent returns the white space before a token.
func (s *source) indent(i int) string {
	before := 0
	if i > 0 {
		before = s.tokens[i-1].Range.End.Byte
	} else if bytes.HasPrefix(s.text, byteOrderMark) {
		before = len(byteOrderMark)
	}
	return string(s.text[before:s.tokens[i].Range.Start.Byte])
}

var byteOrderMark = []byte("\xef\xbb\xbf")

// newline returns how lines end in the file.
func (s *source) newline() string {
	if i := bytes.IndexByte(s.text, '\n'); i > 0 && s.text[i-1] == '\r' {
		return "\r\n"
	}
	return "\n"
}
