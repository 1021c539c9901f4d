// Package catalog knows the resources of other providers that give access: where principal, role and scope stand in
// them, and whether the access has an end of its own.
//
// What it knows stands in catalog.yaml. Its attribute names are compared with the schemas of the providers in
// testdata/schemas.txt; TestSchemas lists by name the types that no schema was at hand for.
package catalog

import (
	"strings"
	"time"
)

// Class says how access ends, or that a resource takes access away.
type Class string

// The classes.
const (
	// Bounded access has an end of its own, which is set.
	Bounded Class = "bounded"
	// Standing access never ends by itself.
	Standing Class = "standing"
	// Opaque access cannot be told apart: its end or its content is unknown, or only the provider can read it.
	Opaque Class = "opaque"
	// Guard is no access: it takes away access that something else gives. Whoever removes it gives that access back.
	Guard Class = "guard"
)

// Value is one fact of access. At most one of Unknown and Sensitive is set, and then Text is empty.
type Value struct {
	Text string
	// Unknown: the plan does not know the value before the apply.
	Unknown bool
	// Sensitive: the plan marks the value as sensitive, so it must not be shown.
	Sensitive bool
}

// Access is access that one resource gives, or a guard.
type Access struct {
	Class                  Class
	Principal, Role, Scope Value
	// End is a time in RFC 3339, or a length of time such as 8h, counted from when the access begins.
	End Value
	// Why says in words what the class rests on.
	Why string
	// Detail tells apart accesses that look the same. It is a digest of all else that may decide what the access
	// permits, such as a condition. It must not be shown, since it may be that of a sensitive value.
	Detail string
	// Own: it is about the resource itself, so that a guard limits nothing once the resource is gone.
	Own bool
	// MayGuard: nobody can read the whole resource, and it may also hold a guard.
	MayGuard bool
}

// Object is a resource as a plan shows it on one side of a change: its values, and the parts of them that are unknown
// and sensitive, in the form of terraform show -json.
type Object struct {
	Values, Unknown, Sensitive any
	// Configured has the attributes that the configuration sets; nil if that is not known. An attribute that is unknown
	// only because nobody sets it then gives no access, where its default gives none.
	Configured map[string]bool
}

// maxAccess bounds the accesses of one resource. The rest is one opaque access.
const maxAccess = 1000

// Of returns the access that a resource gives; nil if it gives none. provider is the address of its provider, such as
// registry.terraform.io/hashicorp/aws. A mirror or a fork of a provider counts like the provider, since only the type
// decides. now tells whether an end is near enough to count as one. A type that is not in the catalog but whose name
// looks like access is opaque. Of is safe for concurrent use.
func Of(now time.Time, provider, resourceType string, o Object) []Access {
	root := node{value: o.Values, unknown: o.Unknown, sensitive: o.Sensitive}
	if o.Values == nil && !root.isUnknown() {
		return nil
	}
	rules, known := table().find(resourceType)
	if !known {
		own := strings.HasPrefix(resourceType, "jit_") && strings.HasSuffix(provider, "/jitaccess/jit")
		if own || !looksLikeAccess(resourceType) {
			return nil
		}
		return []Access{{Class: Opaque, Detail: rest(root, nil),
			Why: "the type looks like access, and is not in the list of known types"}}
	}
	var accesses []Access
	doubted, in := false, context{root: root, configured: o.Configured, rest: rest(root, rules)}
	for i := range rules {
		more, doubt := rules[i].access(now, in)
		if doubt && doubted {
			continue // one says enough
		}
		accesses, doubted = append(accesses, more...), doubted || doubt
	}
	if len(accesses) > maxAccess {
		more := Access{Class: Opaque, Why: "the resource gives more access than is listed", Detail: rest(root, nil),
			MayGuard: true}
		accesses = append(accesses[:maxAccess:maxAccess], more)
	}
	return accesses
}

// access returns what one rule finds in a resource. doubted: whether the rule applies is known after the apply only.
func (r *rule) access(now time.Time, in context) (accesses []Access, doubted bool) {
	elements := []node{in.root}
	if r.each != nil {
		elements = in.root.elements(r.each)
	}
	for _, element := range elements {
		in.element = element
		applies, doubt := r.applies(in)
		switch {
		case !applies, doubt && r.Sure:
		case doubt:
			b := bound{class: Opaque, why: "whether it gives access is known after the apply only"}
			if r.Guard != "" {
				b = bound{class: Guard, why: "whether it limits access is known after the apply only"}
			} else {
				doubted = true
			}
			accesses = append(accesses, r.product(in, b)...)
		case r.document != nil:
			accesses = append(accesses, r.read(now, in)...)
		default:
			accesses = append(accesses, r.product(in, r.bound(now, in))...)
		}
		if len(accesses) > maxAccess {
			break
		}
	}
	return accesses, doubted
}

// product combines each principal with each role and each scope.
func (r *rule) product(in context, b bound) []Access {
	var accesses []Access
	principals, missing := r.Principal.values(in)
	if missing && b.class == Bounded {
		b = bound{class: Opaque, why: "its principal cannot be read: the list of known types may be out of date"}
	} else if missing {
		b.why = "its principal cannot be read, and " + b.why
	}
	roles, _ := r.Role.values(in)
	scopes, _ := r.Scope.values(in)
	detail := r.detail(in)
	for _, principal := range principals {
		for _, role := range roles {
			for _, scope := range scopes {
				accesses = append(accesses, Access{Class: b.class, Principal: principal, Role: role, Scope: scope,
					End: b.end, Why: b.why, Detail: detail, Own: r.Own != "",
					MayGuard: r.document != nil && b.class == Opaque})
				if len(accesses) > maxAccess {
					return accesses
				}
			}
		}
	}
	return accesses
}
