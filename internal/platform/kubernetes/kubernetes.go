// Package kubernetes gives temporary access to a Kubernetes cluster: one RoleBinding or ClusterRoleBinding for each
// grant, which bears the grant's marker. It never changes bindings of others.
//
// Nothing is written blindly. A binding is created with POST, which cannot adopt an existing one; changed with PUT at
// the version that was read; deleted at the UID and version that were read. If another writer was faster, the call
// fails and the change is judged again. Server-side apply has no "only if absent": it would merge into a foreign object
// of the same name, so it is not used.
package kubernetes

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/batch"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	// kind is the platform's name.
	kind = "kubernetes"
	// fieldManager is who the cluster records as the writer.
	fieldManager = "jit"
)

// Platform is one cluster. It is safe for concurrent use.
type Platform struct {
	// OnCall, if set before use, is called before each API request with "read" or "write", also by several goroutines
	// at a time.
	OnCall func(op string)

	// everywhere lists the ClusterRoleBindings for all reads of namespaces that wait at the same time.
	everywhere *batch.Queue[struct{}, listing]

	cfg   Config
	agent string
	now   func() time.Time
	clock jit.ServerClock
	warn  func(text string)

	mu     sync.Mutex
	opened *client // nil until the first call
	// version is that of the kubeconfig, and server the address of the cluster, of opened.
	version, server string
	// self is our own principal as the cluster knows it; nil until it was asked, empty if it does not say.
	self *string
	// seen holds the paths of objects that [Platform.advise] knows to exist.
	seen map[string]bool
	// told holds the warnings that were given.
	told map[string]bool
}

var _ jit.Platform = (*Platform)(nil)

// New checks the form of the configuration; the first call reads the kubeconfig file and connects.
func New(cfg Config, s jit.Services) (*Platform, error) {
	cfg, err := cfg.check()
	if err != nil {
		return nil, err
	}
	p := &Platform{cfg: cfg, now: s.Now, agent: s.Agent(), warn: s.Warn, told: map[string]bool{}}
	p.everywhere = batch.NewQueue(p.listEverywhere)
	if p.warn == nil {
		p.warn = func(text string) { slog.Warn(text) }
	}
	return p, nil
}

// tell gives a warning once.
func (p *Platform) tell(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tellOnce(text)
}

// tellOnce is tell for a caller that holds the lock.
func (p *Platform) tellOnce(text string) {
	if !p.told[text] {
		p.told[text] = true
		p.warn(text)
	}
}

// Kind returns "kubernetes".
func (p *Platform) Kind() string { return kind }

// Scopes returns "cluster" and every namespace with a RoleBinding that is labelled as ours, from one list over all
// namespaces.
func (p *Platform) Scopes(ctx context.Context) ([]string, error) {
	c, err := p.client()
	if err != nil {
		return nil, err
	}
	found, err := c.list(ctx, roleBindings, "", idLabel)
	if err != nil {
		return nil, c.explain(ctx, "list the RoleBindings of all namespaces", err)
	}
	scopes := map[string]bool{}
	for _, b := range found {
		scopes[namespaces+b.Namespace] = true
	}
	return append([]string{cluster}, slices.Sorted(maps.Keys(scopes))...), nil
}
