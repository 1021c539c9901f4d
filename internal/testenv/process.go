package testenv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// stopTimeout bounds how long a server may take to end before it is killed.
const stopTimeout = 15 * time.Second

// supervise is a shell program that runs a server and ends it when its own stdin closes, which happens at any end of
// this process. It then removes the server's directory. Arguments: signal, directory, command.
const supervise = `
stop=$1 dir=$2; shift 2
"$@" </dev/null &
server=$!
exec 3<&0
{ cat <&3 >/dev/null; kill -s "$stop" "$server"; } 2>/dev/null &
watch=$!
wait "$server"; code=$?
kill "$watch" 2>/dev/null
cd / && rm -rf -- "$dir"
exit "$code"
`

// process is a running server together with its supervisor.
type process struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	log    *tail
	exited chan struct{} // closed once cmd has ended
}

// startServer makes a directory for a server, runs the command that prepare returns, and waits until ready succeeds.
// The directory is removed when the server ends. A free port may be taken before the server binds it, so startServer
// makes three attempts.
func startServer(name string, account *account, signal string,
	prepare func(dir string, port int) (argv []string, err error), ready func(context.Context) error) (*process,
	error) {
	for attempt := 1; ; attempt++ {
		p, err := startOnce(name, account, signal, prepare, ready)
		if err == nil || attempt == 3 {
			return p, err
		}
	}
}

func startOnce(name string, account *account, signal string,
	prepare func(dir string, port int) (argv []string, err error), ready func(context.Context) error) (*process,
	error) {
	dir, err := tempDir(account, "jit-"+name)
	if err != nil {
		return nil, err
	}
	var argv []string
	port, err := freePort()
	if err == nil {
		argv, err = prepare(dir, port)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	p, err := startSupervised(account, dir, signal, argv...)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := p.wait(time.Minute, ready); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), p.stop())
	}
	return p, nil
}

// freePort returns a TCP port of 127.0.0.1 that was free a moment ago.
func freePort() (int, error) {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

// answers succeeds if the URL is served.
func answers(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

// startSupervised runs argv under the supervising shell.
func startSupervised(account *account, dir, signal string, argv ...string) (*process, error) {
	args := append([]string{"-c", supervise, "supervise", signal, dir}, argv...)
	cmd := exec.Command("/bin/sh", args...) //nolint:noctx // it outlives the caller; its stdin ends it
	cmd.Dir = dir
	account.apply(cmd)
	stdout := &tail{}
	cmd.Stdout = stdout
	return start(cmd, stdout)
}

// start runs a command that ends when its stdin closes. Its stderr is kept for
// error messages.
func start(cmd *exec.Cmd, log *tail) (*process, error) {
	cmd.Stderr = log
	cmd.WaitDelay = time.Second // a grandchild may hold the output open
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, stdin: stdin, log: log, exited: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// wait polls check until it succeeds, the process ends or the timeout has passed.
func (p *process) wait(timeout time.Duration, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	for {
		last := check(ctx)
		if last == nil {
			return nil
		}
		select {
		case <-p.exited:
			return fmt.Errorf("the server ended at once; its output: %s", p.log)
		case <-ctx.Done():
			return fmt.Errorf("the server does not answer after %s: %w; its output: %s", timeout, last, p.log)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// stop ends the process and waits for it.
func (p *process) stop() error {
	_ = p.stdin.Close()
	select {
	case <-p.exited:
		return nil
	case <-time.After(stopTimeout):
	}
	_ = p.cmd.Process.Kill()
	<-p.exited
	return errors.New("the server did not end by itself and was killed")
}

// tail is a writer that keeps the last few kilobytes. It is safe for concurrent
// use.
type tail struct {
	mu   sync.Mutex
	data []byte
}

const tailSize = 8 << 10

func (l *tail) Write(data []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.data = append(l.data, data...)
	if extra := len(l.data) - tailSize; extra > 0 {
		l.data = append(l.data[:0], l.data[extra:]...)
	}
	return len(data), nil
}

func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.TrimSpace(string(l.data))
}

// tempDir makes a private directory that belongs to the account.
func tempDir(account *account, name string) (string, error) {
	dir, err := os.MkdirTemp("", name)
	if err != nil {
		return "", err
	}
	if err := account.own(dir); err != nil {
		_ = os.RemoveAll(dir)
		return "", err
	}
	return dir, nil
}
