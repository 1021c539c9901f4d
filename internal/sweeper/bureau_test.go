package sweeper_test

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/jitaccess/terraform-provider-jit/internal/approval"
	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
)

// bureau is a world with a ledger in SQLite, a target whose reads lag, and grants that need the approval of leads: lea
// and leo. Bob is the principal, and mallory no lead.
type bureau struct {
	*world
	path string
	dir  string
	keys map[string]ssh.Signer
}

// lagging is a platform that returns a scope as it was at the read before.
type lagging struct {
	*jittest.Platform
	mu   sync.Mutex
	last map[string]jit.Snapshot
}

func (p *lagging) Read(ctx context.Context, scope string) (jit.Snapshot, error) {
	now, err := p.Platform.Read(ctx, scope)
	if err != nil {
		return now, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	shown, before := p.last[scope]
	if p.last[scope] = now; !before {
		return now, nil
	}
	shown.Clock = now.Clock
	return shown, nil
}

// prod is the policy of a bureau.
func prod(required int) jit.Policy {
	return jit.Policy{
		Name: "prod", Effect: jit.Permit, Match: jit.Matches{{Targets: []string{"d*"}}},
		Approval: []jit.Requirement{{
			Required: required, From: []string{"group:leads"}, Evidence: []jit.Evidence{jit.Signature, jit.PullRequest},
		}},
		BreakGlass: &jit.BreakGlass{From: []string{"bob"}},
	}
}

func newBureau(t *testing.T, policies ...jit.Policy) *bureau {
	t.Helper()
	b := &bureau{world: newWorld(t, jit.Sweeper), dir: t.TempDir(), keys: map[string]ssh.Signer{}}
	b.path = filepath.Join(t.TempDir(), "ledger.db")
	b.open()
	b.broker.Targets["db"] = &lagging{Platform: b.platform, last: map[string]jit.Snapshot{}}
	for _, p := range []jit.Person{
		{Name: "lea", Groups: []string{"group:leads"}, GitHub: "lea-gh"},
		{Name: "leo", Groups: []string{"group:leads"}},
		{Name: "bob", Groups: []string{"group:leads"}, Principals: []string{"bob"}}, {Name: "mallory"},
	} {
		b.keys[p.Name] = newKey(t)
		b.person(p)
	}
	for _, p := range policies {
		if err := b.broker.PutPolicy(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	b.now = b.now.Add(3 * time.Hour) // long after the first run
	return b
}

func newKey(t *testing.T) ssh.Signer {
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

// person records a person with their key.
func (b *bureau) person(p jit.Person) {
	b.t.Helper()
	p.SigningKeys = []string{strings.TrimSpace(string(ssh.MarshalAuthorizedKey(b.keys[p.Name].PublicKey())))}
	if err := b.broker.PutPerson(b.t.Context(), p); err != nil {
		b.t.Fatal(err)
	}
}

// ledgerID returns the id of the ledger.
func (b *bureau) ledgerID() string {
	b.t.Helper()
	id, err := b.broker.Ledger.ID(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	return id
}

// statement returns what somebody says about a grant, signed with the key of signer.
func (b *bureau) statement(approver, signer string, g jit.Grant) approval.Signed {
	b.t.Helper()
	s := approval.Statement{
		Choice: jit.Approve, Approver: approver, Digest: g.RequestDigest(b.ledgerID()),
		SignedAt: jit.Second(b.now), NotAfter: jit.Second(b.now).Add(24 * time.Hour),
	}
	text := s.Text(g.RequestFields())
	armored, err := approval.Sign(text, b.keys[signer])
	if err != nil {
		b.t.Fatal(err)
	}
	return approval.Signed{Statement: s, Text: text, Signature: armored, Source: "by hand"}
}

// asked returns the grant that a request asks for.
func (b *bureau) asked(r broker.Request) jit.Grant {
	b.t.Helper()
	g, _, err := b.broker.Check(r)
	if err != nil {
		b.t.Fatal(err)
	}
	return g
}

// approve puts the approval of somebody into the folder.
func (b *bureau) approve(approver string, r broker.Request) {
	b.t.Helper()
	s := b.statement(approver, approver, b.asked(r))
	path := filepath.Join(b.dir, approval.FileName(s.Statement))
	if err := os.WriteFile(path, approval.Join(s.Text, s.Signature), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// run is a run of Terraform.
func (b *bureau) run() *broker.Broker {
	r := &broker.Broker{
		Ledger: b.broker.Ledger, Targets: b.broker.Targets, Owner: b.broker.Owner, MaxTTL: b.broker.MaxTTL,
		Actor: b.broker.Actor, Now: b.broker.Now, Run: rand.Text(),
	}
	r.Approvals.Dir = b.dir
	return r
}

// granted returns a grant that the people have approved.
func (b *bureau) granted(r broker.Request, approvers ...string) jit.Grant {
	b.t.Helper()
	for _, name := range approvers {
		b.approve(name, r)
	}
	g, err := b.run().Grant(b.t.Context(), r)
	if err != nil {
		b.t.Fatal(err)
	}
	b.now = b.now.Add(time.Minute)
	return g
}

// open opens the ledger with no memory of its head.
func (b *bureau) open() {
	b.t.Helper()
	_ = os.Remove(b.path + ".head")
	l, err := ledger.Open(b.t.Context(), ledger.Config{URL: "sqlite://" + b.path})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = l.Close() })
	b.broker.Ledger = l
}

// forge rewrites the events, as somebody with the password of the database does who also makes the chain anew. Nobody
// remembers the head.
func (b *bureau) forge(edit func(jit.Event) []jit.Event) {
	b.t.Helper()
	var events []jit.Event
	for e, err := range jit.AllEvents(b.t.Context(), b.broker.Ledger) {
		if err != nil {
			b.t.Fatal(err)
		}
		events = append(events, edit(e)...)
	}
	db, err := sql.Open("sqlite", b.path)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	run := func(query string, args ...any) {
		b.t.Helper()
		if _, err := db.ExecContext(b.t.Context(), query, args...); err != nil {
			b.t.Fatal(err)
		}
	}
	run("DELETE FROM jit_log")
	run("UPDATE jit_chains SET head_seq = 0, head_hash = $1 || '/' || chain", b.ledgerID())
	last := map[string]jit.Event{}
	for _, e := range events {
		e.Seq, e.Prev = last[e.Chain].Seq+1, cmp.Or(last[e.Chain].Hash, jit.Genesis(b.ledgerID(), e.Chain))
		e.After = 0
		if e.Chain != jit.AllChain {
			e.After = last[jit.AllChain].Seq
		}
		e.Hash = e.Sum()
		var detail []byte
		if len(e.Detail) > 0 {
			if detail, err = json.Marshal(e.Detail); err != nil {
				b.t.Fatal(err)
			}
		}
		run("INSERT INTO jit_log VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
			e.Chain, e.Seq, e.At.UnixMicro(), string(e.Kind), string(e.Grant), e.Policy, e.Name, e.Change,
			string(e.Source), string(detail), e.After, e.Prev, e.Hash)
		last[e.Chain] = e
	}
	for chain, e := range last {
		run("UPDATE jit_chains SET head_seq = $1, head_hash = $2 WHERE chain = $3", e.Seq, e.Hash, chain)
	}
	b.open()
	report, err := b.broker.Ledger.(*ledger.Ledger).Verify(b.t.Context())
	if err != nil || len(report.Damage) > 0 {
		b.t.Fatalf("the chain is not whole: %v, %v", report.Damage, err)
	}
}

// drop forges the events away that it is true of.
func drop(which func(jit.Event) bool) func(jit.Event) []jit.Event {
	return func(e jit.Event) []jit.Event {
		if which(e) {
			return nil
		}
		return []jit.Event{e}
	}
}

// detail forges details of all events of a kind.
func detail(kind jit.EventKind, change func(map[string]string)) func(jit.Event) []jit.Event {
	return func(e jit.Event) []jit.Event {
		if e.Kind == kind {
			change(e.Detail)
		}
		return []jit.Event{e}
	}
}

// counted counts reads of a ledger, and fails them while an error is set.
type counted struct {
	jit.Ledger
	mu            sync.Mutex
	rules, events int
	failRules     error
	failEvents    error
}

func (c *counted) Rules(ctx context.Context, first int64) iter.Seq2[jit.Event, error] {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rules++
	return failing(c.failRules, c.Ledger.Rules(ctx, first))
}

func (c *counted) EventsOf(ctx context.Context, ids []jit.ID) iter.Seq2[jit.Event, error] {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events++
	return failing(c.failEvents, c.Ledger.EventsOf(ctx, ids))
}

func failing(err error, events iter.Seq2[jit.Event, error]) iter.Seq2[jit.Event, error] {
	if err == nil {
		return events
	}
	return func(yield func(jit.Event, error) bool) { yield(jit.Event{}, err) }
}
