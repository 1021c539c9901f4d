package provider_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/provider"
)

// direct is a configured provider with one ssh target, "host", that is called without a command line.
type direct struct {
	t      *testing.T
	dir    string
	server interface {
		tfprotov6.ProviderServer
		tfprotov6.ProviderServerWithListResource //nolint:staticcheck // the framework asks for it until it moves
		tfprotov6.ProviderServerWithActions      //nolint:staticcheck // as above
	}
	schema  *tfprotov6.GetProviderSchemaResponse
	runtime *config.Runtime

	mu  sync.Mutex
	now time.Time
}

// newDirect returns a provider with more settings.
func newDirect(t *testing.T, settings string) *direct {
	t.Helper()
	t.Setenv("CI", "") // with it, a ledger in a file is a warning
	d := &direct{t: t, dir: t.TempDir(), now: time.Date(2026, time.November, 23, 9, 0, 0, 0, time.UTC)}
	d.write("authorized_keys", foreign)
	d.write("jit.hcl", fmt.Sprintf("ledger = %q\ntargets = { host = { ssh = { authorized_keys = %q } } }\n%s\n",
		"sqlite://"+filepath.Join(d.dir, "ledger.db"), filepath.Join(d.dir, "authorized_keys"), settings))
	open := func(ctx context.Context, s config.Settings) (*config.Runtime, error) {
		var err error
		d.runtime, err = config.Open(ctx, s, config.Options{Now: d.clock, Source: jit.FromTerraform, Run: "run-1"})
		return d.runtime, err
	}
	server, ok := provider.NewServer("test", open).(interface {
		tfprotov6.ProviderServer
		tfprotov6.ProviderServerWithListResource //nolint:staticcheck // as above
		tfprotov6.ProviderServerWithActions      //nolint:staticcheck // as above
	})
	if !ok {
		t.Fatal("the server lacks actions or list resources")
	}
	d.server = server
	schema, err := server.GetProviderSchema(t.Context(), &tfprotov6.GetProviderSchemaRequest{})
	if err != nil {
		t.Fatal(err)
	}
	d.schema = schema
	resp, err := server.ConfigureProvider(t.Context(), &tfprotov6.ConfigureProviderRequest{Config: d.object(
		schema.Provider.ValueType(), values{"config": filepath.Join(d.dir, "jit.hcl")})})
	if err != nil || len(resp.Diagnostics) > 0 {
		t.Fatalf("configure: %v, %s", err, told(resp.Diagnostics))
	}
	t.Cleanup(func() { _ = d.runtime.Close() }) // the test is over
	return d
}

func (d *direct) clock() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.now
}

func (d *direct) advance(by time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now = d.now.Add(by)
}

func (d *direct) write(name, content string) {
	d.t.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, name), []byte(content), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// keys is the content of the target.
func (d *direct) keys() string {
	d.t.Helper()
	content, err := os.ReadFile(filepath.Join(d.dir, "authorized_keys"))
	if err != nil {
		d.t.Fatal(err)
	}
	return string(content)
}

// lines counts the lines of the target with our marker.
func (d *direct) lines() int { return strings.Count(d.keys(), " jit:") }

// grants are the records of the ledger.
func (d *direct) grants() (all []jit.Grant) {
	d.t.Helper()
	for g, err := range d.runtime.Ledger.Grants(d.t.Context(), jit.Filter{}) {
		if err != nil {
			d.t.Fatal(err)
		}
		all = append(all, g)
	}
	return all
}

// record writes a policy to the ledger.
func (d *direct) record(p jit.Policy) {
	d.t.Helper()
	if err := d.runtime.Broker.PutPolicy(d.t.Context(), p); err != nil {
		d.t.Fatal(err)
	}
}

// values are the attributes of a block, as Go values.
type values map[string]any

// object encodes an object whose other attributes are null.
func (d *direct) object(kind tftypes.Type, set values) *tfprotov6.DynamicValue {
	d.t.Helper()
	object, ok := kind.(tftypes.Object)
	if !ok {
		d.t.Fatalf("%s is no object", kind)
	}
	for name := range set {
		if object.AttributeTypes[name] == nil {
			d.t.Fatalf("the schema lacks %s", name)
		}
	}
	all := map[string]tftypes.Value{}
	for name, attribute := range object.AttributeTypes {
		all[name] = tftypes.NewValue(attribute, set[name])
	}
	encoded, err := tfprotov6.NewDynamicValue(kind, tftypes.NewValue(kind, all))
	if err != nil {
		d.t.Fatal(err)
	}
	return &encoded
}

// decoded returns the attributes of an object; null ones are left out.
func (d *direct) decoded(kind tftypes.Type, encoded *tfprotov6.DynamicValue) map[string]any {
	d.t.Helper()
	value, err := encoded.Unmarshal(kind)
	if err != nil {
		d.t.Fatal(err)
	}
	var attributes map[string]tftypes.Value
	if err := value.As(&attributes); err != nil {
		d.t.Fatal(err)
	}
	all := map[string]any{}
	for name, v := range attributes {
		var text string
		if !v.IsNull() && v.Type().Is(tftypes.String) && v.As(&text) == nil {
			all[name] = text
		}
	}
	return all
}

// told is the text of diagnostics.
func told(diags []*tfprotov6.Diagnostic) string {
	var all []string
	for _, d := range diags {
		all = append(all, fmt.Sprintf("%s: %s: %s", d.Severity, d.Summary, d.Detail))
	}
	return strings.Join(all, "\n")
}

// heard fails the test unless a text has every part; without parts, the text must be empty.
func heard(t *testing.T, text string, parts ...string) {
	t.Helper()
	if len(parts) == 0 && text != "" {
		t.Errorf("unexpected: %s", text)
	}
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not said:\n%s", part, text)
		}
	}
}

// asked is the configuration of an ephemeral grant; set overrides it.
func asked(set values) values {
	all := values{"target": "host", "principal": alice, "role": "login", "reason": "CHG-1: deploy", "ttl": "30m",
		"applying": true}
	for name, value := range set {
		all[name] = value
	}
	return all
}

// run is one ephemeral resource of a run of Terraform.
type run struct {
	d       *direct
	private []byte
	renewAt time.Time
	result  map[string]any
}

// open opens an ephemeral grant; told is what it says.
func (d *direct) open(set values) (r *run, said string) {
	d.t.Helper()
	kind := d.schema.EphemeralResourceSchemas["jit_grant"].ValueType()
	configuration := d.object(kind, asked(set))
	checked, err := d.server.ValidateEphemeralResourceConfig(d.t.Context(),
		&tfprotov6.ValidateEphemeralResourceConfigRequest{TypeName: "jit_grant", Config: configuration})
	if err != nil {
		d.t.Fatal(err)
	}
	if len(checked.Diagnostics) > 0 {
		return nil, told(checked.Diagnostics)
	}
	resp, err := d.server.OpenEphemeralResource(d.t.Context(),
		&tfprotov6.OpenEphemeralResourceRequest{TypeName: "jit_grant", Config: configuration})
	if err != nil {
		d.t.Fatal(err)
	}
	r = &run{d: d, private: resp.Private, renewAt: resp.RenewAt}
	if resp.Result != nil {
		r.result = d.decoded(kind, resp.Result)
	}
	return r, told(resp.Diagnostics)
}

// renew renews as Terraform does at renewAt.
func (r *run) renew() (said string) {
	r.d.t.Helper()
	resp, err := r.d.server.RenewEphemeralResource(r.d.t.Context(),
		&tfprotov6.RenewEphemeralResourceRequest{TypeName: "jit_grant", Private: r.private})
	if err != nil {
		r.d.t.Fatal(err)
	}
	r.renewAt = resp.RenewAt
	return told(resp.Diagnostics)
}

// close closes with the private data of the opening, as Terraform 1.15 does
// (internal/terraform/node_resource_ephemeral.go).
func (r *run) close() (said string) {
	r.d.t.Helper()
	resp, err := r.d.server.CloseEphemeralResource(r.d.t.Context(),
		&tfprotov6.CloseEphemeralResourceRequest{TypeName: "jit_grant", Private: r.private})
	if err != nil {
		r.d.t.Fatal(err)
	}
	return told(resp.Diagnostics)
}
