package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/term"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/request"
)

// errNoAnswer: the person ended the questions.
var errNoAnswer = notDone(errors.New("nothing was written, because you left the questions"))

// editor asks on a terminal, line by line.
type editor struct {
	*term.Terminal
	choices []string
}

// askFor asks on the terminal for what the command line leaves out.
func (p *program) askFor(ctx context.Context, d *request.Desk, a *ask) error {
	file, ok := p.in.(*os.File)
	if !ok {
		return jit.Invalid("TARGET", "give it on the command line", "there is no terminal to ask on")
	}
	was, err := term.MakeRaw(int(file.Fd()))
	if err != nil {
		return fmt.Errorf("ask on the terminal: %w", err)
	}
	out := p.err
	if through, ok := out.(*screen); ok {
		out = through.Writer // the editor steers the terminal
	}
	e := &editor{Terminal: term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{file, out}, "")}
	e.AutoCompleteCallback = e.complete
	err = errors.Join(e.askAll(ctx, d, a), term.Restore(int(file.Fd()), was))
	a.Asked = a.Normal()
	return err
}

// askAll asks one question after the other.
func (e *editor) askAll(ctx context.Context, d *request.Desk, a *ask) error {
	none := func() []string { return nil }
	for _, q := range []struct {
		name    string
		into    *string
		choices func() []string
		needed  bool
	}{
		{"Target", &a.Target, d.Targets, true},
		{"Role", &a.Role, func() []string { return d.Roles(a.Target) }, true},
		{"Scope (leave it empty if the target has only one)", &a.Scope,
			func() []string { return d.Scopes(a.Target) }, false},
		{"How long, such as 2h", &a.TTL, none, true},
		{"Why", &a.Reason, none, true},
	} {
		if *q.into != "" || q.into == &a.TTL && a.ExpiresAt != "" || !q.needed && a.given.Role != "" {
			continue
		}
		for again := true; again && *q.into == ""; again = q.needed {
			var err error
			if *q.into, err = e.ask(ctx, q.name, q.choices()); err != nil {
				return err
			}
		}
	}
	return nil
}

// ask asks one question. The answer is one of the choices, by its number, or another text.
func (e *editor) ask(ctx context.Context, name string, choices []string) (string, error) {
	e.choices = choices
	for i, c := range choices {
		fmt.Fprintf(e, "  %d  %s\n", i+1, printable(c))
	}
	e.SetPrompt(name + ": ")
	type answer struct {
		line string
		err  error
	}
	read := make(chan answer, 1)
	go func() { // nothing interrupts a read from a terminal
		line, err := e.ReadLine()
		read <- answer{line, err}
	}()
	select {
	case got := <-read:
		if got.err != nil && !errors.Is(got.err, term.ErrPasteIndicator) {
			fmt.Fprintln(e)
			return "", errNoAnswer
		}
		line := strings.TrimSpace(got.line)
		if n, err := strconv.Atoi(line); err == nil && n >= 1 && n <= len(choices) {
			line = choices[n-1]
		}
		return line, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// complete completes a line at Tab, as far as the choices agree.
func (e *editor) complete(line string, pos int, key rune) (string, int, bool) {
	if key != '\t' {
		return "", 0, false
	}
	completed := common(e.choices, line[:pos])
	return completed + line[pos:], len(completed), true
}

// common returns the longest text with which every choice begins that begins with start; start if there is none.
func common(choices []string, start string) string {
	longest, found := "", false
	for _, c := range choices {
		if !strings.HasPrefix(c, start) {
			continue
		}
		if !found {
			longest, found = c, true
		}
		for !strings.HasPrefix(c, longest) {
			longest = longest[:len(longest)-1]
		}
	}
	if !found {
		return start
	}
	return longest
}
