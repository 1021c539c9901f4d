package awsidentitycenter

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Many grants on several accounts stay within the limits of the service and share their polls.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		defer time.Sleep(2 * time.Second) // a look at what is in progress may be about to find nothing
		s.hurry, s.perSecond, s.takes, s.pageSize = false, 20, 4*time.Second, 100
		const users = 12
		accounts := []string{production, "222222222222", "333333333333", "444444444444", "555555555555", "666666666666"}
		for _, id := range accounts {
			s.accounts[id] = "ACTIVE"
		}
		byAccount := map[string][]jit.Access{}
		for n := range users {
			id := fmt.Sprintf("906700aaaa-22222222-2222-3333-4444-%012d", n)
			s.users[id] = fmt.Sprintf("user%d@example.com", n)
			for _, account := range accounts {
				for _, role := range []string{"ReadOnly", "Admin"} {
					b := jit.Binding{Target: "directory", Principal: "user:" + s.users[id], Role: role, Scope: account}
					byAccount[account] = append(byAccount[account], access(b, "pace"))
				}
			}
		}
		p := s.open(t)
		for _, op := range []jit.Op{jit.Ensure, jit.Remove} {
			clear(s.calls)
			begun := time.Now()
			var wg sync.WaitGroup
			for account, all := range byAccount {
				wg.Go(func() {
					for i, err := range p.Apply(t.Context(), account, changes(op, all)) {
						if err != nil {
							t.Errorf("%s of %+v: %v", op, all[i].Binding, err)
						}
					}
				})
			}
			wg.Wait()
			took, writes := time.Since(begun), users*len(accounts)*2
			for _, all := range byAccount {
				for _, a := range all {
					s.wants(t, a.Binding, op == jit.Ensure, "at last")
				}
			}
			if n := s.calls["CreateAccountAssignment"] + s.calls["DeleteAccountAssignment"]; n != writes {
				t.Errorf("%s: %d writes were made, want %d", op, n, writes)
			}
			looks := s.calls["ListAccountAssignmentCreationStatus"] + s.calls["ListAccountAssignmentDeletionStatus"]
			if most := int(took/time.Second) + 1; looks > most {
				t.Errorf("%s: %d lists of requests in progress in %s, want at most %d", op, looks, took, most)
			}
			if n := s.calls["DescribeAccountAssignmentCreationStatus"] + s.calls["DescribeAccountAssignmentDeletionStatus"]; n > writes {
				t.Errorf("%s: %d requests were described alone, want at most %d", op, n, writes)
			}
			// Ten at a time, each four seconds and the rest of a tick.
			if most := time.Duration(writes/10) * 7 * time.Second; took > most {
				t.Errorf("%s took %s, want at most %s", op, took, most)
			}
		}
		if len(s.refused) > 0 || s.most > 10 || s.most < 8 {
			t.Errorf("the service refused %v; %d writes were outstanding, want up to 10", s.refused, s.most)
		}
	})
}

// A throttled grant waits, and is tried again for as long as patience lasts.
func TestBusyService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		defer time.Sleep(2 * time.Second) // a look at what is in progress may be about to find nothing
		s.hurry = false
		p, a := s.open(t), access(alice(), "busy")
		begun := time.Now()
		s.fault = func(action string) *fault {
			if action == "CreateAccountAssignment" && time.Since(begun) < time.Minute {
				return &fault{status: 400, code: "ConflictException"}
			}
			return nil
		}
		apply(t, p, ensure(a)...)
		s.wants(t, a.Binding, true, "after a minute of conflicts")
		if n := s.calls["CreateAccountAssignment"]; n < 10 || n > 200 {
			t.Errorf("%d tries in a minute", n)
		}
		s.with(func(m *model) {
			m.fault = func(action string) *fault {
				if action == "DeleteAccountAssignment" {
					return &fault{status: 400, code: "ThrottlingException"}
				}
				return nil
			}
		})
		begun = time.Now()
		says(t, p.Apply(t.Context(), production, remove(a))[0], "", "busy")
		if took := time.Since(begun); took > 3*time.Minute {
			t.Errorf("it was tried for %s", took)
		}
		if len(marked(t, p)) != 1 {
			t.Error("the grant is forgotten")
		}
	})
}
