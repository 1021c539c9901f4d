package awsidentitycenter

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/claims"
)

// Read lists the assignments on the account, one permission set at a time. Standing access is written with names, and
// also with ids and ARNs if a binding was written so.
func (p *Platform) Read(ctx context.Context, scope string) (jit.Snapshot, error) {
	if err := checkScope(scope); err != nil {
		return jit.Snapshot{}, err
	}
	c, err := p.client(ctx)
	if err != nil {
		return jit.Snapshot{}, err
	}
	before, err := c.claims(scope).Read(ctx)
	if err != nil {
		return jit.Snapshot{}, err
	}
	sets, err := c.concerned(ctx, scope, before.Claims)
	if err != nil {
		return jit.Snapshot{}, err
	}
	there, err := c.list(ctx, scope, sets)
	if err != nil {
		return jit.Snapshot{}, err
	}
	after, err := c.claims(scope).Read(ctx)
	if err != nil {
		return jit.Snapshot{}, err
	}
	deleted, err := c.deleted(ctx, after.Claims)
	if err != nil {
		return jit.Snapshot{}, err
	}
	var gone []bool // of ours
	ours, standing := claims.Observe(before.Claims, after.Claims, func(claim jit.Claim) bool {
		o, err := parseObject(claim.Object)
		is := err == nil && (there[o] || !claim.Ending && (deleted[o] || p.mayCome(place{scope, o})))
		if is {
			gone = append(gone, deleted[o])
		}
		return is
	})
	for i := range ours {
		ours[i].Gone = gone[i]
	}
	snap := jit.Snapshot{Clock: p.watch.Clock(), Ours: ours, Advise: p.advise}
	snap.Standing, err = c.standing(ctx, sets, there, func(o object) bool { return standing(o.String()) })
	return snap, err
}

// concerned returns the permission sets in use on the account, and those that have claims.
func (c *client) concerned(ctx context.Context, account string, ours []jit.Claim) ([]string, error) {
	sets, err := c.provisioned(ctx, account)
	for _, claim := range ours {
		if o, err := parseObject(claim.Object); err == nil {
			sets = append(sets, o.set)
		}
	}
	slices.Sort(sets)
	return slices.Compact(sets), err
}

// deleted returns the claimed assignments whose user or group the directory no longer knows. One made anew under the
// same name has another id.
func (c *client) deleted(ctx context.Context, all []jit.Claim) (map[object]bool, error) {
	var objects []object
	for _, claim := range all {
		if o, err := parseObject(claim.Object); err == nil && !slices.Contains(objects, o) {
			objects = append(objects, o)
		}
	}
	var mu sync.Mutex
	deleted := map[object]bool{}
	return deleted, each(ctx, objects, func(ctx context.Context, _ int, o object) error {
		name, err := c.nameOf(ctx, o)
		mu.Lock()
		defer mu.Unlock()
		deleted[o] = err == nil && name == ""
		return err
	})
}

// list lists the assignments of several permission sets.
func (c *client) list(ctx context.Context, account string, sets []string) (map[object]bool, error) {
	var mu sync.Mutex
	there := map[object]bool{}
	return there, each(ctx, sets, func(ctx context.Context, _ int, set string) error {
		found, err := c.assignments(ctx, account, set)
		mu.Lock()
		defer mu.Unlock()
		maps.Copy(there, found)
		return err
	})
}

// standing returns the wanted assignments as standing access.
func (c *client) standing(ctx context.Context, sets []string, there map[object]bool,
	wanted func(object) bool) ([]jit.Standing, error) {
	named, err := c.describeSets(ctx, sets)
	if err != nil {
		return nil, err
	}
	objects := slices.SortedFunc(maps.Keys(there),
		func(a, b object) int { return strings.Compare(a.String(), b.String()) })
	objects = slices.DeleteFunc(objects, func(o object) bool { return !wanted(o) })
	names := make([]string, len(objects))
	if err := each(ctx, objects, func(ctx context.Context, i int, o object) (err error) {
		names[i], err = c.nameOf(ctx, o)
		return err
	}); err != nil {
		return nil, err
	}
	var all []jit.Standing
	for i, o := range objects {
		name := names[i]
		for _, who := range c.platform.spellings(principal{o.kind, name}.String(), name != "",
			principal{o.kind, o.id}.String()) {
			for _, role := range c.platform.spellings(named[o.set].name, named[o.set].name != "", o.set) {
				all = append(all, jit.Standing{Principal: who, Role: role,
					Detail: fmt.Sprintf("assignment of %s %s", o.kind, o.id)})
			}
		}
	}
	return all, nil
}

// spellings returns the ways to write something: its name if it has one, and its id if a binding used it or there is no
// name.
func (p *Platform) spellings(name string, hasName bool, id string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case !hasName:
		return []string{id}
	case p.written[id]:
		return []string{name, id}
	}
	return []string{name}
}
