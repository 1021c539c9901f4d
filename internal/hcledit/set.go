package hcledit

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
)

// indentation is that of a block's attributes.
const indentation = "  "

// Set returns the text of a file with an attribute of one of its resource blocks set to a literal, in the place of its
// old value or else as a new line. Every other byte stays.
func Set(text []byte, block Block, attribute string, value cty.Value) ([]byte, error) {
	s, err := parse(block.File, text)
	if err != nil {
		return nil, err
	}
	b, err := s.block(block)
	if err != nil {
		return nil, err
	}
	outer := strings.TrimLeft(s.indent(s.at(b.TypeRange.Start.Byte)), "\r\n")
	written := hclwrite.Format(hclwrite.TokensForValue(value).Bytes())
	written = bytes.ReplaceAll(written, []byte("\n"), []byte(s.newline()+outer+indentation))
	var out []byte
	if a := b.Body.Attributes[attribute]; a != nil {
		out = s.put(s.value(a), written)
	} else {
		out = s.add(b, outer, attribute, written)
	}
	if err := check(out, block, attribute, value); err != nil {
		return nil, fmt.Errorf("set %s of %s in %s: %w", attribute, block.Address(), block.File, err)
	}
	return out, nil
}

// put replaces a range of the text.
func (s *source) put(at hcl.Range, insert []byte) []byte {
	return slices.Concat(s.text[:at.Start.Byte], insert, s.text[at.End.Byte:])
}

// value returns where the value of an attribute stands.
func (s *source) value(a *hclsyntax.Attribute) hcl.Range {
	i := s.at(a.EqualsRange.End.Byte)
	for s.is(i, hclsyntax.TokenComment) {
		i++
	}
	return hcl.Range{Start: s.tokens[i].Range.Start, End: a.SrcRange.End}
}

// add writes a new attribute after the last one of the block, or as its first line.
func (s *source) add(b *hclsyntax.Block, outer, attribute string, value []byte) []byte {
	var last *hclsyntax.Attribute
	for _, a := range b.Body.Attributes {
		if last == nil || a.SrcRange.Start.Byte > last.SrcRange.Start.Byte {
			last = a
		}
	}
	indent, pad, after := outer+indentation, " ", b.OpenBraceRange
	if last != nil {
		after = last.SrcRange
	}
	end := s.at(after.End.Byte)
	closing := s.at(b.CloseBraceRange.Start.Byte)
	if next := s.afterLine(end); next <= closing {
		if last != nil {
			indent = strings.TrimLeft(s.indent(s.at(last.SrcRange.Start.Byte)), "\r\n")
			width := last.EqualsRange.Start.Byte - last.NameRange.Start.Byte - len(attribute)
			pad = strings.Repeat(" ", max(1, width))
		}
		at := s.tokens[next-1].Range.End
		line := fmt.Sprintf("%s%s%s= %s%s", indent, attribute, pad, value, s.newline())
		return s.put(hcl.Range{Start: at, End: at}, []byte(line))
	}
	// the block is on one line: spread it over several
	line := s.newline()
	inside := s.text[b.OpenBraceRange.End.Byte:b.CloseBraceRange.Start.Byte]
	if inside = bytes.TrimSpace(inside); len(inside) > 0 {
		inside = slices.Concat([]byte(indent), inside, []byte(line))
	}
	spread := fmt.Sprintf("%s%s%s%s= %s%s%s", line, inside, indent, attribute+pad, value, line, outer)
	return s.put(hcl.Range{Start: b.OpenBraceRange.End, End: b.CloseBraceRange.Start}, []byte(spread))
}

// check refuses an edit that does not read back as the value.
func check(text []byte, block Block, attribute string, value cty.Value) error {
	s, err := parse(block.File, text)
	if err != nil {
		return err
	}
	b, err := s.block(block)
	if err != nil {
		return err
	}
	a := b.Body.Attributes[attribute]
	if a == nil {
		return fmt.Errorf("the attribute is not there after the edit")
	}
	got, diags := a.Expr.Value(nil)
	if diags.HasErrors() {
		return diags
	}
	if !got.RawEquals(value) {
		return fmt.Errorf("the attribute reads %s after the edit", got.GoString())
	}
	return nil
}
