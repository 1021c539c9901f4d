package approval_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/jitaccess/terraform-provider-jit/internal/approval"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const ledgerID = "0b1c3f8e-0000-4000-8000-000000000001"

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// grant is a request that sets every field.
func grant() jit.Grant {
	ttl, err := jit.ParseTTL("2h")
	if err != nil {
		panic(err) // a constant
	}
	return jit.Grant{
		Owner:   "payments",
		Binding: jit.Binding{Target: "payments-db", Principal: "alice", Role: "payments_read", Scope: "cluster"},
		Reason:  "INC-4211: fail over", Renewal: 1, TTL: ttl, Terms: jit.Terms{StartBy: noon.Add(time.Hour)},
	}
}

// statement approves grant for a day.
func statement(g jit.Grant, approver string) approval.Statement {
	return approval.Statement{
		Choice: jit.Approve, Approver: approver, SignedAt: noon, NotAfter: noon.Add(24 * time.Hour), Digest: g.RequestDigest(ledgerID),
	}
}

func newSigner(t testing.TB) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func line(key ssh.PublicKey) string { return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))) }

// sign writes the file of a statement about g and reads it back.
func sign(t testing.TB, s approval.Statement, g jit.Grant, signer ssh.Signer) approval.Signed {
	t.Helper()
	text := s.Text(g.RequestFields())
	armored, err := approval.Sign(text, signer)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := approval.Split(approval.Join(text, armored), "a.approval")
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func people(t testing.TB, persons ...jit.Person) *approval.People {
	t.Helper()
	p, err := approval.NewPeople(persons)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAuthenticate(t *testing.T) {
	signer := newSigner(t)
	p := people(t, jit.Person{Name: "bob@example.com", SigningKeys: []string{line(signer.PublicKey())}})
	g := grant()
	vote, err := p.Authenticate(sign(t, statement(g, "bob@example.com"), g, signer), g.RequestFields())
	if err != nil {
		t.Fatal(err)
	}
	want := jit.Vote{
		Person:   "bob@example.com",
		Choice:   jit.Approve,
		Evidence: jit.Signature,
		At:       noon,
		NotAfter: noon.Add(24 * time.Hour),
		Source:   "a.approval",
	}
	if vote != want {
		t.Errorf("got %+v, want %+v", vote, want)
	}
}

// TestAnyFieldChangedAfterSigning changes each field of the request after it was signed, by itself.
func TestAnyFieldChangedAfterSigning(t *testing.T) {
	signer := newSigner(t)
	p := people(t, jit.Person{Name: "bob@example.com", SigningKeys: []string{line(signer.PublicKey())}})
	signed := sign(t, statement(grant(), "bob@example.com"), grant(), signer)
	longer, err := jit.ParseTTL("3h")
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*jit.Grant){
		"target":             func(g *jit.Grant) { g.Target = "other-db" },
		"principal":          func(g *jit.Grant) { g.Principal = "mallory" },
		"role":               func(g *jit.Grant) { g.Role = "payments_write" },
		"scope":              func(g *jit.Grant) { g.Scope = "database/x" },
		"reason":             func(g *jit.Grant) { g.Reason = "INC-4212: fail over" },
		"renewal":            func(g *jit.Grant) { g.Renewal = 2 },
		"ttl":                func(g *jit.Grant) { g.TTL = longer },
		"expires_at":         func(g *jit.Grant) { g.TTL, g.End = jit.TTL{}, noon.Add(2*time.Hour) },
		"start_by":           func(g *jit.Grant) { g.StartBy = noon.Add(2 * time.Hour) },
		"start_by taken out": func(g *jit.Grant) { g.StartBy = time.Time{} },
		"terminate_sessions": func(g *jit.Grant) { g.TerminateSessions = true },
		"break_glass":        func(g *jit.Grant) { g.BreakGlass = true },
		"requester":          func(g *jit.Grant) { g.Requester = "carol@example.com" },
		"starts_at": func(g *jit.Grant) {
			g.Start = noon.Add(time.Minute)
			g.StartAsked = jit.FormatTime(g.Start)
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := grant()
			change(&g)
			if g.RequestDigest(ledgerID) == grant().RequestDigest(ledgerID) {
				t.Error("the digest is the same")
			}
			if vote, err := p.Authenticate(signed, g.RequestFields()); err == nil {
				t.Errorf("the approval counts: %+v", vote)
			}
		})
	}
	for name, digest := range map[string]string{
		"ledger": grant().RequestDigest("0b1c3f8e-0000-4000-8000-000000000002"),
		"owner":  func() string { g := grant(); g.Owner = "others"; return g.RequestDigest(ledgerID) }(),
	} {
		if digest == signed.Digest {
			t.Errorf("the digest is the same with another %s", name)
		}
	}
}

// TestForgeries tries statements that must not count.
func TestForgeries(t *testing.T) {
	bob, mallory := newSigner(t), newSigner(t)
	p := people(t,
		jit.Person{Name: "bob@example.com", SigningKeys: []string{line(bob.PublicKey())}},
		jit.Person{Name: "mallory@example.com", SigningKeys: []string{line(mallory.PublicKey())}})
	g := grant()
	s := statement(g, "bob@example.com")
	good := sign(t, s, g, bob)
	edited := good
	edited.NotAfter = edited.NotAfter.Add(time.Hour)
	edited.Text = edited.Statement.Text(g.RequestFields())
	unread := good
	unread.NotAfter = unread.NotAfter.Add(time.Hour)
	twice := good
	twice.Signature = append(append([]byte{}, good.Signature...), good.Signature...)
	none := good
	none.Signature = nil
	forever := s
	forever.NotAfter = s.SignedAt.Add(2 * approval.MaxValidity)
	for name, c := range map[string]struct {
		signed approval.Signed
		want   string
	}{
		"signed by somebody else":         {sign(t, s, g, mallory), "belongs to mallory@example.com, not to bob@example.com"},
		"signed by a key of nobody":       {sign(t, s, g, newSigner(t)), "belongs to nobody"},
		"text edited after signing":       {edited, "does not match the text"},
		"statement differs from its text": {unread, "not about this request"},
		"two signatures":                  {twice, "more than one"},
		"no signature":                    {none, "no SSH signature"},
		"valid for years":                 {approval.Signed{Statement: forever}, "at most"},
	} {
		t.Run(name, func(t *testing.T) {
			vote, err := p.Authenticate(c.signed, g.RequestFields())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %+v, %v; want an error with %q", vote, err, c.want)
			}
		})
	}
}

func TestParseStaysOnItsLine(t *testing.T) {
	g := grant()
	g.Principal = "alice\u202e\\u{202e} "
	s := statement(g, "bob@example.com")
	s.Comment = "fine, until Friday"
	text := s.Text(g.RequestFields())
	if got, want := strings.Count(string(text), "\n"), 1+6+len(g.RequestFields()); got != want {
		t.Errorf("%d lines, want %d:\n%s", got, want, text)
	}
	if strings.ContainsRune(string(text), '\u202e') {
		t.Errorf("the text turns around:\n%s", text)
	}
	got, err := approval.Parse(text)
	if err != nil || got != s {
		t.Errorf("got %+v, %v; want %+v", got, err, s)
	}
	for _, comment := range []string{"a\nb", "two  spaces", "end ", "\u200bx", `\u{41}`} {
		s.Comment = comment
		if err := s.Check(); err == nil {
			t.Errorf("the comment %q is accepted", comment)
		}
	}
}

func FuzzParse(f *testing.F) {
	g := grant()
	f.Add(string(statement(g, "bob@example.com").Text(g.RequestFields())))
	f.Add("jit approval 1\ndecision: deny\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := approval.Parse([]byte(text))
		if err != nil {
			return
		}
		again, err := approval.Parse(s.Text(g.RequestFields()))
		if err != nil || again != s {
			t.Errorf("%q reads as %+v, and written again as %+v, %v", text, s, again, err)
		}
	})
}

func TestKeysThatDoNotCount(t *testing.T) {
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	public, err := ssh.NewPublicKey(&short.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	ca, user := newSigner(t), newSigner(t)
	certificate := &ssh.Certificate{Key: user.PublicKey(), CertType: ssh.UserCert, ValidBefore: ssh.CertTimeInfinity}
	if err := certificate.SignCert(rand.Reader, ca); err != nil {
		t.Fatal(err)
	}
	good := line(user.PublicKey())
	for name, c := range map[string]struct{ line, want string }{
		"empty":         {"", "not an SSH public key"},
		"not a key":     {"ssh-ed25519 AAAA", "not an SSH public key"},
		"two":           {good + "\n" + good, "more than one line"},
		"options":       {"no-pty " + good, "options"},
		"short RSA":     {line(public), "1024 bits"},
		"certificate":   {line(certificate), "not accepted"},
		"a private key": {"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk\n", "private key"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := approval.ParseKey(c.line)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "b3BlbnNz") {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	if _, err := approval.ParseKey(good + " bob@laptop"); err != nil {
		t.Error(err)
	}
}

func TestPeopleWhoCannotBe(t *testing.T) {
	a, b := line(newSigner(t).PublicKey()), line(newSigner(t).PublicKey())
	for name, c := range map[string]struct {
		persons []jit.Person
		want    string
	}{
		"a name in two spellings": {[]jit.Person{{Name: "bob@example.com"}, {Name: "Bob@Example.com"}}, "one name"},
		"two people with one key": {[]jit.Person{{Name: "bob", SigningKeys: []string{a}}, {Name: "eve", SigningKeys: []string{b, a + " eve@laptop"}}}, "the same key"},
		"a key twice":             {[]jit.Person{{Name: "bob", SigningKeys: []string{a, a}}}, "twice"},
		"one account":             {[]jit.Person{{Name: "bob", GitHub: "b"}, {Name: "eve", GitHub: "B"}}, "the same login name"},
		"a bad key":               {[]jit.Person{{Name: "bob", SigningKeys: []string{"x"}}}, "not an SSH public key"},
		"a person like a group":   {[]jit.Person{{Name: "group:x"}}, "groups begin with"},
		"a group like a person":   {[]jit.Person{{Name: "bob", Groups: []string{"leads"}}}, "groups begin with"},
		"a hidden character":      {[]jit.Person{{Name: "bo\u200bb"}}, "nobody sees"},
		"a login with a sign":     {[]jit.Person{{Name: "bob", GitHub: "@bob"}}, "not a login name"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := approval.NewPeople(c.persons); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	if _, err := approval.NewPeople([]jit.Person{{Name: "bob"}, {Name: "eve"}}); err != nil {
		t.Errorf("two people without accounts: %v", err)
	}
}
