package jit

import (
	"fmt"
	"time"
)

// CloudEvent is an event of the record in the form of CloudEvents 1.0, for JSON in structured mode
// (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md).
type CloudEvent struct {
	SpecVersion string `json:"specversion"`
	// ID is the chain, the sequence number and the beginning of the hash; without the chain if an older program recorded
	// the event, so that its id never changes. With Source it identifies the event for ever, so that
	// repeats can be detected: a restored ledger gives its numbers again, to other events.
	ID string `json:"id"`
	// Source names the ledger.
	Source string `json:"source"`
	// Type is [CloudEventPrefix] and the kind of the event.
	Type string `json:"type"`
	// Subject is the id of the grant, or "policy/" and the name of the policy; empty where there is neither.
	Subject         string `json:"subject,omitempty"`
	Time            string `json:"time"`
	DataContentType string `json:"datacontenttype"`
	// Data is the event as the record has it.
	Data any `json:"data"`
}

// CloudEventPrefix begins the type of every event.
const CloudEventPrefix = "io.github.jitaccess."

// CloudEventMIME is the content type of one event in JSON.
const CloudEventMIME = "application/cloudevents+json"

// UID returns a name of the event that no other event of the ledger ever has.
func (e Event) UID() string {
	if e.Chain == "" {
		return fmt.Sprintf("%d-%.12s", e.Seq, e.Hash)
	}
	return fmt.Sprintf("%s/%d-%.12s", e.Chain, e.Seq, e.Hash)
}

// CloudEvent returns the event in the form of CloudEvents; ledger is the id of the ledger that holds it.
func (e Event) CloudEvent(ledger string) CloudEvent {
	subject := string(e.Grant)
	if subject == "" && e.Policy != "" {
		subject = "policy/" + e.Policy
	}
	return CloudEvent{
		SpecVersion: "1.0", ID: e.UID(), Source: "urn:uuid:" + ledger,
		Type: CloudEventPrefix + string(e.Kind), Subject: subject, Time: e.At.UTC().Format(time.RFC3339Nano),
		DataContentType: "application/json", Data: e,
	}
}
