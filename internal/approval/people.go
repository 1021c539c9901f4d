package approval

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// People are the persons that a ledger knows, with their keys parsed.
type People struct {
	all []jit.Person
	// byName has lower-case names, byKey marshalled keys.
	byName map[string]jit.Person
	byKey  map[string]jit.Person
}

// NewPeople validates persons, each by itself and all together: no two have a name in two spellings, one key or one
// login name.
func NewPeople(persons []jit.Person) (*People, error) {
	p := &People{all: persons, byName: map[string]jit.Person{}, byKey: map[string]jit.Person{}}
	logins := map[string]string{}
	for _, person := range persons {
		if err := person.Check(); err != nil {
			return nil, fmt.Errorf("person %q: %w", person.Name, err)
		}
		name := jit.FoldName(person.Name)
		if other, taken := p.byName[name]; taken {
			return nil, jit.Invalid("name", "keep one of the two", "%q and %q are one name", other.Name, person.Name)
		}
		p.byName[name] = person
		for _, login := range []struct{ attribute, name string }{{"github", person.GitHub}, {"gitlab", person.GitLab}} {
			at := login.attribute + " " + jit.FoldName(login.name)
			if other, taken := logins[at]; taken && login.name != "" {
				return nil, jit.Invalid(
					login.attribute,
					"an account belongs to one person",
					"%q and %q have the same login name, %q",
					other,
					person.Name,
					login.name,
				)
			}
			logins[at] = person.Name
		}
		for _, line := range person.SigningKeys {
			if err := p.addKey(person, line); err != nil {
				return nil, err
			}
		}
	}
	return p, nil
}

func (p *People) addKey(person jit.Person, line string) error {
	key, err := ParseKey(line)
	if err != nil {
		return fmt.Errorf("person %q: %w", person.Name, err)
	}
	id := string(key.Marshal())
	if other, taken := p.byKey[id]; taken {
		if other.Name == person.Name {
			return jit.Invalid(
				"signing_keys",
				"write it once",
				"person %q has the key %s twice",
				person.Name,
				ssh.FingerprintSHA256(key),
			)
		}
		return jit.Invalid(
			"signing_keys",
			"a key belongs to one person",
			"%q and %q have the same key, %s",
			other.Name,
			person.Name,
			ssh.FingerprintSHA256(key),
		)
	}
	p.byKey[id] = person
	return nil
}

// Named returns the person of that name, however its letters are written.
func (p *People) Named(name string) (jit.Person, bool) {
	person, ok := p.byName[jit.FoldName(name)]
	return person, ok
}

// From returns the people that a list of names and groups means, by name, and the entries that mean nobody.
func (p *People) From(list []string) (people []jit.Person, unknown []string) {
	for _, entry := range list {
		if !slices.ContainsFunc(p.all, func(person jit.Person) bool { return person.In([]string{entry}) }) {
			unknown = append(unknown, entry)
		}
	}
	for _, person := range p.all {
		if person.In(list) {
			people = append(people, person)
		}
	}
	slices.SortFunc(people, func(a, b jit.Person) int { return strings.Compare(a.Name, b.Name) })
	return people, unknown
}

// Authenticate checks a signed statement: its text equals that of one of the request's forms, the signature matches,
// and the key belongs to the approver today. The forms are the request in canonical names and in the configuration's
// spelling. The text of a recorded statement was compared when it was recorded; its digest binds it to the request.
func (p *People) Authenticate(s Signed, forms ...[]jit.Field) (jit.Vote, error) {
	if err := s.Check(); err != nil {
		return jit.Vote{}, err
	}
	reads := func(form []jit.Field) bool { return string(s.Statement.Text(form)) == string(s.Text) }
	if !s.Recorded && !slices.ContainsFunc(forms, reads) {
		return jit.Vote{}, errors.New("the text is not about this request as it stands")
	}
	key, err := Verify(s.Text, s.Signature)
	if err != nil {
		return jit.Vote{}, err
	}
	owner, known := p.byKey[string(key.Marshal())]
	switch {
	case !known:
		return jit.Vote{}, fmt.Errorf("the key %s belongs to nobody", ssh.FingerprintSHA256(key))
	case !jit.SameName(owner.Name, s.Approver):
		return jit.Vote{}, fmt.Errorf(
			"the key %s belongs to %s, not to %s",
			ssh.FingerprintSHA256(key),
			owner.Name,
			s.Approver,
		)
	}
	return jit.Vote{
		Person:   owner.Name,
		Choice:   s.Choice,
		Evidence: jit.Signature,
		At:       s.SignedAt,
		NotAfter: s.NotAfter,
		Source:   s.Source,
	}, nil
}

// Owner returns the name of the key's owner; empty if nobody has the key.
func (p *People) Owner(key ssh.PublicKey) string { return p.byKey[string(key.Marshal())].Name }

// ByLogin returns the person who has that login name on a forge.
func (p *People) ByLogin(forge, login string) (jit.Person, bool) {
	i := slices.IndexFunc(p.all, func(person jit.Person) bool { return isAccount(person, forge, login) })
	if i < 0 {
		return jit.Person{}, false
	}
	return p.all[i], true
}
