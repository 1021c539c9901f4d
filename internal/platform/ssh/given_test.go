package ssh

import (
	"slices"
	"testing"
)

func TestForwardNames(t *testing.T) {
	local := []string{"port-forward:localhost:80", "port-forward:127.0.0.1:80", "port-forward:[::1]:80"}
	for destination, want := range map[string]struct {
		name   string
		covers []string
	}{
		"db.internal:5432":       {"port-forward:db.internal:5432", nil},
		"DB.internal:80":         {"port-forward:db.internal:80", nil},
		"1.2.3.4.5:80":           {"port-forward:1.2.3.4.5:80", nil},
		"256.1:80":               {"port-forward:256.1:80", nil},
		"10.0x0.01:80":           {"port-forward:10.0.0.1:80", nil},
		"127.1:80":               {"port-forward:127.0.0.1:80", local},
		"0:80":                   {"port-forward:0.0.0.0:80", local},
		"2130706433:80":          {"port-forward:127.0.0.1:80", local},
		"[::ffff:127.0.0.1]:80":  {"port-forward:127.0.0.1:80", local},
		"localhost:80":           {"port-forward:localhost:80", local},
		"app.localhost:80":       {"port-forward:app.localhost:80", local},
		"notlocalhost:80":        {"port-forward:notlocalhost:80", nil},
		"127.0.0.1.internal:443": {"port-forward:127.0.0.1.internal:443", nil},
	} {
		got := forwardNames(destination)
		if got.Name != want.name || !slices.Equal(got.Covers, want.covers) {
			t.Errorf("%s has the name %q and covers %q, want %q and %q",
				destination, got.Name, got.Covers, want.name, want.covers)
		}
	}
}
