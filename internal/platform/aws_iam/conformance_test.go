package awsiam

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/awsconfig"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/platformtest"
)

const (
	bucket  = "arn:aws:s3:::jit-bucket"
	objects = bucket + "/*"
)

// forms are the ways to write access. The policies that the server stores decide whether access is given.
var forms = map[string]func(*testing.T, *site) *platformtest.Target{
	"permissions": func(t *testing.T, s *site) *platformtest.Target {
		const s3 = `{"Version":"2012-10-17","Statement":[{"Sid":"Do","Effect":"Allow","Action":%q,"Resource":"*"}]}`
		target := s.target(t, s.config())
		target.Principals = []string{s.role(t, "worker", "arn:aws:iam::999999999999:root"),
			s.role(t, "batch", "arn:aws:iam::999999999999:root")}
		target.Roles = []string{
			s.policy(t, "Reader", fmt.Sprintf(s3, "s3:GetObject")) + " on " + objects,
			s.policy(t, "Writer", fmt.Sprintf(s3, "s3:PutObject")),
		}
		return target
	},
	"actions": func(t *testing.T, s *site) *platformtest.Target {
		target := s.target(t, s.config())
		target.Principals = []string{s.role(t, "worker", "arn:aws:iam::999999999999:root"),
			s.role(t, "batch", "arn:aws:iam::999999999999:root")}
		target.Roles = []string{"actions:s3:GetObject,s3:List* on " + objects, "actions:s3:PutObject"}
		return target
	},
	"session": func(t *testing.T, s *site) *platformtest.Target {
		target := s.target(t, s.config())
		target.Principals = []string{s.shared(t, "developer", "alice"), s.shared(t, "operator", "bob")}
		target.Roles = []string{"actions:s3:GetObject,s3:List* on " + objects + " if mfa",
			"actions:s3:PutObject if source-ip=203.0.113.0/24"}
		return target
	},
	"session in trust": func(t *testing.T, s *site) *platformtest.Target {
		cfg := s.config()
		cfg.TrustPolicy = true
		target := s.target(t, cfg)
		target.Principals = []string{s.shared(t, "developer", "alice"), s.shared(t, "operator", "bob")}
		target.Roles = []string{s.role(t, "deployer", "arn:aws:iam::999999999999:root"),
			s.role(t, "reader", "arn:aws:iam::999999999999:root")}
		return target
	},
	"assume": func(t *testing.T, s *site) *platformtest.Target {
		target := s.target(t, s.config())
		target.Principals = []string{s.user(t, "alice"), s.role(t, "worker", "arn:aws:iam::999999999999:root")}
		target.Roles = []string{s.role(t, "deployer", s.arn("root")), s.role(t, "reader", s.arn("root"))}
		return target
	},
	"trust": func(t *testing.T, s *site) *platformtest.Target {
		cfg := s.config()
		cfg.TrustPolicy = true
		target := s.target(t, cfg)
		target.Principals = []string{s.user(t, "alice"), s.role(t, "worker", "arn:aws:iam::999999999999:root")}
		target.Roles = []string{s.role(t, "deployer", "arn:aws:iam::999999999999:root"),
			s.role(t, "reader", "arn:aws:iam::999999999999:root")}
		return target
	},
}

// TestConformance runs the suite on each way to write access.
func TestConformance(t *testing.T) {
	for name, target := range forms {
		t.Run(name, func(t *testing.T) {
			platformtest.Run(t, platformtest.Harness{New: func(t *testing.T) *platformtest.Target {
				return target(t, newSite(t))
			}})
		})
	}
}

// The suite on an account whose reads lag behind the writes, and that carries every tenth write out and loses its answer
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency).
func TestConformanceWithLostAnswersAndOldReads(t *testing.T) {
	lag := platformtest.Lag(20 * time.Millisecond)
	for _, name := range []string{"permissions", "actions", "assume", "trust"} {
		t.Run(name, func(t *testing.T) {
			platformtest.Run(t, platformtest.Harness{New: func(t *testing.T) *platformtest.Target {
				s := newSite(t)
				if s.strict == nil {
					t.Skip("the strict server of `make test` has reads that lag")
				}
				tt := forms[name](t, s)
				open := tt.Open
				tt.Open = func(t *testing.T) jit.Platform {
					p := open(t).(*Platform)
					p.settling = 2 * lag
					if lag > time.Second { // as in use, or the attempts end before a read shows the first
						p.retryer, p.pause = awsconfig.Retryer, shortestPause
					}
					return p
				}
				tt.Lag = 2 * lag
				// What others wrote may be lost if we have not seen it: a trust policy has no version.
				foreign := tt.Foreign
				tt.Foreign = func(t *testing.T, b jit.Binding) {
					foreign(t, b)
					time.Sleep(lag)
				}
				tt.Calls, tt.Break = nil, nil // they take the place of the faults
				s.strict.lagRoles = true
				s.strict.slow(lag)
				s.losesEvery(10)
				return tt
			}})
		})
	}
}

// losesEvery makes the server carry every nth write out and lose its answer.
func (s *site) losesEvery(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	writes := 0
	s.after = func(action string, answer *http.Response) {
		if s.mu.Lock(); !isRead(action) {
			writes++
		}
		lost := !isRead(action) && writes%n == 0
		s.mu.Unlock()
		if lost {
			replace(answer, "")
			answer.StatusCode = http.StatusInternalServerError
		}
	}
}

// target describes the account to the suite.
func (s *site) target(t *testing.T, cfg Config) *platformtest.Target {
	bad := func(name, attribute, principal, role, scope string) platformtest.BadBinding {
		return platformtest.BadBinding{Name: name, Attribute: attribute,
			Binding: jit.Binding{Principal: principal, Role: role, Scope: scope}}
	}
	alice, readOnly, account := s.arn("user/alice"), "arn:aws:iam::aws:policy/ReadOnlyAccess", s.account.ID
	target := &platformtest.Target{
		Open: func(t *testing.T) jit.Platform { return s.open(t, cfg, time.Now) },
		OpenAt: func(t *testing.T, offset time.Duration) jit.Platform {
			return s.open(t, cfg, func() time.Time { return time.Now().Add(offset) })
		},
		Scope: account,
		BadBindings: []platformtest.BadBinding{
			bad("a name", "principal", "alice", readOnly, account),
			bad("a session without a name", "principal", "arn:aws:sts::"+account+":assumed-role/deployer/", readOnly, account),
			bad("every session", "principal", "arn:aws:sts::"+account+":assumed-role/deployer/*", readOnly, account),
			bad("a session elsewhere", "principal", "arn:aws:sts::999999999999:assumed-role/deployer/alice", readOnly, account),
			bad("a session of Identity Center", "principal",
				"arn:aws:sts::"+account+":assumed-role/AWSReservedSSO_a_1/alice", readOnly, account),
			bad("a session of a role of a service", "principal",
				"arn:aws:sts::"+account+":assumed-role/AWSServiceRoleForX/alice", readOnly, account),
			bad("an unknown condition", "role", alice, readOnly+" if vpn", account),
			bad("no condition", "role", alice, readOnly+" if ", account),
			bad("a condition with a value", "role", alice, readOnly+" if mfa=false", account),
			bad("a network that is none", "role", alice, readOnly+" if source-ip=10.0.0.0/33", account),
			bad("every address", "role", alice, readOnly+" if source-ip=128.0.0.0/1,0.0.0.0/1", account),
			bad("two conditions of one name", "role", alice, readOnly+" if source-ip=10.0.0.1 and source-ip=10.0.0.2",
				account),
			bad("the source identity of a user", "role", alice, readOnly+" if source-identity=alice", account),
			bad("any source identity", "role", s.arn("role/deployer"), readOnly+" if source-identity=*", account),
			bad("the whole account", "principal", s.arn("root"), readOnly, account),
			bad("a policy as the principal", "principal", s.arn("policy/p"), readOnly, account),
			bad("a role of Identity Center", "principal",
				s.arn("role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_a_1"), readOnly, account),
			bad("a role of a service", "principal", s.arn("role/aws-service-role/x.amazonaws.com/AWSServiceRoleForX"),
				readOnly, account),
			bad("a principal elsewhere", "principal", "arn:aws:iam::999999999999:user/alice", readOnly, account),
			bad("a policy's name", "role", alice, "ReadOnlyAccess", account),
			bad("a user as the role", "role", alice, alice, account),
			bad("a policy elsewhere", "role", alice, "arn:aws:iam::999999999999:policy/p", account),
			bad("another partition", "role", alice, "arn:aws-cn:iam::aws:policy/ReadOnlyAccess", account),
			bad("a role on resources", "role", alice, s.arn("role/deployer")+" on "+bucket, account),
			bad("on nothing", "role", alice, readOnly+" on ", account),
			bad("no action", "role", alice, "actions:", account),
			bad("an action without a service", "role", alice, "actions:GetObject", account),
			bad("any service", "role", alice, "actions:*:GetObject", account),
			bad("a service in capitals", "role", alice, "actions:S3:getobject", account),
			bad("actions out of order", "role", alice, "actions:s3:ListBucket,s3:GetObject", account),
			bad("an action twice", "role", alice, "actions:s3:GetObject,s3:getobject", account),
			bad("an action that another includes", "role", alice, "actions:s3:Get*,s3:GetObject", account),
			bad("too many actions", "role", alice, "actions:s3:"+strings.Repeat("a", 128)+
				strings.Repeat(",s4:"+strings.Repeat("b", 124), 20), account),
			bad("an empty action", "role", alice, "actions:s3:GetObject,", account),
			bad("actions elsewhere", "principal", "arn:aws:iam::999999999999:user/alice", "actions:s3:GetObject", account),
			bad("on an ARN without a partition", "role", alice, "actions:s3:GetObject on arn::s3:::b", account),
			bad("on what is no ARN", "role", alice, readOnly+" on *", account),
			bad("eleven digits", "scope", alice, readOnly, "12345678901"),
			bad("another account than the target's", "scope", alice, readOnly, "999999999999"),
		},
		Aliases: []platformtest.Alias{
			{
				Written: jit.Binding{Principal: alice,
					Role: readOnly + " on " + objects + "  " + bucket + " " + objects},
				Canonical: jit.Binding{Principal: alice, Role: readOnly + " on " + bucket + " " + objects,
					Scope: account},
			},
			{
				Written: jit.Binding{Principal: alice,
					Role: readOnly + " on " + objects + "  if Source_IP = 10.9.8.7/8, 203.0.113.7,203.0.113.6,10.0.0.0/9  AND  MFA and mfa"},
				Canonical: jit.Binding{Principal: alice, Role: readOnly + " on " + objects +
					" if mfa and source-ip=10.0.0.0/8,203.0.113.6/31", Scope: account},
			},
		},
		Impossible: &jit.Binding{Principal: s.arn("role/nobody"), Role: s.arn("role/deployer"), Scope: account},
		Allowed:    func(t *testing.T, b jit.Binding) bool { return s.gives(t, b, time.Now()) },
		AllowedAt:  s.gives,
		Foreign:    func(t *testing.T, b jit.Binding) { s.giveForever(t, b, cfg.TrustPolicy) },
		Dump:       s.dump,
		Calls:      s.counted,
		MaxCalls: func(op jit.Op, n int) (reads, writes int) {
			look := map[jit.Op]int{jit.Remove: 3}[op] // three pages again
			if cfg.TrustPolicy {
				return 10 + look, 8 // for two roles: a lock, one write and the reads around it
			}
			return 5 + look, n // three pages, whose account it is, and its limits
		},
		Break: func(*testing.T) func() {
			s.intercept(func(w http.ResponseWriter, _ *http.Request, action string, _ url.Values) bool {
				if !isRead(action) || action == "GetAccountSummary" {
					fail(w, http.StatusForbidden, "AccessDenied",
						"User: arn:aws:iam::"+account+":user/operator is not authorized to perform: iam:"+action)
				}
				return !isRead(action) || action == "GetAccountSummary"
			})
			return func() { s.intercept(s.raised) }
		},
	}
	if s.strict != nil {
		for name := range s.strict.quotas {
			s.strict.quotas[name] = 100000
		}
	}
	s.intercept(s.raised)
	target.Tamper = s.tampers(target)
	return target
}

// raised answers with limits so high that all grants of the suite fit; AWS never allows as many on one entity.
func (s *site) raised(w http.ResponseWriter, _ *http.Request, action string, _ url.Values) bool {
	if action != "GetAccountSummary" {
		return false
	}
	w.Header().Set("Content-Type", "text/xml")
	_, _ = fmt.Fprint(w,
		`<GetAccountSummaryResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><GetAccountSummaryResult><SummaryMap>`)
	for _, name := range []string{"UserPolicySizeQuota", "RolePolicySizeQuota", "AssumeRolePolicySizeQuota"} {
		_, _ = fmt.Fprintf(w, `<entry><key>%s</key><value>100000</value></entry>`, name)
	}
	_, _ = fmt.Fprint(w, `</SummaryMap></GetAccountSummaryResult></GetAccountSummaryResponse>`)
	return true
}

// gives decides whether the binding's access is given.
func (s *site) gives(t *testing.T, b jit.Binding, when time.Time) bool {
	t.Helper()
	if strings.Contains(b.Role, ":role/") {
		return s.may(t, b.Principal, "sts:AssumeRole", b.Role, when)
	}
	if strings.Contains(b.Principal, ":assumed-role/") {
		r := at("s3:GetObject", bucket+"/key", when)
		if strings.Contains(b.Role, "PutObject") {
			r.action = "s3:PutObject"
		}
		r.context["aws:multifactorauthpresent"], r.context["aws:sourceip"] = "true", "203.0.113.9"
		return s.mayUnder(t, b.Principal, r)
	}
	writes := strings.Contains(b.Role, "Writer") || strings.Contains(b.Role, "PutObject")
	action := map[bool]string{true: "s3:PutObject", false: "s3:GetObject"}[writes]
	return s.may(t, b.Principal, action, bucket+"/key", when)
}

// giveForever gives the access without an end, as an administrator would.
func (s *site) giveForever(t *testing.T, b jit.Binding, trust bool) {
	t.Helper()
	all, _ := s.entities(t)
	switch {
	case strings.HasPrefix(b.Role, "actions:"):
		s.giveActions(t, b)
	case !strings.Contains(b.Role, ":role/"):
		name, _, narrowed := strings.Cut(b.Role, " on ")
		if narrowed {
			// Somebody else's copy; to be found as standing access it has to be attached too, which gives the same and more.
			s.put(t, b.Principal, "theirs",
				`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:GetObject","Resource":"`+objects+`"}}`)
		}
		s.attach(t, b.Principal, name)
	case trust:
		var d map[string]any
		must(t, json.Unmarshal([]byte(all[b.Role].Trust), &d))
		d["Statement"] = append(d["Statement"].([]any),
			map[string]any{"Effect": "Allow", "Principal": map[string]any{"AWS": b.Principal},
				"Action": "sts:AssumeRole"})
		text, err := json.Marshal(d)
		must(t, err)
		s.setTrust(t, b.Role, string(text))
	default:
		s.put(t, b.Principal, "theirs",
			`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"`+b.Role+`"}}`)
	}
}
