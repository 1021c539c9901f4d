package kubernetes

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	// callTimeout caps one API request.
	callTimeout = 30 * time.Second
	// parallel is how many requests one Apply makes at a time.
	parallel = 16
)

// client is a connection to the cluster. It knows only the API group that it writes: the clients of client-go know all
// groups, and compiling those takes longer than the rest of this platform.
type client struct {
	api        rest.Interface
	parameters runtime.ParameterCodec
	host       string // without user info
}

// rolesOnly returns the scheme of roles and bindings, and of the errors that all groups share.
func rolesOnly() (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	return s, rbacv1.AddToScheme(s)
}

// request begins a request. An empty namespace means the cluster, or all namespaces.
func (c *client) request(method, resource, namespace string) *rest.Request {
	return c.api.Verb(method).UseProtobufAsDefault().NamespaceIfScoped(namespace, namespace != "").Resource(resource)
}

// client returns the client, which the first call opens. After a failure the next call tries again, because a file may
// have appeared meanwhile. It is opened again after the kubeconfig has changed, because tokens in it are renewed; its
// context and its cluster stay those of the first call, whatever others make the current context. While the kubeconfig
// is away or half written, the open client stays in use: access must still end.
func (p *Platform) client() (*client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	version := ""
	if p.cfg.Host == "" {
		version = p.cfg.version()
	}
	if p.opened != nil && p.version == version {
		return p.opened, nil
	}
	config, context, err := p.cfg.restConfig(rest.InClusterConfig)
	if err != nil && p.opened != nil {
		p.tellOnce("the settings from before stay in use: " + err.Error())
		return p.opened, nil
	}
	if err != nil {
		return nil, err
	}
	if p.opened != nil && p.server != config.Host {
		return nil, &jit.Error{Attribute: "kubeconfig", Problem: fmt.Sprintf("the kubeconfig names another cluster than "+
			"when this program began to use it: %s, not %s", hostOf(config.Host), p.opened.host),
			Hint: "start the program again if that is the same cluster"}
	}
	c, err := p.open(config)
	if err != nil {
		return nil, err
	}
	p.opened, p.version, p.server, p.cfg.Context = c, version, config.Host, context
	p.self, p.seen = nil, nil
	return c, nil
}

// open returns a client with the settings.
func (p *Platform) open(config *rest.Config) (*client, error) {
	config.UserAgent = p.agent
	config.Timeout = callTimeout
	config.QPS = -1 // parallel limits us; the default, 5 a second, is for controllers
	config.WarningHandler = rest.NoWarnings{}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &transport{p, jit.GuardAnswers(next)} })
	doer, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, unusable(err)
	}
	if config.ExecProvider != nil {
		doer.Transport = &patient{doer.Transport, make(chan struct{}, 4*parallel)}
	}
	known, err := rolesOnly()
	if err != nil {
		return nil, fmt.Errorf("register the types of roles: %w", err)
	}
	config.APIPath, config.GroupVersion = "/apis", &rbacv1.SchemeGroupVersion
	config.NegotiatedSerializer = rest.CodecFactoryForGeneratedClient(known,
		serializer.NewCodecFactory(known)).WithoutConversion()
	c := &client{host: hostOf(config.Host), parameters: runtime.NewParameterCodec(known)}
	if c.api, err = rest.RESTClientForConfigAndClient(config, doer); err != nil {
		return nil, unusable(err)
	}
	return c, nil
}

// patient gives a request up when its context ends. The command that a kubeconfig runs for credentials does not know the
// context; a request that waits for it is left behind.
type patient struct {
	next http.RoundTripper
	// slots caps the requests that wait, so that a command which never ends does not fill the memory.
	slots chan struct{}
}

// RoundTrip makes the request.
func (p *patient) RoundTrip(r *http.Request) (*http.Response, error) {
	type outcome struct {
		answer *http.Response
		err    error
	}
	done, ctx := make(chan outcome), r.Context()
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	go func() {
		defer func() { <-p.slots }()
		answer, err := p.next.RoundTrip(r)
		select {
		case done <- outcome{answer, err}:
		case <-ctx.Done():
			if err == nil {
				_ = answer.Body.Close()
			}
		}
	}()
	select {
	case o := <-done:
		return o.answer, o.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// WrappedRoundTripper lets client-go find the transport below.
func (p *patient) WrappedRoundTripper() http.RoundTripper { return p.next }

func unusable(err error) error {
	return &jit.Error{Problem: "cannot use the cluster's settings: " + jit.Said(err.Error()),
		Hint: "check the certificates and credentials that the target names", Err: err}
}

// transport calls the hook for each request and stores the Date of each answer.
type transport struct {
	platform *Platform
	next     http.RoundTripper
}

// RoundTrip makes the request.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if hook := t.platform.OnCall; hook != nil {
		op := "write"
		if r.Method == http.MethodGet || r.Method == http.MethodHead || strings.HasSuffix(r.URL.Path, selfReview) {
			op = "read"
		}
		hook(op)
	}
	answer, err := t.next.RoundTrip(r)
	if streamCut(err) {
		err = io.ErrUnexpectedEOF // as over HTTP/1, where client-go repeats a read
	}
	if err != nil {
		return nil, err
	}
	t.platform.clock.Read(answer.Header, t.platform.now())
	return answer, nil
}

// WrappedRoundTripper lets client-go find the transport below.
func (t *transport) WrappedRoundTripper() http.RoundTripper { return t.next }
