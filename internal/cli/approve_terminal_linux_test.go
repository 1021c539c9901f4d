package cli

import (
	"context"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal is a pseudo-terminal: in is the program's side of it, keyboard the user's.
type terminal struct {
	in, keyboard *os.File
	out, err     output
	exit         chan int
}

// atTerminal runs a command line on a terminal.
func (o *office) atTerminal(ctx context.Context, args ...string) *terminal {
	o.t.Helper()
	open := func(path string) *os.File {
		f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
		if err != nil {
			o.t.Skipf("no pseudo-terminal: %v", err)
		}
		return f
	}
	c := &terminal{keyboard: open("/dev/ptmx"), exit: make(chan int, 1)}
	if err := unix.IoctlSetPointerInt(int(c.keyboard.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		o.t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(c.keyboard.Fd()), unix.TIOCGPTN)
	if err != nil {
		o.t.Fatal(err)
	}
	c.in = open("/dev/pts/" + strconv.Itoa(n))
	o.t.Cleanup(func() { _, _ = c.keyboard.Close(), c.in.Close() })
	options := o.options()
	options.Interactive = true
	go func() { c.exit <- Run(ctx, args, c.in, &c.out, &c.err, options) }()
	return c
}

// shows reports whether the terminal shows what is typed.
func (c *terminal) shows(t *testing.T) bool {
	t.Helper()
	state, err := unix.IoctlGetTermios(int(c.in.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return state.Lflag&unix.ECHO != 0
}

// types types a line once the program has asked.
func (c *terminal) types(t *testing.T, asked, line string, hidden bool) {
	t.Helper()
	eventually(t, asked, func() bool { return strings.Contains(c.err.String(), asked) && c.shows(t) != hidden })
	if _, err := c.keyboard.WriteString(line + "\n"); err != nil {
		t.Fatal(err)
	}
}

// The passphrase of a key is asked for on the terminal, which does not show it.
func TestPassphrase(t *testing.T) {
	o := newOffice(t, 1)
	r := o.wish()
	o.plan(o.change("jit_grant.a", r))
	o.keygen("-q", "-p", "-N", "correct horse", "-f", "lea.key")
	args := []string{"approve", "--plan", "plan.json", "--key", "lea.key", "--approver", "lea"}

	wrong := o.atTerminal(t.Context(), args...)
	wrong.types(t, "Passphrase of lea.key: ", "battery staple", true)
	code, text := <-wrong.exit, wrong.err.String()
	if code != exitUsage || !strings.Contains(text, "the passphrase does not open lea.key") {
		t.Errorf("a wrong passphrase: exit code %d\n%s", code, text)
	}
	o.refused(r, "1 of: lea, leo")

	ctx, interrupt := context.WithCancel(t.Context())
	interrupted := o.atTerminal(ctx, args...)
	eventually(t, "the question", func() bool { return !interrupted.shows(t) })
	interrupt()
	if code := <-interrupted.exit; code != exitInterrupted || !interrupted.shows(t) {
		t.Errorf("interrupted: exit code %d, the terminal shows what is typed: %t\n%s", code, interrupted.shows(t),
			interrupted.err.String())
	}

	right := o.atTerminal(t.Context(), args...)
	right.types(t, "Passphrase of lea.key: ", "correct horse", true)
	right.types(t, "Approve this request? Type y: ", "y", false)
	if code := <-right.exit; code != exitDone || strings.Contains(right.err.String()+right.out.String(), "horse") {
		t.Errorf("exit code %d\n%s%s", code, right.err.String(), right.out.String())
	}
	o.granted(r)
	o.intact()
}
