package awsidentitycenter

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ssoadmin/types"
	"golang.org/x/time/rate"

	"github.com/jitaccess/terraform-provider-jit/internal/awsconfig"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/platformtest"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// TestConformanceOnMoto runs the suite against moto, behind a proxy that makes it as strict as the service: no
// duplicate assignments, and one write at a time.
func TestConformanceOnMoto(t *testing.T) {
	testenv.Acceptance(t)
	platformtest.Run(t, platformtest.Harness{New: func(t *testing.T) *platformtest.Target {
		s := newMotoSite(t)
		target := describeTarget()
		target.Open = func(t *testing.T) jit.Platform { return s.open(t) }
		target.Principals = []string{"user:alice@example.com", "group:On call"}
		target.Roles = []string{"ReadOnly", "Admin"}
		target.Scope = s.Account
		target.Impossible = &jit.Binding{Principal: "user:nobody@example.com", Role: "ReadOnly", Scope: s.Account}
		target.Allowed = func(t *testing.T, b jit.Binding) bool {
			return slices.Contains(s.Assignments(t, s.sets[b.Role]), s.resolve(b))
		}
		target.Foreign = func(t *testing.T, b jit.Binding) {
			s.foreign = append(s.foreign, s.resolve(b))
			s.Assign(t, s.resolve(b))
		}
		target.Dump = func(t *testing.T) string { return s.dump(t) }
		target.Calls = func() (reads, writes int) { return int(s.reads.Load()), int(s.writes.Load()) }
		target.Tamper.Delete = func(t *testing.T, m jit.Marker) {
			all, err := s.open(t).ledger.ReadClaims(t.Context(), s.Instance, s.Account)
			if err != nil {
				t.Fatal(err)
			}
			for _, mark := range all.Claims {
				if o, err := parseObject(mark.Object); err == nil && mark.Marker == m {
					s.Unassign(t, testenv.Assignment{Kind: o.kind, ID: o.id, Set: o.set})
				}
			}
		}
		return target
	}})
}

// motoSite is an account of moto's with two people and two permission sets.
type motoSite struct {
	*testenv.MotoDirectory
	url, ledger   string
	ids, sets     map[string]string // by name
	foreign       []testenv.Assignment
	reads, writes atomic.Int64
}

func newMotoSite(t *testing.T) *motoSite {
	t.Helper()
	server := testenv.Moto(t)
	account := server.Account(t)
	account.Setenv(t)
	s := &motoSite{MotoDirectory: server.Directory(t, account),
		ledger: "sqlite://" + filepath.Join(t.TempDir(), "ledger.db")}
	proxy := httptest.NewServer(&strictMoto{t: t, moto: server.URL})
	t.Cleanup(proxy.Close)
	s.url = proxy.URL
	s.ids = map[string]string{"user:alice@example.com": s.User(t, "alice@example.com"),
		"group:On call": s.Group(t, "On call")}
	s.sets = map[string]string{"ReadOnly": s.PermissionSet(t, "ReadOnly"), "Admin": s.PermissionSet(t, "Admin")}
	return s
}

func (s *motoSite) open(t testing.TB) *Platform {
	t.Helper()
	p, err := New(Config{Config: awsconfig.Config{Endpoint: s.url}}, jit.Services{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	p.pace = pace{limit: rate.NewLimiter(rate.Inf, 1), tick: 2 * time.Millisecond, patience: 20 * time.Second,
		lag: 200 * time.Millisecond}
	p.watch.OnCall = func(operation string) {
		if operation == "CreateAccountAssignment" || operation == "DeleteAccountAssignment" {
			s.writes.Add(1)
		} else {
			s.reads.Add(1)
		}
	}
	l, err := ledger.Open(t.Context(), ledger.Config{URL: s.ledger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	p.ledger = l.Claims()
	return p
}

func (s *motoSite) resolve(b jit.Binding) testenv.Assignment {
	kind := types.PrincipalTypeUser
	if strings.HasPrefix(b.Principal, "group:") {
		kind = types.PrincipalTypeGroup
	}
	return testenv.Assignment{Kind: kind, ID: s.ids[b.Principal], Set: s.sets[b.Role]}
}

// dump lists the assignments of others.
func (s *motoSite) dump(t *testing.T) string {
	t.Helper()
	var all []string
	for _, set := range s.sets {
		for _, a := range s.Assignments(t, set) {
			if slices.Contains(s.foreign, a) {
				all = append(all, fmt.Sprintf("%+v", a))
			}
		}
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// strictMoto passes requests on to moto, except those that would duplicate an assignment.
type strictMoto struct {
	t    *testing.T
	moto string
	mu   sync.Mutex
}

func (m *strictMoto) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		m.t.Error(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	_, action, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	if action == "CreateAccountAssignment" && m.assigned(r, body) {
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		_, _ = io.WriteString(w, `{"AccountAssignmentCreationStatus":{"RequestId":"0","Status":"SUCCEEDED"}}`)
		return
	}
	if what, is := strings.CutPrefix(action, "ListAccountAssignment"); is && what != "s" {
		// moto lacks the lists of requests, and finishes every request at once
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		_, _ = io.WriteString(w, `{}`)
		return
	}
	status, header, answer := m.pass(r, body)
	for name, values := range header {
		w.Header()[name] = values
	}
	w.WriteHeader(status)
	_, _ = w.Write(answer)
}

// pass makes a request to moto.
func (m *strictMoto) pass(r *http.Request, body []byte) (int, http.Header, []byte) {
	req, err := http.NewRequestWithContext(m.t.Context(), r.Method, m.moto+r.URL.Path, bytes.NewReader(body))
	if err != nil {
		m.t.Error(err)
		return http.StatusBadGateway, nil, nil
	}
	req.Header = r.Header.Clone()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return http.StatusBadGateway, nil, nil // the test is over
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		m.t.Error(err)
	}
	return resp.StatusCode, resp.Header, answer
}

// assigned asks moto whether the assignment of the request exists.
func (m *strictMoto) assigned(r *http.Request, body []byte) bool {
	var in struct{ InstanceArn, TargetID, PermissionSetArn, PrincipalID string }
	if err := json.Unmarshal(body, &in); err != nil {
		m.t.Error(err)
	}
	list, err := json.Marshal(map[string]string{"InstanceArn": in.InstanceArn, "AccountId": in.TargetID,
		"PermissionSetArn": in.PermissionSetArn})
	if err != nil {
		m.t.Error(err)
	}
	asked := r.Clone(r.Context())
	asked.Header.Set("X-Amz-Target", "SWBExternalService.ListAccountAssignments")
	asked.Header.Del("Content-Length")
	_, _, answer := m.pass(asked, list)
	return bytes.Contains(answer, []byte(in.PrincipalID))
}
