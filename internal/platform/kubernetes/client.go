package kubernetes

import (
	"net/http"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/gentype"
	"k8s.io/client-go/rest"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	// callTimeout bounds one API request.
	callTimeout = 30 * time.Second
	// parallel is how many requests one Apply makes at a time.
	parallel = 16
)

// client is an open way to the cluster. It knows the one group of the API that is written here: the
// clients of client-go know all of them, which takes a third of the time to build this program.
type client struct {
	api  rest.Interface
	host string // without user info
}

var (
	known      = groupOfRoles()
	codecs     = serializer.NewCodecFactory(known)
	parameters = runtime.NewParameterCodec(known)
)

// groupOfRoles returns a scheme with the roles and bindings.
func groupOfRoles() *runtime.Scheme {
	s := runtime.NewScheme()
	metav1.AddToGroupVersion(s, schema.GroupVersion{Version: "v1"})
	if err := rbacv1.AddToScheme(s); err != nil {
		panic(err) // the types are those of this program
	}
	return s
}

func (c *client) roleBindings(namespace string) *gentype.ClientWithList[*rbacv1.RoleBinding, *rbacv1.RoleBindingList] {
	return gentype.NewClientWithList("rolebindings", c.api, parameters, namespace,
		func() *rbacv1.RoleBinding { return &rbacv1.RoleBinding{} }, func() *rbacv1.RoleBindingList { return &rbacv1.RoleBindingList{} })
}

func (c *client) clusterRoleBindings() *gentype.ClientWithList[*rbacv1.ClusterRoleBinding, *rbacv1.ClusterRoleBindingList] {
	return gentype.NewClientWithList("clusterrolebindings", c.api, parameters, "",
		func() *rbacv1.ClusterRoleBinding { return &rbacv1.ClusterRoleBinding{} }, func() *rbacv1.ClusterRoleBindingList { return &rbacv1.ClusterRoleBindingList{} })
}

// clock is what the Date of an answer said, and our own time then.
type clock struct{ remote, local time.Time }

// client opens the way to the cluster at the first use. What fails is tried again
// at the next call: a file may appear meanwhile.
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
	config.QPS = -1 // what bounds us is parallel; the default, 5 a second, is for controllers
	config.WarningHandler = rest.NoWarnings{}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &transport{p, next} })
	doer, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, unusable(err)
	}
	c := &client{host: hostOf(config.Host)}
	config.APIPath, config.GroupVersion, config.NegotiatedSerializer = "/apis", &rbacv1.SchemeGroupVersion, codecs.WithoutConversion()
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

// transport tells the hook of each request and keeps the Date of each answer.
type transport struct {
	platform *Platform
	next     http.RoundTripper
}

// RoundTrip makes the request.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if hook := t.platform.OnCall; hook != nil {
		op := "write"
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			op = "read"
		}
		hook(op)
	}
	answer, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	c := &clock{local: t.platform.now()}
	if date, err := http.ParseTime(answer.Header.Get("Date")); err == nil {
		c.remote = date.UTC()
	}
	t.platform.clock.Store(c)
	return answer, nil
}

// WrappedRoundTripper lets client-go find the transport below.
func (t *transport) WrappedRoundTripper() http.RoundTripper { return t.next }

// lastClock returns what the latest answer said; the zero value before the first.
func (p *Platform) lastClock() clock {
	if c := p.clock.Load(); c != nil {
		return *c
	}
	return clock{}
}
