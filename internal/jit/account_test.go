package jit

import (
	"reflect"
	"testing"
	"time"
)

var noonUTC = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func recordedGrant() Grant {
	return Grant{
		ID: "3f2b8c1e-0000-8000-8000-00000000abcd", Owner: "payments", Binding: Binding{"db", "alice", "reader", "all"},
		Reason: "INC-1: look", Renewal: 1,
		TTL: RecordedTTL("1h"), Window: Window{noonUTC, noonUTC.Add(time.Hour)}, Enforcement: Native,
		RequestedAt: noonUTC, Holder: 1,
	}
}

// alter sets one field of a grant or policy to another value.
func alter(t *testing.T, v reflect.Value) {
	t.Helper()
	switch x := v.Addr().Interface().(type) {
	case *time.Time:
		*x = x.Add(1234567 * time.Microsecond)
	case *Window:
		x.End = x.End.Add(10 * 365 * 24 * time.Hour)
	case *Binding:
		x.Principal += "2"
	case *TTL:
		*x = RecordedTTL("9h")
	default:
		switch v.Kind() {
		case reflect.String:
			v.SetString(v.String() + "x")
		case reflect.Int64:
			v.SetInt(v.Int() + int64(time.Second))
		case reflect.Bool:
			v.SetBool(!v.Bool())
		default:
			t.Fatalf("no way to alter a %s", v.Type())
		}
	}
}

// Every field of a record has a fact: what is changed behind the events' back shows, and what is changed with an event
// does not.
func TestAnAccountKnowsEveryField(t *testing.T) {
	made := Rewrite(Grant{}, recordedGrant(), Event{Kind: EventAdopted, Grant: recordedGrant().ID})
	for _, field := range reflect.VisibleFields(reflect.TypeFor[Grant]()) {
		name := field.Name
		parent := reflect.TypeFor[Grant]().Field(field.Index[0]).Name
		if name == "ID" || name == "Version" || name == "Terms" || len(field.Index) > 1 && parent != "Terms" {
			continue // the key, the ledger's count, and the parts of Binding and Window
		}
		t.Run(name, func(t *testing.T) {
			var told Account
			told.Add(made.Events[0])
			was := recordedGrant()
			was.Version = 1
			if wrong := told.Contradictions(was); len(wrong) > 0 || !told.Whole() {
				t.Fatalf("as it was made: %v", wrong)
			}
			is := was
			alter(t, reflect.ValueOf(&is).Elem().FieldByIndex(field.Index))
			if wrong := told.Contradictions(is); len(wrong) != 1 {
				t.Errorf("altered: %v", wrong)
			}
			told.Add(Rewrite(was, is, Event{Kind: EventChanged, Grant: was.ID}).Events[0])
			if wrong := told.Contradictions(is); len(wrong) > 0 {
				t.Errorf("changed with an event: %v", wrong)
			}
			if wrong := told.Contradictions(was); len(wrong) != 1 {
				t.Errorf("set back: %v", wrong)
			}
			told.Add(Rewrite(is, was, Event{Kind: EventChanged, Grant: was.ID}).Events[0]) // also to nothing
			if wrong := told.Contradictions(was); len(wrong) > 0 {
				t.Errorf("changed back with an event: %v", wrong)
			}
		})
	}
}

// An event repeats what its record says for people; that is not what the record is rebuilt from, or a forged end would
// be believed as soon as any event tells it.
func TestAnAccountDoesNotBelieveWhatAnEventRepeats(t *testing.T) {
	var told Account
	g := recordedGrant()
	told.Add(Rewrite(Grant{}, g, Event{Kind: EventAdopted, Grant: g.ID}).Events[0])
	g.Version = 1
	forged := g
	forged.End = g.End.AddDate(10, 0, 0)
	confirmed := forged
	confirmed.GrantedAt = noonUTC
	told.Add(Rewrite(forged, confirmed, Event{Kind: EventGranted, Grant: g.ID,
		Detail: map[string]string{"expires_at": FormatTime(forged.End)}}).Events[0])
	if wrong := told.Contradictions(confirmed); len(wrong) != 1 || wrong[0].Fact != "expires_at" ||
		!told.End().Equal(g.End) {
		t.Errorf("it ends at %s, and %v", told.End(), wrong)
	}
}

// The events of older programs name some facts; the others are not compared.
func TestAnAccountOfOlderEvents(t *testing.T) {
	g := recordedGrant()
	g.Policy, g.GrantedAt, g.RevokedAt, g.RevokedBy, g.RevokeReason, g.EndedAt = "oncall", noonUTC,
		noonUTC.Add(time.Minute), "bob", "done", noonUTC.Add(time.Minute)
	window := map[string]string{"starts_at": FormatTime(g.Start), "expires_at": FormatTime(g.End)}
	var told Account
	for _, e := range []Event{
		{Kind: EventRequested, Policy: "oncall", Detail: map[string]string{"owner": "payments", "target": "db",
			"principal": "alice", "role": "reader", "scope": "all",
			"reason": "INC-1: look", "renewal": "1", "ttl": "1h", "starts_at": FormatTime(g.Start),
			"expires_at": FormatTime(g.End)}},
		{Kind: EventDecided}, {Kind: EventGranted, Detail: window},
		{Kind: EventRevokeAsked, Actor: Actor{Name: "bob"}, Detail: map[string]string{"reason": "done"}},
		{Kind: EventRevoked, Detail: window},
	} {
		told.Add(e)
	}
	if wrong := told.Contradictions(g); len(wrong) > 0 || told.Whole() || told.Empty() {
		t.Errorf("%v", wrong)
	}
	g.Principal, g.RevokedBy, g.EndedAt, g.SessionTail = "mallory", "carol", time.Time{}, time.Hour
	wrong := told.Contradictions(g)
	if len(wrong) != 3 || wrong[0].String() != `principal is "mallory" and the events say "alice"` {
		t.Errorf("altered: %v", wrong)
	}
}

func TestPolicyFactsTellEveryField(t *testing.T) {
	none := time.Duration(0)
	full := Policy{Name: "a", Description: "d", Effect: Forbid, Match: Matches{{Targets: []string{"prod"}}},
		MaxTTL: time.Hour, ReasonPattern: "x", MaxSessionTail: &none, Condition: "true", Holder: 1}
	for i := range reflect.TypeFor[Policy]().NumField() {
		name := reflect.TypeFor[Policy]().Field(i).Name
		altered := full
		switch name {
		case "Name":
			continue
		case "Approval":
			altered.Approval = []Requirement{{Required: 1}}
		case "BreakGlass":
			altered.BreakGlass = &BreakGlass{}
		case "Match":
			altered.Match = Matches{{Targets: []string{"prod"}, Roles: []string{"*"}}}
		case "MaxSessionTail":
			altered.MaxSessionTail = nil
		default:
			alter(t, reflect.ValueOf(&altered).Elem().Field(i))
		}
		if wrong := full.Contradictions(full.Facts()); len(wrong) > 0 {
			t.Fatal(wrong)
		}
		if wrong := altered.Contradictions(full.Facts()); len(wrong) != 1 {
			t.Errorf("%s altered: %v", name, wrong)
		}
	}
	older := full.Facts()
	delete(older, recordPrefix+"holder")
	older["match"] = `{"targets": ["prod"]}`
	if wrong := full.Contradictions(older); len(wrong) > 0 {
		t.Errorf("an older event: %v", wrong)
	}
}
