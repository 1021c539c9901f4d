// Command kubeapi is a Kubernetes control plane for tests in one process: etcd, kube-apiserver and the controller that
// fills the aggregated roles (view, edit, admin). There are no nodes and no other controllers, so no pod runs and a
// deleted namespace stays Terminating.
//
// It logs to stderr, listens on loopback only, writes one line of JSON (see [ready]) to stdout
// once the API serves, and ends when stdin closes or on SIGTERM or SIGINT. The
// parent holds the other end of stdin, so the server ends with it even if the
// parent is killed.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/server/v3/embed"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
	"k8s.io/kubernetes/pkg/controller/clusterroleaggregation"
)

// startTimeout bounds everything up to the ready line.
const startTimeout = 90 * time.Second

// contextName is the context, cluster and user name in the kubeconfig.
const contextName = "testenv"

// ready is the line on stdout. The CA signs both the server and its clients, so anyone who can read CAKey can make a
// client certificate for any user and group.
type ready struct {
	Server     string `json:"server"`     // base URL, https
	Kubeconfig string `json:"kubeconfig"` // file; its one context is a member of system:masters
	Context    string `json:"context"`    // name of that context
	CACert     string `json:"caCert"`     // file, PEM
	CAKey      string `json:"caKey"`      // file, PEM
}

func main() {
	dir := flag.String("dir", "", "directory for data, keys and kubeconfig; empty: a temporary one, removed at the end")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	// The data must be removed even if the reader of the log was killed.
	signal.Ignore(syscall.SIGPIPE)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		// Any byte is ignored; only the end of the input matters.
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()

	if err := run(ctx, *dir); err != nil {
		slog.Error("kubeapi ends", "error", err)
		os.Exit(1)
	}
}

// run serves until ctx ends and returns nil then.
func run(ctx context.Context, dir string) error {
	if dir == "" {
		tmp, err := os.MkdirTemp("", "kubeapi")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(tmp) }()
		dir = tmp
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	// etcd's sockets are named relative to the working directory: the length
	// of a unix socket's path is limited.
	if err := os.Chdir(dir); err != nil {
		return err
	}

	db, err := startEtcd(dir)
	if err != nil {
		return fmt.Errorf("start etcd: %w", err)
	}
	// A graceful close would wait for kube-apiserver's watches. The data is not needed any more.
	defer db.Server.HardStop()

	pki, err := newPKI(dir)
	if err != nil {
		return fmt.Errorf("make certificates: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	line := ready{
		Server:     "https://" + listener.Addr().String(),
		Kubeconfig: filepath.Join(dir, "kubeconfig"),
		Context:    contextName,
		CACert:     pki.caCert,
		CAKey:      pki.caKey,
	}
	config := &rest.Config{
		Host:  line.Server,
		QPS:   -1,
		Burst: -1,
		TLSClientConfig: rest.TLSClientConfig{
			CAFile: pki.caCert, CertFile: pki.adminCert, KeyFile: pki.adminKey,
		},
	}
	if err := writeKubeconfig(line, pki); err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}

	ended := make(chan error, 1)
	serverCtx, stopServer := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServer()
	go func() { ended <- serveAPI(serverCtx, listener, pki) }()

	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	if err := waitReady(ctx, client, ended); err != nil {
		return err
	}
	runAggregation(serverCtx, client)
	if err := waitAggregated(ctx, client); err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(line); err != nil {
		return err
	}

	select {
	case <-ctx.Done():
		return nil
	case err := <-ended:
		return fmt.Errorf("kube-apiserver ended by itself: %w", err)
	}
}

// startEtcd serves etcd on a unix socket in dir, with no durability: nothing
// here outlives the process.
func startEtcd(dir string) (*embed.Etcd, error) {
	cfg := embed.NewConfig()
	cfg.Dir = filepath.Join(dir, "etcd")
	cfg.UnsafeNoFsync = true
	cfg.LogLevel = "error"
	client, peer := url.URL{Scheme: "unix", Host: etcdSocket}, url.URL{Scheme: "unix", Host: "etcd-peer.sock"}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)

	db, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, err
	}
	select {
	case <-db.Server.ReadyNotify():
		return db, nil
	case err := <-db.Err():
		db.Close()
		return nil, err
	case <-time.After(startTimeout):
		db.Close()
		return nil, fmt.Errorf("not ready after %s", startTimeout)
	}
}

// etcdSocket is the client socket, relative to the working directory.
const etcdSocket = "etcd.sock"

// serveAPI runs kube-apiserver on the listener until ctx ends.
func serveAPI(ctx context.Context, listener net.Listener, pki *pki) error {
	opts := options.NewServerRunOptions()
	all := pflag.NewFlagSet("kube-apiserver", pflag.ContinueOnError)
	for _, set := range opts.Flags().FlagSets {
		all.AddFlagSet(set)
	}
	for name, value := range map[string]string{
		"authorization-mode":               "RBAC",
		"advertise-address":                "127.0.0.1",
		"bind-address":                     "127.0.0.1",
		"client-ca-file":                   pki.caCert,
		"disable-admission-plugins":        "ServiceAccount", // there is no controller which makes the default accounts
		"endpoint-reconciler-type":         "none",
		"etcd-servers":                     "unix://" + etcdSocket,
		"service-account-issuer":           "https://kubernetes.default.svc",
		"service-account-key-file":         pki.serviceAccountKey,
		"service-account-signing-key-file": pki.serviceAccountKey,
		"service-cluster-ip-range":         "10.0.0.0/24",
		"shutdown-delay-duration":          "0s",
		"tls-cert-file":                    pki.serverCert,
		"tls-private-key-file":             pki.serverKey,
	} {
		if err := all.Set(name, value); err != nil {
			return fmt.Errorf("kube-apiserver option %s: %w", name, err)
		}
	}
	opts.SecureServing.Listener = listener
	opts.SecureServing.BindPort = listener.Addr().(*net.TCPAddr).Port

	if err := opts.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return err
	}
	completed, err := opts.Complete(ctx)
	if err != nil {
		return err
	}
	if errs := completed.Validate(); len(errs) > 0 {
		return fmt.Errorf("kube-apiserver options: %w", errs[0])
	}
	return app.Run(ctx, completed)
}

// waitReady polls /readyz until it answers ok.
func waitReady(ctx context.Context, client kubernetes.Interface, ended <-chan error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	var last error
	for {
		if _, last = client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx); last == nil {
			return nil
		}
		select {
		case err := <-ended:
			return fmt.Errorf("kube-apiserver does not start: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("kube-apiserver is not ready: %w", last)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// runAggregation starts the controller that fills the aggregated cluster roles.
func runAggregation(ctx context.Context, client kubernetes.Interface) {
	factory := informers.NewSharedInformerFactory(client, 0)
	controller := clusterroleaggregation.NewClusterRoleAggregation(factory.Rbac().V1().ClusterRoles(), client.RbacV1())
	factory.Start(ctx.Done())
	go controller.Run(ctx, 2)
}

// waitAggregated waits until the last of the aggregated roles has rules.
func waitAggregated(ctx context.Context, client kubernetes.Interface) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for _, name := range []string{"view", "edit", "admin"} {
		for {
			role, err := client.RbacV1().ClusterRoles().Get(ctx, name, metav1.GetOptions{})
			if err == nil && len(role.Rules) > 0 {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("cluster role %s has no rules after %s", name, startTimeout)
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	return nil
}

// writeKubeconfig writes the administrator's kubeconfig, with everything inline.
func writeKubeconfig(line ready, pki *pki) error {
	config := clientcmdapi.NewConfig()
	var files [3][]byte
	for i, path := range []string{pki.caCert, pki.adminCert, pki.adminKey} {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files[i] = data
	}
	config.Clusters[contextName] = &clientcmdapi.Cluster{Server: line.Server, CertificateAuthorityData: files[0]}
	config.AuthInfos[contextName] = &clientcmdapi.AuthInfo{ClientCertificateData: files[1], ClientKeyData: files[2]}
	config.Contexts[contextName] = &clientcmdapi.Context{Cluster: contextName, AuthInfo: contextName}
	config.CurrentContext = contextName
	return clientcmd.WriteToFile(*config, line.Kubeconfig)
}
