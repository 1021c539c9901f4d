package kubernetes

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
)

// apiServer plays the part of the API that the platform uses, at least as strict as the real one:
// versions and preconditions count, a role reference cannot change, finalizers hold objects back.
type apiServer struct {
	*httptest.Server

	mu       sync.Mutex
	version  int
	objects  map[string]runtime.Object // by path
	down     bool
	pageSize int                                   // of lists, when the request allows more
	before   atomic.Pointer[func(r *http.Request)] // called without the lock
	refuses  func(r *http.Request) bool            // what the user may not do; nil for nothing
	admits   func(b *rbacv1.RoleBinding)           // changes each binding that is written; nil for nothing
	expires  bool                                  // the version of a list does, before its second page
	loses    func(r *http.Request) bool            // whether the answer is lost; nil for none
	deaf     bool                                  // deletions are answered with success and not made
}

// admit changes each binding that is written, as a mutating admission policy or webhook does.
// https://kubernetes.io/docs/reference/access-authn-authz/mutating-admission-policy/
func (s *apiServer) admit(admits func(b *rbacv1.RoleBinding)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.admits = admits
}

// mutate applies admits to an object.
func (s *apiServer) mutate(o runtime.Object) {
	switch o := o.(type) {
	case *rbacv1.RoleBinding:
		if s.admits != nil {
			s.admits(o)
		}
	case *rbacv1.ClusterRoleBinding:
		if s.admits != nil {
			s.admits((*rbacv1.RoleBinding)(o))
		}
	}
}

// forbid refuses the requests of which refuses says so, as RBAC does.
func (s *apiServer) forbid(refuses func(r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuses = refuses
}

type apiError = apierrors.StatusError

func newAPIServer(t testing.TB) *apiServer {
	s := &apiServer{objects: map[string]runtime.Object{}, pageSize: 3}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *apiServer) config() *rest.Config {
	return &rest.Config{Host: s.URL, BearerToken: "token-of-the-admin", QPS: -1}
}

// allowed evaluates the bindings as the authorizer does.
func (s *apiServer) allowed(namespace string, subject rbacv1.Subject, ref rbacv1.RoleRef) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for path, o := range s.objects {
		var b rbacv1.RoleBinding
		switch o := o.(type) {
		case *rbacv1.ClusterRoleBinding:
			b = rbacv1.RoleBinding(*o)
		case *rbacv1.RoleBinding:
			b = *o
		default:
			continue
		}
		roles := "/apis/rbac.authorization.k8s.io/v1/clusterroles/"
		if ref.Kind == "Role" {
			roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/" + b.Namespace + "/roles/"
		}
		if (b.Namespace == "" || b.Namespace == namespace) && b.RoleRef == ref &&
			slices.Contains(b.Subjects, subject) && s.objects[roles+ref.Name] != nil {
			return s.objects[path] != nil
		}
	}
	return false
}

// ServeHTTP answers one request.
func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if before := s.before.Load(); before != nil {
		(*before)(r)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	answer, err := s.answer(r)
	if s.loses != nil && s.loses(r) {
		panic(http.ErrAbortHandler)
	}
	if err == nil {
		answer = partial(r, answer)
	}
	status := http.StatusOK
	if err != nil {
		body := err.Status()
		answer, status = &body, int(body.Code)
	} else if r.Method == http.MethodPost {
		status = http.StatusCreated
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer)
}

func (s *apiServer) answer(r *http.Request) (any, *apiError) {
	parts := strings.Split(strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/apis/rbac.authorization.k8s.io/v1/"),
		"/api/v1/"), "/")
	namespace := ""
	if parts[0] == "namespaces" && len(parts) > 2 {
		namespace, parts = parts[1], parts[2:]
	}
	resource := schema.GroupResource{Group: rbacv1.GroupName, Resource: parts[0]}
	var name string
	if len(parts) == 2 {
		name = parts[1]
	}
	was := s.objects[r.URL.Path]
	switch {
	case s.down:
		return nil, apierrors.NewInternalError(fmt.Errorf("etcd is down"))
	case r.Header.Get("Authorization") != "Bearer token-of-the-admin":
		return nil, apierrors.NewUnauthorized("Unauthorized")
	case s.refuses != nil && s.refuses(r):
		return nil, apierrors.NewForbidden(resource, name, errors.New("no RBAC policy matched"))
	case r.URL.Path == selfReview && r.Method == http.MethodPost:
		return map[string]any{"status": map[string]any{"userInfo": map[string]any{"username": "the-admin"}}}, nil
	case r.Method == http.MethodGet && r.URL.Query().Get("resourceVersion") != "":
		// The answer may be any older state.
		// https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-get-and-list
		return nil, apierrors.NewNotFound(resource, name)
	case name == "" && r.Method == http.MethodGet:
		return s.list(r, resource, namespace)
	case name == "" && r.Method == http.MethodDelete:
		return s.deleteAll(r)
	case name == "" && r.Method == http.MethodPost:
		return s.create(r, resource, namespace)
	case was == nil:
		return nil, apierrors.NewNotFound(resource, name)
	case r.Method == http.MethodGet:
		return was, nil
	case r.Method == http.MethodPut:
		return s.update(r, resource, was)
	case r.Method == http.MethodDelete:
		var options metav1.DeleteOptions
		if err := decode(r, &options); err != nil {
			return nil, err
		}
		m := meta(was)
		if p := options.Preconditions; p == nil || p.UID == nil || *p.UID != m.UID || p.ResourceVersion == nil ||
			*p.ResourceVersion != m.ResourceVersion {
			return nil, apierrors.NewConflict(resource, name, fmt.Errorf("the precondition does not hold"))
		}
		s.delete(r.URL.Path)
		if held := s.objects[r.URL.Path]; held != nil {
			return held, nil // https://kubernetes.io/docs/concepts/overview/working-with-objects/finalizers/
		}
		return &metav1.Status{Status: metav1.StatusSuccess}, nil
	}
	return nil, apierrors.NewMethodNotSupported(resource, r.Method)
}

// partial returns what is asked for of an answer: all of it, or only the metadata of its objects.
// https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-metadata
func partial(r *http.Request, answer any) any {
	accept := r.Header.Get("Accept")
	switch o := answer.(type) {
	case objects:
		if !strings.Contains(accept, "as=PartialObjectMetadataList;") {
			return answer
		}
		only := metav1.PartialObjectMetadataList{ListMeta: o.ListMeta}
		for _, item := range o.Items {
			only.Items = append(only.Items, metav1.PartialObjectMetadata{ObjectMeta: *meta(item)})
		}
		return only
	case runtime.Object:
		if strings.Contains(accept, "as=PartialObjectMetadata;") {
			return metav1.PartialObjectMetadata{ObjectMeta: *meta(o)}
		}
	}
	return answer
}

// objects is a list.
type objects struct {
	metav1.TypeMeta `json:""`
	metav1.ListMeta `json:"metadata"`
	Items           []runtime.Object `json:"items"`
}

// decode reads the body in any of the encodings of the API.
func decode(r *http.Request, into runtime.Object) *apiError {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		_, _, err = scheme.Codecs.UniversalDeserializer().Decode(body, nil, into)
	}
	if err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	return nil
}

// blank returns an empty object of the resource.
func blank(resource string) runtime.Object {
	switch resource {
	case "clusterrolebindings":
		return &rbacv1.ClusterRoleBinding{TypeMeta: metav1.TypeMeta{APIVersion: "rbac.authorization.k8s.io/v1",
			Kind: "ClusterRoleBinding"}}
	case "rolebindings":
		return &rbacv1.RoleBinding{TypeMeta: metav1.TypeMeta{APIVersion: "rbac.authorization.k8s.io/v1",
			Kind: "RoleBinding"}}
	case "clusterroles":
		return &rbacv1.ClusterRole{}
	case "roles":
		return &rbacv1.Role{}
	case "serviceaccounts":
		return &corev1.ServiceAccount{}
	}
	return &corev1.Namespace{}
}

func meta(o runtime.Object) *metav1.ObjectMeta {
	return o.(metav1.ObjectMetaAccessor).GetObjectMeta().(*metav1.ObjectMeta)
}

func roleRef(o runtime.Object) rbacv1.RoleRef {
	switch o := o.(type) {
	case *rbacv1.ClusterRoleBinding:
		return o.RoleRef
	case *rbacv1.RoleBinding:
		return o.RoleRef
	}
	return rbacv1.RoleRef{}
}

func (s *apiServer) next() string {
	s.version++
	return strconv.Itoa(s.version)
}

func (s *apiServer) create(r *http.Request, resource schema.GroupResource, namespace string) (any, *apiError) {
	o := blank(resource.Resource)
	if err := decode(r, o); err != nil {
		return nil, err
	}
	m := meta(o)
	path := r.URL.Path + "/" + m.Name
	if m.Namespace == "" {
		m.Namespace = namespace
	}
	switch {
	case m.ResourceVersion != "" || m.Name == "" || m.Namespace != namespace:
		return nil, apierrors.NewBadRequest("the object is not a new one of this place")
	case namespace != "" && s.objects["/api/v1/namespaces/"+namespace] == nil:
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, namespace)
	case s.objects[path] != nil:
		return nil, apierrors.NewAlreadyExists(resource, m.Name)
	}
	s.mutate(o)
	m.ResourceVersion = s.next()
	m.UID, m.CreationTimestamp = types.UID("uid-"+m.ResourceVersion), metav1.Now()
	s.objects[path] = o
	return o, nil
}

func (s *apiServer) update(r *http.Request, resource schema.GroupResource, was runtime.Object) (any, *apiError) {
	o := blank(resource.Resource)
	if err := decode(r, o); err != nil {
		return nil, err
	}
	m, old := meta(o), meta(was)
	switch {
	case m.ResourceVersion != old.ResourceVersion || m.UID != old.UID:
		return nil, apierrors.NewConflict(resource, old.Name, fmt.Errorf("the object has been modified"))
	case roleRef(o) != roleRef(was):
		return nil, apierrors.NewInvalid(schema.GroupKind{}, old.Name, nil)
	}
	s.mutate(o)
	added := func(f string) bool { return !slices.Contains(old.Finalizers, f) }
	if old.DeletionTimestamp != nil && slices.ContainsFunc(m.Finalizers, added) {
		return nil, apierrors.NewForbidden(resource, old.Name,
			errors.New("no new finalizers can be added if the object is being deleted"))
	}
	m.DeletionTimestamp, m.ResourceVersion = old.DeletionTimestamp, s.next()
	s.objects[r.URL.Path] = o
	if m.DeletionTimestamp != nil && len(m.Finalizers) == 0 {
		delete(s.objects, r.URL.Path)
	}
	return o, nil
}

func (s *apiServer) delete(path string) {
	if s.deaf {
		return
	}
	o := s.objects[path].DeepCopyObject()
	if m := meta(o); len(m.Finalizers) > 0 {
		m.DeletionTimestamp, m.ResourceVersion = new(metav1.Now()), s.next()
		s.objects[path] = o
		return
	}
	delete(s.objects, path)
}

// selected lists the paths under the request's that its selector selects.
func (s *apiServer) selected(r *http.Request, all bool, resource string) ([]string, *apiError) {
	selector, err := labels.Parse(r.URL.Query().Get("labelSelector"))
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	var paths []string
	for path := range s.objects {
		under := strings.HasPrefix(path, r.URL.Path+"/") || all && strings.Contains(path, "/"+resource+"/")
		if under && selector.Matches(labels.Set(meta(s.objects[path]).Labels)) {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths, nil
}

func (s *apiServer) deleteAll(r *http.Request) (any, *apiError) {
	if len(r.URL.String()) > 8000 {
		return nil, apierrors.NewRequestEntityTooLargeError("the URL is too long for a proxy")
	}
	paths, err := s.selected(r, false, "")
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		s.delete(path)
	}
	return &metav1.Status{Status: metav1.StatusSuccess}, nil
}

// list answers in pages; the continue token is the last path of the page before.
func (s *apiServer) list(r *http.Request, resource schema.GroupResource, namespace string) (any, *apiError) {
	paths, err := s.selected(r, namespace == "", resource.Resource)
	if err != nil {
		return nil, err
	}
	list := objects{TypeMeta: metav1.TypeMeta{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "RoleBindingList"}}
	if resource.Resource == "clusterrolebindings" {
		list.Kind = "ClusterRoleBindingList"
	}
	after := r.URL.Query().Get("continue")
	if after != "" && s.expires {
		return nil, apierrors.NewResourceExpired("the provided continue parameter is too old")
	}
	paths = slices.DeleteFunc(paths, func(path string) bool { return path <= after })
	if r.URL.Query().Get("limit") != "" && len(paths) > s.pageSize {
		paths = paths[:s.pageSize]
		list.Continue = paths[s.pageSize-1]
	}
	list.ResourceVersion = strconv.Itoa(s.version)
	for _, path := range paths {
		list.Items = append(list.Items, s.objects[path])
	}
	return list, nil
}
