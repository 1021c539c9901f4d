package testenv

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/jitaccess/terraform-provider-jit/internal/testenv/cache"
)

// KubeServer is a Kubernetes API server with RBAC, its etcd, and the controller that fills the roles view, edit and
// admin. Nothing else runs: pods stay Pending and a deleted namespace stays Terminating.
type KubeServer struct {
	URL        string // of the API, https on loopback
	Kubeconfig string // file; its current context belongs to system:masters
	Context    string // name of that context

	admin *rest.Config
	ca    tls.Certificate
	caPEM []byte
}

// Kubernetes returns the API server of this process; the first call starts it. Tests share it, so they choose names of
// their own.
func Kubernetes(t testing.TB) *KubeServer {
	t.Helper()
	return shared(t, "Kubernetes", startKubernetesOnce)
}

// Admin returns a client configuration for a member of system:masters.
func (s *KubeServer) Admin() *rest.Config { return rest.CopyConfig(s.admin) }

// User returns a client configuration for the user, a member of the groups and
// of system:authenticated. Any name will do: the server trusts the certificate
// that comes with it, and a user has the rights that RBAC gives to the name.
func (s *KubeServer) User(t testing.TB, name string, groups ...string) *rest.Config {
	t.Helper()
	cert, key, err := s.issue(name, groups)
	if err != nil {
		t.Fatalf("make a certificate for %s: %v", name, err)
	}
	config := s.Admin()
	config.CertData, config.KeyData = cert, key
	return config
}

// UserKubeconfig writes a kubeconfig file for the user and returns its path. The context has the name in
// [KubeServer.Context].
func (s *KubeServer) UserKubeconfig(t testing.TB, name string, groups ...string) string {
	t.Helper()
	user := s.User(t, name, groups...)
	config := clientcmdapi.NewConfig()
	config.Clusters[s.Context] = &clientcmdapi.Cluster{Server: s.URL, CertificateAuthorityData: s.caPEM}
	config.AuthInfos[s.Context] = &clientcmdapi.AuthInfo{ClientCertificateData: user.CertData,
		ClientKeyData: user.KeyData}
	config.Contexts[s.Context] = &clientcmdapi.Context{Cluster: s.Context, AuthInfo: s.Context}
	config.CurrentContext = s.Context
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatalf("write kubeconfig: %v", err)
	}
	return path
}

// Compact forgets the history of all objects up to now, as the API server makes etcd do every five minutes
// (https://kubernetes.io/docs/reference/command-line-tools-reference/kube-apiserver/, --etcd-compaction-interval). The
// API server notices it within 15 seconds: see its packages etcd3 (compactRevKey) and cacher (compactorPollPeriod).
func (s *KubeServer) Compact(ctx context.Context) error {
	socket := filepath.Join(filepath.Dir(s.Kubeconfig), "etcd.sock")
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}}}
	call := func(path string, body any) (revision string, err error) {
		text, err := json.Marshal(body)
		if err != nil {
			return "", err
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://etcd"+path, bytes.NewReader(text))
		if err != nil {
			return "", err
		}
		answer, err := client.Do(request)
		if err != nil {
			return "", err
		}
		defer func() { _ = answer.Body.Close() }()
		if answer.StatusCode != http.StatusOK {
			return "", fmt.Errorf("etcd%s: %s", path, answer.Status)
		}
		var found struct{ Header struct{ Revision string } }
		err = json.NewDecoder(answer.Body).Decode(&found)
		return found.Header.Revision, err
	}
	now, err := call("/v3/kv/put", map[string][]byte{"key": []byte("now")})
	if err != nil {
		return err
	}
	if _, err := call("/v3/kv/compaction", map[string]string{"revision": now}); err != nil {
		return err
	}
	_, err = call("/v3/kv/put", map[string][]byte{"key": []byte("compact_rev_key"), "value": []byte(now)})
	return err
}

// issue signs a client certificate; both results are PEM.
func (s *KubeServer) issue(name string, groups []string) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name, Organization: groups},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, s.ca.Leaf, private.Public(), s.ca.PrivateKey)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), nil
}

var startKubernetesOnce = sync.OnceValues(startKubernetes)

// kubeTimeout bounds the start, which takes seconds on an idle machine.
const kubeTimeout = 2 * time.Minute

// startKubernetes runs the cached kubeapi program, which removes its own data
// and ends when its stdin closes.
func startKubernetes() (*KubeServer, error) {
	path, err := cache.KubeAPI().Lookup()
	if err != nil {
		return nil, err
	}
	out, writer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = out.Close() }()
	cmd := exec.Command(path) //nolint:noctx // it outlives the caller; its stdin ends it
	cmd.Stdout = writer
	proc, err := start(cmd, &tail{})
	_ = writer.Close()
	if err != nil {
		return nil, err
	}
	server, err := readyServer(out)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), proc.stop(), errors.New(proc.log.String()))
	}
	return server, nil
}

// readyServer reads the line that kubeapi writes once it serves.
func readyServer(out *os.File) (*KubeServer, error) {
	if err := out.SetReadDeadline(time.Now().Add(kubeTimeout)); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the server ended before it was ready")
	}
	if err != nil {
		return nil, fmt.Errorf("the server is not ready after %s: %w", kubeTimeout, err)
	}
	var ready struct {
		Server, Kubeconfig, Context string
		CACert, CAKey               string
	}
	if err := json.Unmarshal(bytes.TrimSpace(line), &ready); err != nil {
		return nil, fmt.Errorf("read its ready line: %w", err)
	}
	server := &KubeServer{URL: ready.Server, Kubeconfig: ready.Kubeconfig, Context: ready.Context}
	var errs [3]error
	server.ca, errs[0] = tls.LoadX509KeyPair(ready.CACert, ready.CAKey)
	server.caPEM, errs[1] = os.ReadFile(ready.CACert)
	server.admin, errs[2] = clientcmd.BuildConfigFromFlags("", ready.Kubeconfig)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	server.admin.QPS, server.admin.Burst = -1, -1 // no client-side rate limit
	return server, nil
}
