package jit

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// Person is somebody who asks for access or decides on it.
type Person struct {
	Name string `json:"name"`
	// Groups begin with "group:".
	Groups []string `json:"groups,omitempty"`
	// SigningKeys are SSH public keys, as a line of authorized_keys writes them.
	SigningKeys []string `json:"signing_keys,omitempty"`
	// Principals are the canonical names that targets know the person by.
	Principals []string `json:"principals,omitempty"`
	// GitHub and GitLab are login names.
	GitHub string `json:"github,omitempty"`
	GitLab string `json:"gitlab,omitempty"`
	// Holder counts the owners of the person in configurations, as that of a [Policy] does.
	Holder int64 `json:"holder,omitempty"`
}

// personDetail is the detail of an event that names its person.
const personDetail = "person"

// Facts returns the whole person as the details of an event.
func (p Person) Facts() map[string]string {
	facts := map[string]string{personDetail: p.Name}
	for name, list := range map[string][]string{
		"groups": p.Groups, "signing_keys": p.SigningKeys, "principals": p.Principals,
	} {
		if len(list) > 0 {
			facts[name] = asJSON(list)
		}
	}
	for name, value := range map[string]string{
		"github": p.GitHub, "gitlab": p.GitLab, recordPrefix + "holder": number(p.Holder),
	} {
		if value != "" {
			facts[name] = value
		}
	}
	return facts
}

// PersonOf returns the person that an event of the kind [EventPersonChanged] recorded.
func PersonOf(e Event) (Person, error) {
	p := Person{Name: e.Person(), GitHub: e.Detail["github"], GitLab: e.Detail["gitlab"]}
	for name, into := range map[string]*[]string{
		"groups": &p.Groups, "signing_keys": &p.SigningKeys, "principals": &p.Principals,
	} {
		if text := e.Detail[name]; text != "" {
			if err := json.Unmarshal([]byte(text), into); err != nil {
				return p, fmt.Errorf("event %s: %s: %w", e.Place(), name, err)
			}
		}
	}
	return p, nil
}

// Contradictions compares a person with the details of the event that recorded them last.
func (p Person) Contradictions(told map[string]string) []Contradiction {
	return contradictions(p.Facts(), told)
}

// Person returns the name of the person that the event is about; empty if it is about none.
func (e Event) Person() string { return e.Detail[personDetail] }

// groupPrefix tells groups from people in a list of approvers.
const groupPrefix = "group:"

// IsGroup reports whether an entry of a list of approvers names a group.
func IsGroup(name string) bool { return strings.HasPrefix(name, groupPrefix) }

// loginName is the union of what GitHub and GitLab accept as a user name.
var loginName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,255}$`)

// maxPersonName bounds the names of people and groups, in bytes.
const maxPersonName = 200

// CheckPersonName accepts the name of a person: 1 to 200 bytes of UTF-8 without white space and hidden characters, such
// as an email address.
func CheckPersonName(attribute, name string) error {
	return checkWho(attribute, name, `write for example "bob@example.com"`, IsGroup(name))
}

// CheckGroup accepts the name of a group: "group:" and a name.
func CheckGroup(attribute, group string) error {
	return checkWho(
		attribute,
		group,
		`write for example "group:payments-leads"`,
		!IsGroup(group) || group == groupPrefix,
	)
}

func checkWho(attribute, name, hint string, wrongKind bool) error {
	switch {
	case name == "" || wrongKind:
		return Invalid(
			attribute,
			hint,
			"%q is not a name of the right kind; groups begin with %q, people do not",
			name,
			groupPrefix,
		)
	case len(name) > maxPersonName:
		return Invalid(attribute, hint, "the name has %d bytes; at most %d are allowed", len(name), maxPersonName)
	case strings.ContainsFunc(name, func(r rune) bool { return r == ' ' || Hidden(r) }):
		return Invalid(attribute, hint, "%q contains a space or a character that nobody sees", name)
	}
	return CheckName(attribute, name)
}

// Check validates the person by itself. Whether a key can be used is for the package that verifies signatures to say.
func (p Person) Check() error {
	if err := CheckPersonName("name", p.Name); err != nil {
		return err
	}
	for _, g := range p.Groups {
		if err := CheckGroup("groups", g); err != nil {
			return err
		}
	}
	for _, name := range p.Principals {
		if strings.TrimSpace(name) == "" {
			return Invalid("principals", `write for example "user:bob@example.com"`, "a principal is empty")
		}
		if err := CheckName("principals", name); err != nil {
			return err
		}
	}
	for _, login := range []struct{ attribute, name string }{{"github", p.GitHub}, {"gitlab", p.GitLab}} {
		if login.name != "" && !loginName.MatchString(login.name) {
			return Invalid(login.attribute, `write the login name without "@"`, "%q is not a login name", login.name)
		}
	}
	return nil
}

// In reports whether a list of people and groups names the person.
func (p Person) In(list []string) bool {
	return slices.ContainsFunc(list, func(entry string) bool {
		return SameName(entry, p.Name) || slices.Contains(p.Groups, entry)
	})
}

// SameName compares names of people, which differ by more than the case of their letters.
func SameName(a, b string) bool { return strings.EqualFold(a, b) }

// FoldName returns the same text for all names that [SameName] takes for one.
func FoldName(name string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
			least = min(least, other)
		}
		return least
	}, name)
}
