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

// Scopes lists the scopes of a place that have claims.
func (c *Claims) Scopes(ctx context.Context, place string) ([]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var scopes []string
	for at, all := range c.scopes {
		if at.place == place && len(all.Claims) > 0 {
			scopes = append(scopes, at.scope)
		}
	}
	slices.Sort(scopes)
	return scopes, ctx.Err()
}

// Places lists the places where a grant has claims.
func (c *Claims) Places(ctx context.Context, owner string, id jit.ID) ([]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var places []string
	for at, all := range c.scopes {
		if slices.ContainsFunc(all.Claims, func(is jit.Claim) bool {
			return is.Marker.Owner == owner && is.Marker.ID == id
		}) {
			places = append(places, at.place)
		}
	}
	slices.Sort(places)
	return slices.Compact(places), ctx.Err()
}

// ReadClaims returns the claims of one scope.
func (c *Claims) ReadClaims(ctx context.Context, place, scope string) (jit.ClaimSet, error) {
	if err := ctx.Err(); err != nil {
		return jit.ClaimSet{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.scopes[claimScope{place, scope}]
	all.Claims = slices.Clone(all.Claims)
	return all, nil
}

// Update puts and drops claims of one scope.
func (c *Claims) Update(ctx context.Context, place, scope string, version int64, put, drop []jit.Claim) (int64, error) {
	if err := ctx.Err(); err != nil {
		return version, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	at := claimScope{place, scope}
	if c.scopes[at].Version != version {
		return version, jit.ErrStale
	}
	byKey := map[string]jit.Claim{}
	for _, claim := range c.scopes[at].Claims {
		byKey[claimKey(claim)] = claim
	}
	for _, claim := range drop {
		delete(byKey, claimKey(claim))
	}
	for _, claim := range put {
		byKey[claimKey(claim)] = claim
	}
	if c.scopes == nil {
		c.scopes = map[claimScope]jit.ClaimSet{}
	}
	all := slices.SortedFunc(maps.Values(byKey), func(a, b jit.Claim) int {
		return strings.Compare(claimKey(a), claimKey(b))
	})
	c.scopes[at] = jit.ClaimSet{Claims: all, Version: version + 1}
	return version + 1, nil
}

func claimKey(c jit.Claim) string { return c.Marker.Owner + " " + string(c.Marker.ID) + " " + c.Object }
