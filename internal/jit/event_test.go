package jit

import (
	"crypto/sha256"
	"encoding/hex"
	"reflect"
	"testing"
	"time"
)

func sampleEvent() Event {
	return Event{
		Seq: 7, At: time.Date(2026, 11, 23, 18, 0, 0, 123456000, time.UTC), Kind: EventGranted,
		Grant:  "3f2b8c1e-0000-8000-8000-00000000abcd",
		Policy: "prod-oncall", Actor: Actor{Name: "alice", Change: "commit abc", Source: FromTerraform},
		Detail: map[string]string{"b": "2", "a": "1"}, Prev: "00ff", Hash: "",
	}
}

func TestSumIsStable(t *testing.T) {
	text := `{"seq":7,"at":"2026-11-23T18:00:00.123456Z","kind":"granted","grant":"3f2b8c1e-0000-8000-8000-00000000abcd","policy":"prod-oncall",` +
		`"actor":"alice","change":"commit abc","source":"terraform","detail":{"a":"1","b":"2"},"prev":"00ff","hash":""}`
	want := sha256.Sum256([]byte(text))
	if got := sampleEvent().Sum(); got != hex.EncodeToString(want[:]) {
		t.Errorf("Sum = %s, want the hash of %s", got, text)
	}
}

func TestSumIsSensitive(t *testing.T) {
	changes := map[string]func(*Event){
		"Chain": func(e *Event) { e.Chain = AllChain }, "After": func(e *Event) { e.After = 1 },
		"Seq": func(e *Event) { e.Seq++ }, "At": func(e *Event) { e.At = e.At.Add(time.Microsecond) },
		"Kind":  func(e *Event) { e.Kind = EventRevoked },
		"Grant": func(e *Event) { e.Grant = "" }, "Policy": func(e *Event) { e.Policy = "x" },
		"Prev": func(e *Event) { e.Prev = "00fe" },
		"Name": func(e *Event) { e.Name = "bob" }, "Change": func(e *Event) { e.Change = "" },
		"Source":            func(e *Event) { e.Source = FromCLI },
		"Detail":            func(e *Event) { e.Detail = nil },
		"a value of Detail": func(e *Event) { e.Detail["a"] = "3" },
		"a key of Detail":   func(e *Event) { delete(e.Detail, "a"); e.Detail["c"] = "1" },
		"values swapped":    func(e *Event) { e.Detail["a"], e.Detail["b"] = "2", "1" },
		"text moved":        func(e *Event) { e.Name, e.Change = "alicecommit", " abc" },
	}
	seen := map[string]string{sampleEvent().Sum(): "nothing"}
	for name, change := range changes {
		e := sampleEvent()
		change(&e)
		if other, ok := seen[e.Sum()]; ok {
			t.Errorf("changing %s and %s gives the same sum", name, other)
		}
		seen[e.Sum()] = name
	}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[Event]()) {
		if _, ok := changes[field.Name]; !ok && !field.Anonymous && field.Name != "Hash" {
			t.Errorf("no test changes %s", field.Name)
		}
	}
}

func TestSumIgnoresWhatIsNoFact(t *testing.T) {
	for name, change := range map[string]func(*Event){
		"the hash itself":       func(e *Event) { e.Hash = "ab" },
		"the time zone":         func(e *Event) { e.At = e.At.In(time.FixedZone("CET", 3600)) },
		"below a microsecond":   func(e *Event) { e.At = e.At.Add(999 * time.Nanosecond) },
		"the order of the keys": func(e *Event) { e.Detail = map[string]string{"a": "1", "b": "2"} },
	} {
		e := sampleEvent()
		change(&e)
		if e.Sum() != sampleEvent().Sum() {
			t.Errorf("%s changes the sum", name)
		}
	}
	empty, none := sampleEvent(), sampleEvent()
	empty.Detail, none.Detail = map[string]string{}, nil
	if empty.Sum() != none.Sum() {
		t.Error("no detail and an empty one differ")
	}
}
