package hcledit

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// Remove returns the text of a file without some of its resource blocks. The comments directly above a block go with
// it, but a comment at the top of the file stays as long as anything else does. Where an empty line stands on both sides of it, one of the two goes too. Every other byte stays.
func Remove(text []byte, blocks []Block) ([]byte, error) {
	if len(blocks) == 0 {
		return text, nil
	}
	name := blocks[0].File
	s, err := parse(name, text)
	if err != nil {
		return nil, err
	}
	lines := s.lines()
	var spans []span
	for _, b := range blocks {
		block, err := s.block(b)
		if err != nil {
			return nil, err
		}
		lineOf := func(offset int) int {
			token := s.at(offset)
			return slices.IndexFunc(lines, func(l span) bool { return token < l.to })
		}
		each := span{lineOf(block.TypeRange.Start.Byte), lineOf(block.CloseBraceRange.Start.Byte) + 1}
		for each.from > 0 && s.comment(lines[each.from-1]) {
			each.from--
		}
		spans = append(spans, each)
	}
	s.keepTop(lines, spans)
	var out []byte
	kept := 0
	for _, each := range s.withEmptyLines(lines, spans) {
		out = append(out, text[kept:s.start(lines[each.from].from)]...)
		kept = s.tokens[lines[each.to-1].to-1].Range.End.Byte
	}
	out = append(out, text[kept:]...)
	if left, err := parse(name, out); err != nil || len(left.body.Blocks) != len(s.body.Blocks)-len(blocks) {
		return nil, fmt.Errorf("the blocks cannot be removed from %s without a change to the rest of the file", name)
	}
	return out, nil
}

// keepTop takes the comments at the top of the file out of the spans if anything outside of the spans stays: they may be
// about the whole file.
func (s *source) keepTop(lines, spans []span) {
	stays := false
	for i, line := range lines {
		gone := slices.ContainsFunc(spans, func(each span) bool { return each.from <= i && i < each.to })
		stays = stays || !gone && !s.empty(line) && !s.is(line.from, hclsyntax.TokenEOF)
	}
	for i := range spans {
		for top := stays && spans[i].from == 0; top && s.comment(lines[spans[i].from]); {
			spans[i].from++
		}
	}
}

// span is a range of tokens or of lines; to is after the last.
type span struct{ from, to int }

// lines returns the lines of the file. A comment, text or bracket that spans lines joins them.
func (s *source) lines() (lines []span) {
	for i := 0; i < len(s.tokens); {
		next := min(s.afterLine(i), len(s.tokens)-1)
		if s.is(i, hclsyntax.TokenEOF) || s.is(next, hclsyntax.TokenEOF) && !s.endsLine(next-1) {
			next = len(s.tokens)
		}
		lines = append(lines, span{i, next})
		i = next
	}
	return lines
}

// comment reports whether a line holds comments and nothing else.
func (s *source) comment(line span) bool {
	for i := line.from; i < line.to; i++ {
		if !s.is(i, hclsyntax.TokenComment) && !s.is(i, hclsyntax.TokenNewline) {
			return false
		}
	}
	return !s.empty(line)
}

// empty reports whether a line holds nothing but its end.
func (s *source) empty(line span) bool { return s.is(line.from, hclsyntax.TokenNewline) }

// withEmptyLines sorts and joins spans of lines, and adds an empty line to each that has one on both sides.
func (s *source) withEmptyLines(lines, spans []span) (joined []span) {
	slices.SortFunc(spans, func(a, b span) int { return a.from - b.from })
	emptyBefore := func(line int) bool { return line == 0 || s.empty(lines[line-1]) }
	for _, each := range spans {
		if n := len(joined); n > 0 && joined[n-1].to >= each.from {
			joined[n-1].to = max(joined[n-1].to, each.to)
		} else {
			joined = append(joined, each)
		}
		last := &joined[len(joined)-1]
		if emptyBefore(last.from) && last.to < len(lines) && s.empty(lines[last.to]) {
			last.to++
		}
	}
	last := &joined[len(joined)-1]
	end := last.to == len(lines) || s.is(lines[last.to].from, hclsyntax.TokenEOF)
	if end && last.from > 0 && emptyBefore(last.from) {
		last.from-- // else the file ends with an empty line
	}
	return joined
}

// Blank reports whether a text holds nothing but white space.
func Blank(text []byte) bool { return len(bytes.TrimSpace(bytes.TrimPrefix(text, byteOrderMark))) == 0 }
