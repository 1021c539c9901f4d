// Package request asks for access: it judges a request as a plan would, writes one file for it, and makes the pull
// request.
package request

import (
	"cmp"
	"strings"
	"time"

	"github.com/zclconf/go-cty/cty"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Asked is a request as a person writes it. An empty text is left out of the file.
type Asked struct {
	Target    string `json:"target"`
	Principal string `json:"principal"`
	Role      string `json:"role"`
	Scope     string `json:"scope,omitempty"`
	Reason    string `json:"reason"`
	TTL       string `json:"ttl,omitempty"`
	ExpiresAt string `json:"expires_at,omitempty"`
	StartsAt  string `json:"starts_at,omitempty"`
	StartBy   string `json:"start_by,omitempty"`
	Policy    string `json:"policy,omitempty"`
	Requester string `json:"requester,omitempty"`
	// Renewal counts from 1; 0 is 1.
	Renewal           int64 `json:"renewal,omitempty"`
	BreakGlass        bool  `json:"break_glass,omitempty"`
	TerminateSessions bool  `json:"terminate_sessions,omitempty"`
}

// field ties an attribute of jit_grant to its place in a request.
type field struct {
	name string
	// flag is how the command line writes it; empty for arguments.
	flag string
	text *string
	yes  *bool
}

// fields lists the attributes with a text or a switch, in the order of the block.
func (a *Asked) fields() []field {
	return []field{
		{name: "target", text: &a.Target}, {name: "principal", flag: "--for", text: &a.Principal},
		{name: "role", text: &a.Role}, {name: "scope", text: &a.Scope},
		{name: "reason", flag: "--reason", text: &a.Reason},
		{name: "ttl", flag: "--ttl", text: &a.TTL}, {name: "expires_at", flag: "--until", text: &a.ExpiresAt},
		{name: "starts_at", flag: "--starts-at", text: &a.StartsAt},
		{name: "start_by", flag: "--start-by", text: &a.StartBy},
		{name: "policy", flag: "--policy", text: &a.Policy},
		{name: "requester", flag: "--requester", text: &a.Requester},
		{name: "break_glass", flag: "--break-glass", yes: &a.BreakGlass},
		{name: "terminate_sessions", flag: "--terminate-sessions", yes: &a.TerminateSessions},
	}
}

// Normal returns the request with its texts as Terraform reads them: in Unicode's normal form C.
func (a Asked) Normal() Asked {
	for _, f := range a.fields() {
		if f.text != nil {
			*f.text = cty.NormalizeString(*f.text)
		}
	}
	return a
}

// attribute is an attribute of a block.
type attribute struct {
	name  string
	value cty.Value
}

// attributes returns the attributes of the block, in its order.
func (a Asked) attributes() (all []attribute) {
	for _, f := range a.fields() {
		switch {
		case f.text != nil && *f.text != "":
			all = append(all, attribute{f.name, cty.StringVal(*f.text)})
		case f.yes != nil && *f.yes:
			all = append(all, attribute{f.name, cty.True})
		}
		if f.name == "expires_at" && a.Renewal > 1 {
			all = append(all, attribute{"renewal", cty.NumberIntVal(a.Renewal)})
		}
	}
	return all
}

// Request returns the request to the broker. Errors are [jit.ErrInvalid] and name the attribute.
func (a Asked) Request() (r broker.Request, err error) {
	r = broker.Request{
		Binding: jit.Binding{Target: a.Target, Principal: a.Principal, Role: a.Role, Scope: a.Scope},
		Reason:  a.Reason, Renewal: max(a.Renewal, 1), Policy: a.Policy,
		Terms: jit.Terms{Requester: a.Requester, BreakGlass: a.BreakGlass, TerminateSessions: a.TerminateSessions},
	}
	if a.TTL != "" {
		if r.TTL, err = jit.ParseTTL(a.TTL); err != nil {
			return r, err
		}
	}
	if r.ExpiresAt, err = parseTime("expires_at", a.ExpiresAt); err != nil {
		return r, err
	}
	if r.StartsAt, err = parseTime("starts_at", a.StartsAt); err != nil {
		return r, err
	}
	if r.StartBy, err = parseTime("start_by", a.StartBy); err != nil {
		return r, err
	}
	if a.Requester != "" {
		err = jit.CheckRequester(a.Requester)
	}
	return r, cmp.Or(err, broker.CheckForm(r, nil))
}

// Command returns the command line that asks for this, for a POSIX shell. It leaves out what is as in given.
func (a Asked) Command(given Asked) string {
	words, flags := []string{"jit request"}, []string{}
	was := given.fields()
	for i, f := range a.fields() {
		switch {
		case f.yes != nil:
			if *f.yes {
				flags = append(flags, f.flag)
			}
		case *f.text == "" || *f.text == *was[i].text:
		case f.flag == "":
			words = append(words, Word(*f.text))
		default:
			flags = append(flags, f.flag+" "+Word(*f.text))
		}
	}
	return strings.Join(append(words, flags...), " ")
}

// Word returns a text as one word of a POSIX shell.
func Word(text string) string {
	plain := func(r rune) bool {
		return strings.ContainsRune("@%+=:,./-_", r) || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' ||
			r >= 'A' && r <= 'Z'
	}
	if text != "" && !strings.ContainsFunc(text, func(r rune) bool { return !plain(r) }) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// parseTime reads a time; an empty text is none.
func parseTime(attribute, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	return jit.ParseTime(attribute, text)
}

// Argument returns how the command line writes an attribute; empty if it does not.
func Argument(attribute string) string {
	var a Asked
	for _, f := range a.fields() {
		if f.name == attribute && f.flag != "" {
			return f.flag
		} else if f.name == attribute {
			return strings.ToUpper(f.name)
		}
	}
	return ""
}
