package testenv

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// ErrRefused reports that a server answered and did not let the caller in.
var ErrRefused = errors.New("login refused")

// loginTimeout bounds one login with its command.
const loginTimeout = 20 * time.Second

// SSHServer is an OpenSSH server that reads one authorized_keys file.
type SSHServer struct {
	Addr    string        // host:port on loopback
	User    string        // the current user, the only one who can log in
	HostKey ssh.PublicKey // for ssh.FixedHostKey
	Version string        // of OpenSSH, as in "9.2"
}

// SSHD starts an OpenSSH server for the test. It accepts public keys only and
// reads them from the file at each login; the file need not exist yet. Modes
// and owners of the file and its directories are not checked.
func SSHD(t testing.TB, authorizedKeysPath string) *SSHServer {
	t.Helper()
	Acceptance(t)
	path, version, err := findSSHD()
	if err != nil {
		Unavailable(t, "sshd", err)
	}
	server, proc, err := startSSHD(path, version, authorizedKeysPath)
	if err != nil {
		Unavailable(t, "sshd", err)
	}
	t.Cleanup(func() {
		if err := proc.stop(); err != nil {
			t.Errorf("stop sshd: %v", err)
		}
	})
	return server
}

// NewSSHKey makes an Ed25519 key and returns it with its line for an
// authorized_keys file, without options, comment or newline.
func NewSSHKey(t testing.TB) (ssh.Signer, string) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatalf("make an ssh key: %v", err)
	}
	signer, err := ssh.NewSignerFromSigner(key)
	if err != nil {
		t.Fatalf("make an ssh key: %v", err)
	}
	return signer, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
}

// Login logs in with the key, runs the command and returns what it wrote to
// stdout. The home directory there is an empty one. The error wraps [ErrRefused] when the server does not
// accept the key, and is an *ssh.ExitError when the command fails.
func (s *SSHServer) Login(ctx context.Context, key ssh.Signer, command string) (string, error) {
	client, err := s.Dial(ctx, key)
	if err != nil {
		return "", err
	}
	defer func() { _ = client.Close() }()
	session, err := client.NewSession()
	if err != nil {
		return "", fmt.Errorf("open a session: %w", err)
	}
	out, err := session.Output(command)
	return string(out), err
}

// Dial logs in with the key and returns the connection; the caller closes it.
// It ends with ctx, and after 20 seconds in any case. The error wraps
// [ErrRefused] when the server does not accept the key.
func (s *SSHServer) Dial(ctx context.Context, key ssh.Signer) (*ssh.Client, error) {
	config := &ssh.ClientConfig{
		User:            s.User,
		Auth:            []ssh.AuthMethod{ssh.PublicKeys(key)},
		HostKeyCallback: ssh.FixedHostKey(s.HostKey),
	}
	conn, err := (&net.Dialer{Timeout: loginTimeout}).DialContext(ctx, "tcp", s.Addr)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(loginTimeout)
	if end, ok := ctx.Deadline(); ok && end.Before(deadline) {
		deadline = end
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	client, channels, requests, err := ssh.NewClientConn(conn, s.Addr, config)
	if err != nil {
		// The library has no typed error for this.
		if strings.Contains(err.Error(), "unable to authenticate") {
			err = fmt.Errorf("%w: %w", ErrRefused, err)
		}
		return nil, errors.Join(err, conn.Close())
	}
	return ssh.NewClient(client, channels, requests), nil
}

// startSSHD writes a configuration and serves it.
func startSSHD(path string, version openSSH, authorizedKeys string) (*SSHServer, *process, error) {
	authorizedKeys, err := filepath.Abs(authorizedKeys)
	if err != nil {
		return nil, nil, err
	}
	me, err := user.Current()
	if err != nil {
		return nil, nil, err
	}
	if os.Geteuid() == 0 {
		// sshd insists on this directory when it drops privileges.
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			return nil, nil, err
		}
	}
	s := &SSHServer{User: me.Username, Version: version.String()}
	proc, err := startServer("sshd", nil, "TERM", func(dir string, port int) (argv []string, err error) {
		s.Addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		if s.HostKey, err = writeHostKey(filepath.Join(dir, "host_key")); err != nil {
			return nil, err
		}
		settings := filepath.Join(dir, "sshd_config")
		return []string{path, "-D", "-e", "-f", settings},
			os.WriteFile(settings, sshdConfig(dir, port, version, authorizedKeys), 0o600)
	}, s.answers)
	return s, proc, err
}

// answers succeeds if the server with our host key listens on the address.
func (s *SSHServer) answers(ctx context.Context) error {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	signer, err := ssh.NewSignerFromSigner(key)
	if err != nil {
		return err
	}
	client, err := s.Dial(ctx, signer)
	if errors.Is(err, ErrRefused) {
		return nil
	}
	if err == nil {
		_ = client.Close()
		return errors.New("the server accepts a key that is not in the file")
	}
	return err
}

// sshdConfig returns the configuration file.
func sshdConfig(dir string, port int, version openSSH, authorizedKeys string) []byte {
	lines := []string{
		"ListenAddress 127.0.0.1",
		"Port " + strconv.Itoa(port),
		"HostKey " + strconv.Quote(filepath.Join(dir, "host_key")),
		"PidFile none",
		"AuthorizedKeysFile " + strconv.Quote(strings.ReplaceAll(authorizedKeys, "%", "%%")),
		"StrictModes no",
		"UsePAM no",
		"PubkeyAuthentication yes",
		"PasswordAuthentication no",
		"KbdInteractiveAuthentication no",
		"PermitRootLogin prohibit-password",
		"MaxStartups 100",
		"UseDNS no",
		"PrintMotd no",
		"LogLevel INFO",
		// The start files of the user's shell are no part of the tests.
		"SetEnv HOME=" + strconv.Quote(dir),
	}
	if version.atLeast(9, 8) {
		// Refused logins are part of the tests.
		lines = append(lines, "PerSourcePenalties no")
	}
	return []byte(strings.Join(lines, "\n") + "\n")
}

// writeHostKey makes an Ed25519 host key.
func writeHostKey(path string) (ssh.PublicKey, error) {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		return nil, err
	}
	return ssh.NewPublicKey(public)
}

// openSSH is a version of OpenSSH.
type openSSH struct{ major, minor int }

func (v openSSH) String() string { return fmt.Sprintf("%d.%d", v.major, v.minor) }

func (v openSSH) atLeast(major, minor int) bool {
	return v.major > major || v.major == major && v.minor >= minor
}

var openSSHVersion = regexp.MustCompile(`OpenSSH_\d+\.\d+`)

// findSSHD returns sshd's absolute path, which it needs to start itself again.
func findSSHD() (path string, version openSSH, err error) {
	for _, name := range []string{"sshd", "/usr/sbin/sshd", "/usr/local/sbin/sshd"} {
		if path, err = exec.LookPath(name); err == nil {
			break
		}
	}
	if err != nil {
		return "", version,
			errors.New("no sshd on the PATH or in /usr/sbin; run `make testenv` or install the OpenSSH " +
				"server")
	}
	if path, err = filepath.Abs(path); err != nil {
		return "", version, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	// Versions before 9.2 do not know -V: they exit with an error, and their usage text carries the version.
	out, _ := exec.CommandContext(ctx, path, "-V").CombinedOutput()
	if _, err := fmt.Sscanf(openSSHVersion.FindString(string(out)), "OpenSSH_%d.%d", &version.major,
		&version.minor); err != nil {
		return "", version, fmt.Errorf("%s -V shows no version: %q", path, out)
	}
	if !version.atLeast(9, 1) {
		return "", version, fmt.Errorf("%s is version %s; ends in UTC (expiry-time with Z) need 9.1", path, version)
	}
	return path, version, nil
}
