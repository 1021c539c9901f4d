package awsidentitycenter

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

func (m *model) sso(action string, in input, now time.Time) (any, error) {
	switch action {
	case "ListPermissionSets":
		return page(m, slices.Sorted(maps.Keys(m.sets)), in.NextToken, "PermissionSets")
	case "DescribePermissionSet":
		s, ok := m.sets[in.PermissionSetArn]
		if !ok {
			return nil, refuse("ResourceNotFoundException", "PermissionSet not found")
		}
		return map[string]any{"PermissionSet": map[string]string{"Name": s.name,
			"PermissionSetArn": in.PermissionSetArn, "SessionDuration": s.session}}, nil
	case "ListPermissionSetsProvisionedToAccount":
		used := map[string]bool{}
		for a := range m.seen(now) {
			if a.account == in.AccountID {
				used[a.set] = true
			}
		}
		if m.accounts[in.AccountID] == "" {
			return nil, refuse("ResourceNotFoundException", "Account not found")
		}
		return page(m, slices.Sorted(maps.Keys(used)), in.NextToken, "PermissionSets")
	case "ListAccountAssignments":
		return m.listAssignments(in, now)
	case "CreateAccountAssignment", "DeleteAccountAssignment":
		return m.write(in, action == "DeleteAccountAssignment", now)
	case "ListAccountAssignmentCreationStatus":
		return page(m, m.statuses(false, in.Filter.Status), in.NextToken, "AccountAssignmentsCreationStatus")
	case "ListAccountAssignmentDeletionStatus":
		return page(m, m.statuses(true, in.Filter.Status), in.NextToken, "AccountAssignmentsDeletionStatus")
	case "DescribeAccountAssignmentCreationStatus":
		return m.status(false, in.AccountAssignmentCreationRequestID)
	case "DescribeAccountAssignmentDeletionStatus":
		return m.status(true, in.AccountAssignmentDeletionRequestID)
	}
	return nil, fmt.Errorf("the model has no %s", action)
}

func (m *model) listAssignments(in input, now time.Time) (any, error) {
	if _, ok := m.sets[in.PermissionSetArn]; !ok {
		return nil, refuse("ResourceNotFoundException", "PermissionSet not found")
	}
	all := []map[string]string{}
	for a := range m.seen(now) {
		if a.account == in.AccountID && a.set == in.PermissionSetArn {
			all = append(all, map[string]string{"AccountId": a.account, "PermissionSetArn": a.set,
				"PrincipalType": a.kind, "PrincipalId": a.id})
		}
	}
	slices.SortFunc(all, func(a, b map[string]string) int {
		return strings.Compare(a["PrincipalId"],
			b["PrincipalId"])
	})
	return page(m, all, in.NextToken, "AccountAssignments")
}

// write takes a request.
func (m *model) write(in input, remove bool, now time.Time) (any, error) {
	a := assignment{in.TargetID, in.PermissionSetArn, in.PrincipalType, in.PrincipalID}
	there := m.seen(now)[a]
	state := m.accounts[a.account]
	_, known := m.sets[a.set]
	switch {
	case in.TargetType != "AWS_ACCOUNT" || a.kind != "USER" && a.kind != "GROUP":
		return nil, refuse("ValidationException", "Invalid type")
	case state == "" || !known:
		return nil, refuse("ResourceNotFoundException", "Account or PermissionSet not found")
	}
	r := &asked{id: fmt.Sprintf("request-%d", len(m.requests)+1), remove: remove, what: a, since: now,
		until: now.Add(m.takes), status: "IN_PROGRESS", reason: m.fails}
	others := 0
	for b := range m.assignments {
		if b.account == a.account && b.set == a.set && b != a {
			others++
		}
	}
	r.provisions = others == 0
	if remove && !there && m.unaware {
		return nil, refuse("ResourceNotFoundException", "Assignment not found")
	}
	open := 0
	for _, o := range m.requests {
		switch {
		case o.status != "IN_PROGRESS":
			continue
		case o.what.account == a.account && o.what.set == a.set:
			return nil, refuse("ConflictException", "Another request for the permission set is in progress")
		case o.what.account == a.account && o.provisions && r.provisions:
			return nil, refuse("ConflictException", "The roles of the account are being changed")
		}
		open++
	}
	if open >= 10 {
		return nil, refuse("ThrottlingException", "There are too many requests processing. Please try again later.")
	}
	if remove && !there {
		return nil, refuse("ResourceNotFoundException", "Assignment not found")
	}
	m.most = max(m.most, open+1)
	if !remove && m.users[a.id] == "" && m.groups[a.id] == "" {
		r.reason = "Received a 404 status error: Principal not found"
	}
	if state == "SUSPENDED" {
		r.reason = "AWS SSO is unable to complete your request at this time. Obtaining permissions to manage your AWS account takes longer than usual."
	}
	m.requests = append(m.requests, r)
	return m.described(r), nil
}

// advance finishes the requests that are due, in the order of their ends.
func (m *model) advance(now time.Time) {
	due := slices.DeleteFunc(slices.Clone(m.requests),
		func(r *asked) bool { return r.status != "IN_PROGRESS" || r.until.After(now) })
	slices.SortStableFunc(due, func(a, b *asked) int { return a.until.Compare(b.until) })
	for _, r := range due {
		switch {
		case r.reason != "":
			r.status = "FAILED"
			continue
		case r.remove && !m.idle:
			m.put(r.what, nil)
		case r.remove:
		case m.assignments[r.what] == nil:
			m.serial++
			m.put(r.what, &origin{serial: m.serial})
		}
		r.status = "SUCCEEDED"
	}
}

func (m *model) described(r *asked) map[string]any {
	status := map[string]any{"RequestId": r.id, "Status": r.status, "TargetId": r.what.account,
		"PermissionSetArn": r.what.set, "PrincipalType": r.what.kind, "PrincipalId": r.what.id}
	if r.status == "FAILED" {
		status["FailureReason"] = r.reason
	}
	return map[string]any{map[bool]string{false: "AccountAssignmentCreationStatus",
		true: "AccountAssignmentDeletionStatus"}[r.remove]: status}
}

func (m *model) statuses(remove bool, filter string) []map[string]any {
	all := []map[string]any{}
	for _, r := range m.requests {
		if r.remove == remove && (filter == "" || filter == r.status) {
			all = append(all, map[string]any{"RequestId": r.id, "Status": r.status,
				"CreatedDate": float64(r.since.UnixMilli()) / 1000})
		}
	}
	return all
}

// put makes an assignment, or removes it.
func (m *model) put(a assignment, o *origin) {
	m.past = append(m.past, version{a, m.assignments[a] != nil, time.Now()})
	if m.assignments[a] = o; o == nil {
		delete(m.assignments, a)
	}
}

// seen are the assignments that reads and removals see: those of a moment ago.
func (m *model) seen(now time.Time) map[assignment]bool {
	there := map[assignment]bool{}
	for a := range m.assignments {
		there[a] = true
	}
	for _, v := range slices.Backward(m.past) {
		if v.until.Before(now.Add(-m.lag)) || m.lag == 0 {
			break
		}
		there[v.assignment] = v.there
	}
	maps.DeleteFunc(there, func(_ assignment, is bool) bool { return !is })
	return there
}

func (m *model) status(remove bool, id string) (any, error) {
	for _, r := range m.requests {
		if r.id == id && r.remove == remove {
			return m.described(r), nil
		}
	}
	return nil, refuse("ResourceNotFoundException", "Request not found")
}
