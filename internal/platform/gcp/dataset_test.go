package gcp

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/gcptest"
)

const (
	dataset  = project + "/datasets/Orders_2026"
	dataRole = "roles/bigquery.dataViewer" // the service shows it as READER
)

// newDataset is a dataset with a view, a routine and a dataset that are authorized, beside the access of others.
func newDataset(t *testing.T) *gcptest.Server {
	t.Helper()
	s := newWorld(t)
	s.Add(dataset, project)
	s.AddRole(dataRole, "bigquery.tables.getData")
	s.Edit(dataset, func(p *gcptest.Policy) {
		p.Bindings = []gcptest.Binding{{Role: "roles/owner", Members: []string{"user:carol@example.com"}, BindingID: "kept"}}
		p.Authorized = []json.RawMessage{
			json.RawMessage(`{"view":{"tableId":"<open>","projectId":"payments-prod","datasetId":"views"}}`),
			json.RawMessage(`{"routine":{"projectId":"other-project","datasetId":"udf","routineId":"mask"},"new":1.50}`),
			json.RawMessage(`{"dataset":{"dataset":{"datasetId":"all","projectId":"other-project"},"targetTypes":["VIEWS"]}}`),
		}
	})
	return s
}

// Thirty writers grant beside thirty others who authorize views: nobody's entry is lost or changed.
func TestDatasetsKeepWhatIsAuthorized(t *testing.T) {
	t.Parallel()
	s := newDataset(t)
	was := s.Policy(dataset)
	const writers = 30
	var grants []jit.Access
	var wait sync.WaitGroup
	for i := range writers {
		who := fmt.Sprintf("user:writer%d@example.com", i)
		s.AddAccounts(who)
		a := access(dataset, who, dataRole, "x")
		grants = append(grants, a)
		wait.Go(func() {
			if err := open(t, s, Config{}).Apply(t.Context(), dataset, ensured(a))[0]; err != nil {
				t.Error(err)
			}
		})
		wait.Go(func() {
			s.Edit(dataset, func(p *gcptest.Policy) { p.Authorized = append(p.Authorized, viewOf(i)) })
		})
	}
	wait.Wait()
	may := func(a jit.Access, at time.Time) bool {
		return s.Allowed(gcptest.Ask{Member: a.Binding.Principal, Permission: "bigquery.tables.getData", Scope: dataset, At: at})
	}
	for _, a := range grants {
		if !may(a, time.Now()) || may(a, a.Marker.Window.End) {
			t.Errorf("%s has no access, or has it after the end", a.Binding.Principal)
		}
	}
	p := open(t, s, Config{})
	snapshot, err := p.Read(t.Context(), dataset)
	if err != nil || len(snapshot.Ours) != writers {
		t.Fatalf("%d of our entries, %v", len(snapshot.Ours), err)
	}
	for _, o := range snapshot.Ours {
		if o.Role != dataRole || o.Damage != "" {
			t.Errorf("entry %+v", o)
		}
	}
	apply(t, p, dataset, removed(grants...)...)
	for _, a := range grants {
		if may(a, time.Now()) {
			t.Errorf("%s still has the access", a.Binding.Principal)
		}
	}
	is := s.Policy(dataset)
	there := map[string]bool{}
	for _, text := range is.Authorized {
		there[string(text)] = true
	}
	for i := range writers {
		was.Authorized = append(was.Authorized, viewOf(i))
	}
	for _, text := range was.Authorized {
		if !there[string(text)] {
			t.Errorf("%s is gone", text)
		}
	}
	if len(is.Authorized) != len(was.Authorized) || foreignIn(t, is) != foreignIn(t, was) || s.Blind() != 0 {
		t.Errorf("the dataset is %+v, was %+v; %d writes without an etag", is, was, s.Blind())
	}
}

func viewOf(i int) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"view":{"projectId":"other-project","tableId":"v&%d","datasetId":"views"}}`, i))
}

// Entries are read as the bindings that they stand for, and written back as they were
// (https://cloud.google.com/bigquery/docs/reference/rest/v2/datasets#Dataset).
func TestAccessEntries(t *testing.T) {
	const reference = `"datasetReference":{"projectId":"payments-prod","datasetId":"Orders_2026"}`
	entries := []string{
		`{"role":"WRITER","specialGroup":"projectWriters"}`,
		`{"role":"OWNER","userByEmail":"carol@example.com","later":{"b":1,"a":2}}`,
		`{"userByEmail":"ci@payments-prod.iam.gserviceaccount.com","role":"READER"}`,
		`{"role":"roles/bigquery.metadataViewer","groupByEmail":"oncall@example.com"}`,
		`{"role":"READER","domain":"example.com"}`,
		`{"role":"READER","specialGroup":"allAuthenticatedUsers"}`,
		`{"role":"READER","iamMember":"principal://iam.googleapis.com/x"}`,
		`{"role":"roles/bigquery.dataViewer_withcond_7a34awqsda","userByEmail":"dave@example.com"}`,
		`{"view":{"projectId":"p","datasetId":"d","tableId":"t"}}`,
	}
	at := resource{datasetKind, dataset}
	p, err := decodeDataset([]byte(`{"etag":"x",`+reference+`,"access":[`+strings.Join(entries, ",")+`]}`), at)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, is := range p.snapshot(time.Now()).Standing {
		got = append(got, is.Role+" "+is.Principal)
	}
	want := []string{
		"roles/bigquery.dataEditor projectEditor:payments-prod", "roles/bigquery.dataOwner user:carol@example.com",
		"roles/bigquery.dataViewer serviceAccount:ci@payments-prod.iam.gserviceaccount.com",
		"roles/bigquery.metadataViewer group:oncall@example.com", "roles/bigquery.dataViewer domain:example.com",
		"roles/bigquery.dataViewer allAuthenticatedUsers", "roles/bigquery.dataViewer principal://iam.googleapis.com/x",
		"roles/bigquery.dataViewer if a condition that Google Cloud does not show user:dave@example.com",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the entries give\n%q\nwant\n%q", got, want)
	}
	text, err := p.encode()
	if err != nil || strings.TrimSpace(string(text)) != `{"access":[`+strings.Join(entries, ",")+`]}` {
		t.Errorf("they are written as %s, %v", text, err)
	}
	for member, want := range map[string]string{
		alice: `{"role":"r","userByEmail":"alice@example.com"}`, oncall: `{"role":"r","groupByEmail":"oncall@example.com"}`,
		deploy:                             `{"role":"r","userByEmail":"deploy@payments-prod.iam.gserviceaccount.com"}`,
		"domain:example.com":               `{"role":"r","domain":"example.com"}`,
		"allUsers":                         `{"role":"r","iamMember":"allUsers"}`,
		"allAuthenticatedUsers":            `{"role":"r","specialGroup":"allAuthenticatedUsers"}`,
		"principal://iam.googleapis.com/x": `{"role":"r","iamMember":"principal://iam.googleapis.com/x"}`,
	} {
		e := newEntry(binding{Role: "r"}, member)
		if text, err := marshal(e); err != nil || strings.TrimSpace(string(text)) != want || e.member("p") != member {
			t.Errorf("%s is %s, %v, and back %s", member, text, err, e.member("p"))
		}
	}
	for text, says := range map[string]string{
		`{"etag":"x",` + reference + `}`:                              "bigquery.datasets.getIamPolicy",
		`{` + reference + `,"access":[]}`:                             "without an etag",
		`{"etag":"x","access":[]}`:                                    "is another name of",
		`{"etag":"x",` + strings.ToLower(reference) + `,"access":[]}`: "is another name of",
	} {
		if _, err := decodeDataset([]byte(text), at); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v; want an error that says %q", text, err, says)
		}
	}
}

// The names of some datasets are the same in any case. A grant under another name than the dataset's own is refused, since
// a policy that forbids the dataset would not recognize it.
func TestDatasetsHaveOneName(t *testing.T) {
	s := newDataset(t)
	a := access(project+"/datasets/orders_2026", alice, dataRole, "x")
	before := foreign(t, s, dataset)
	err := open(t, s, Config{}).Apply(t.Context(), a.Binding.Scope, ensured(a))[0]
	wantTold(t, err, "scope", `write scope = "`+dataset+`"`)
	if _, writes := s.Calls(); writes > 0 || foreign(t, s, dataset) != before {
		t.Errorf("%d writes", writes)
	}
}

// Many grants on one dataset do not share entries.
func TestEntriesAreNotShared(t *testing.T) {
	s := newDataset(t)
	fill(s, dataset)
	p, a, b := open(t, s, Config{}), access(dataset, alice, dataRole, "x"), access(dataset, bob, dataRole, "x")
	apply(t, p, dataset, ensured(a, b)...)
	apply(t, p, dataset, ensured(a, b)...)
	if _, writes := s.Calls(); writes != 1 {
		t.Errorf("%d writes, want 1", writes)
	}
	for _, is := range s.Policy(dataset).Bindings {
		if is.Role == dataRole && strings.HasSuffix(is.Condition.Title, sharedTitle) {
			t.Errorf("%+v is shared", is)
		}
	}
	apply(t, p, dataset, removed(a)...)
	snapshot, err := p.Read(t.Context(), dataset)
	if err != nil || len(snapshot.Ours) != 1 || snapshot.Ours[0].Principal != bob || snapshot.Ours[0].Damage != "" {
		t.Errorf("%+v, %v; want the access of bob alone", snapshot.Ours, err)
	}
}
