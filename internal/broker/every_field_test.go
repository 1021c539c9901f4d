package broker_test

import (
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// TestEveryFieldIsSigned: whatever is asked otherwise than it was signed is another request.
func TestEveryFieldIsSigned(t *testing.T) {
	end := func(r *broker.Request) {
		r.TTL, r.ExpiresAt = jit.TTL{}, time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC)
	}
	for name, c := range map[string]struct{ signed, asked func(*broker.Request) }{
		"target":             {nil, func(r *broker.Request) { r.Binding.Target = "replica" }},
		"principal":          {nil, func(r *broker.Request) { r.Binding.Principal = "carol" }},
		"role":               {nil, func(r *broker.Request) { r.Binding.Role = "writer" }},
		"scope":              {nil, func(r *broker.Request) { r.Binding.Scope = "some" }},
		"reason":             {nil, func(r *broker.Request) { r.Reason = "INC-2: look" }},
		"renewal":            {nil, func(r *broker.Request) { r.Renewal = 2 }},
		"ttl":                {nil, func(r *broker.Request) { r.TTL = jit.RecordedTTL("1h") }},
		"ttl and expires_at": {nil, end},
		"expires_at":         {end, func(r *broker.Request) { end(r); r.ExpiresAt = r.ExpiresAt.Add(time.Hour) }},
		"starts_at":          {nil, func(r *broker.Request) { r.StartsAt = time.Date(2026, 11, 23, 17, 0, 0, 0, time.UTC) }},
		"start_by":           {nil, func(r *broker.Request) { r.StartBy = time.Date(2026, 11, 23, 17, 0, 0, 0, time.UTC) }},
		"terminate_sessions": {nil, func(r *broker.Request) { r.TerminateSessions = true }},
		"break_glass":        {func(r *broker.Request) { r.BreakGlass = true }, nil},
		"requester":          {nil, func(r *broker.Request) { r.Requester = "eve" }},
		"owner":              {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t)
			o.Targets["replica"] = o.platform
			with := func(change func(*broker.Request)) broker.Request {
				if change == nil {
					return request()
				}
				return request(change)
			}
			o.signs("lea", with(c.signed))
			if name == "owner" {
				o.Owner = "others"
			}
			o.refused(with(c.asked), "lea, leo")
			if o.Owner = "jit"; name != "break_glass" { // which needs no approval
				o.grant(with(c.signed))
			}
		})
	}
}
