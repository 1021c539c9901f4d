package jittest

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Claims are claims in memory. The zero value is ready for use.
type Claims struct {
	mu     sync.Mutex
	scopes map[claimScope]jit.ClaimSet
}

type claimScope struct{ place, scope string }

var _ jit.Claims = (*Claims)(nil)

// Scopes lists the scopes of a place on which there are claims.
func (m *Claims) Scopes(ctx context.Context, place string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var scopes []string
	for at, all := range m.scopes {
		if at.place == place && len(all.Claims) > 0 {
			scopes = append(scopes, at.scope)
		}
	}
	slices.Sort(scopes)
	return scopes, ctx.Err()
}

// Places lists the places at which there are claims of a grant.
func (m *Claims) Places(ctx context.Context, owner string, id jit.ID) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var places []string
	for at, all := range m.scopes {
		if slices.ContainsFunc(all.Claims, func(is jit.Claim) bool { return is.Marker.Owner == owner && is.Marker.ID == id }) {
			places = append(places, at.place)
		}
	}
	slices.Sort(places)
	return slices.Compact(places), ctx.Err()
}

// ReadClaims returns the claims of one scope.
func (m *Claims) ReadClaims(ctx context.Context, place, scope string) (jit.ClaimSet, error) {
	if err := ctx.Err(); err != nil {
		return jit.ClaimSet{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	all := m.scopes[claimScope{place, scope}]
	all.Claims = slices.Clone(all.Claims)
	return all, nil
}

// Update puts and drops claims of one scope.
func (m *Claims) Update(ctx context.Context, place, scope string, version int64, put, drop []jit.Claim) (int64, error) {
	if err := ctx.Err(); err != nil {
		return version, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	at := claimScope{place, scope}
	if m.scopes[at].Version != version {
		return version, jit.ErrStale
	}
	byKey := map[string]jit.Claim{}
	for _, claim := range m.scopes[at].Claims {
		byKey[claimKey(claim)] = claim
	}
	for _, claim := range drop {
		delete(byKey, claimKey(claim))
	}
	for _, claim := range put {
		byKey[claimKey(claim)] = claim
	}
	if m.scopes == nil {
		m.scopes = map[claimScope]jit.ClaimSet{}
	}
	all := slices.SortedFunc(maps.Values(byKey), func(a, b jit.Claim) int { return strings.Compare(claimKey(a), claimKey(b)) })
	m.scopes[at] = jit.ClaimSet{Claims: all, Version: version + 1}
	return version + 1, nil
}

func claimKey(m jit.Claim) string {
	return m.Marker.Owner + " " + string(m.Marker.ID) + " " + m.Object
}
