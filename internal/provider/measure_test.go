package provider

import (
	"bytes"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/vmihailenco/msgpack/v5"
)

func TestLengthInSeconds(t *testing.T) {
	t.Parallel()
	const start, end = "2026-11-23T09:00:00Z", "2026-11-23T10:30:00+01:00"
	unknown, null := types.StringUnknown(), types.StringNull()
	text := types.StringValue
	for name, c := range map[string]struct {
		ttl, starts, expires types.String
		want                 types.Int64
	}{
		"ttl":                         {text("1d12h"), null, null, types.Int64Value(129600)},
		"ttl beside its end":          {text("90m"), text(start), text(end), types.Int64Value(5400)},
		"ttl beside an unknown end":   {text("90m"), null, unknown, types.Int64Value(5400)},
		"unknown ttl":                 {unknown, text(start), text(end), types.Int64Unknown()},
		"end alone":                   {null, null, text(end), types.Int64Null()},
		"unknown end alone":           {null, null, unknown, types.Int64Null()},
		"end and beginning":           {null, text(start), text(end), types.Int64Value(1800)},
		"end and unknown beginning":   {null, unknown, text(end), types.Int64Unknown()},
		"unknown end and beginning":   {null, text(start), unknown, types.Int64Unknown()},
		"a record that has lost both": {null, null, null, types.Int64Null()},
	} {
		m := grantModel{TTL: c.ttl, StartsAt: c.starts, ExpiresAt: c.expires}
		if m.measure(); !m.TTLSeconds.Equal(c.want) {
			t.Errorf("%s: ttl_seconds is %s, want %s", name, m.TTLSeconds, c.want)
		}
	}
}

// Only whole numbers are texts, also inside lists and objects. Everything else keeps its bytes.
func TestNumbersAsTexts(t *testing.T) {
	t.Parallel()
	encode := func(values ...any) []byte {
		var b bytes.Buffer
		e := msgpack.NewEncoder(&b)
		e.UseCompactInts(true)
		if err := e.EncodeMapLen(len(values) / 2); err != nil {
			t.Fatal(err)
		}
		for _, v := range values {
			if err := e.Encode(v); err != nil {
				t.Fatal(err)
			}
		}
		return b.Bytes()
	}
	nested, read := map[string]any{"a": []any{nil, int64(7), "x"}}, map[string]any{"a": []any{nil, "7", "x"}}
	unknown := msgpack.RawMessage{0xd4, 0, 0} // as the protocol writes it
	got, err := numbersAsTexts(encode("a", int64(2), "b", nil, "c", int64(-7), "d", true, "e", "3", "f", nested,
		"g", int64(28800), "h", unknown, "i", 1.5))
	want := encode("a", "2", "b", nil, "c", "-7", "d", true, "e", "3", "f", read, "g", "28800", "h", unknown, "i", 1.5)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %x, %v; want %x", got, err, want)
	}
	if null, err := numbersAsTexts([]byte{0xc0}); err != nil || !bytes.Equal(null, []byte{0xc0}) {
		t.Errorf("a removed object is %x, %v", null, err)
	}
}
