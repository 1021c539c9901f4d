package kubernetes

import (
	"fmt"
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
// have appeared meanwhile.
func (p *Platform) client() (*client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.opened != nil {
		return p.opened, nil
	}
	config, err := p.cfg.restConfig()
	if err != nil {
		return nil, err
	}
	config.UserAgent = "terraform-provider-jit"
	config.Timeout = callTimeout
	config.QPS = -1 // parallel limits us; the default, 5 a second, is for controllers
	config.WarningHandler = rest.NoWarnings{}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &transport{p, next} })
	doer, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, unusable(err)
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
	p.opened = c
	return c, nil
}

func unusable(err error) error {
	return &jit.Error{Problem: "cannot use the cluster's settings: " + oneLine(err.Error()),
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
	if err != nil {
		return nil, err
	}
	t.platform.clock.Read(answer.Header, t.platform.now())
	return answer, nil
}

// WrappedRoundTripper lets client-go find the transport below.
func (t *transport) WrappedRoundTripper() http.RoundTripper { return t.next }
