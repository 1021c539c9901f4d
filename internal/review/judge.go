package review

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	tfjson "github.com/hashicorp/terraform-json"
	"golang.org/x/sync/errgroup"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/plan"
)

// Options say by what a plan is judged.
type Options struct {
	// Broker judges: by its ledger, targets, owner, max_ttl and approvals. Every target goes through [Silent]. It is
	// nil if there are no settings.
	Broker *broker.Broker
	// Owners are owners of grants in the plan, besides that of the broker.
	Owners []string
	Now    func() time.Time
	// File is how commands name the plan. Pull is how they name its pull request, such as "--github acme/access#12";
	// empty if unknown.
	File, Pull string
	// Head is the folder of the configuration that was planned, Base that of the base branch.
	// Base is empty if unknown.
	Head, Base string
	// CI: a CI system asks. A missing Base is then a doubt.
	CI bool
}

// parallel is how many grants are judged at a time: those that wait for the ledger share a query.
const parallel = 64

// judge collects the report of one plan.
type judge struct {
	Options
	plan   *plan.Plan
	report Report
	doubts doubts
	// brokers has one for each owner.
	brokers []*broker.Broker
	// ledger is the id of the ledger. stated: the ledger cannot be read, and what the plan says of its rules stands in.
	ledger string
	stated bool
	rules  ruleset
	// created and destroyed hold the addresses of grants by id.
	created, destroyed map[string]string
	// block finds the block of a resource in the configuration.
	block func(*plan.Resource) plan.Block
}

// Judge says what a plan leaves to decide. It calls no target and writes nothing. It fails only if ctx ends.
func Judge(ctx context.Context, p *plan.Plan, o Options) (Report, error) {
	j := &judge{Options: o, plan: p, created: map[string]string{}, destroyed: map[string]string{},
		block: p.Blocks()}
	j.doubtPlan()
	j.open(ctx)
	j.collectRules()
	j.compareSettings()
	var grants []*plan.Resource
	for _, r := range p.ResourceChanges {
		if j.sort(r) {
			grants = append(grants, r)
		}
	}
	if err := j.judgeGrants(ctx, grants); err != nil {
		return j.report, err
	}
	j.doubtDrift()
	j.conclude()
	return j.report, ctx.Err()
}

// The types of this provider.
const (
	grantType  = "jit_grant"
	policyType = "jit_policy"
	personType = "jit_person"
)

// sort puts a planned change where it belongs, and reports whether it is about a grant, which is judged later.
func (j *judge) sort(r *plan.Resource) (isGrant bool) {
	if r.Change == nil {
		j.doubts.about("the plan says nothing about its change", r.Address)
		return false
	}
	action, known := actionOf(r)
	switch {
	case r.Mode == tfjson.DataResourceMode:
		if !r.Change.Actions.NoOp() {
			j.report.Others++
		}
		return false
	case !known:
		j.doubts.about(fmt.Sprintf("this program does not know its actions, %q", r.Change.Actions), r.Address)
	case r.Mode != tfjson.ManagedResourceMode:
		j.doubts.about(fmt.Sprintf("this program does not know its mode, %q", r.Mode), r.Address)
	case action == "":
		return false
	}
	j.doubtProvider(r)
	j.doubtProvisioners(r, action)
	switch r.Type {
	case grantType:
		id := plan.Attribute(r.Change.After, "id")
		switch action {
		case Create, Replace:
			j.created[id] = r.Address
		case Destroy:
			j.destroyed[plan.Attribute(r.Change.Before, "id")] = r.Address
		}
		return true
	case policyType, personType: // collectRules has seen them
	default:
		j.access(r, action)
	}
	return false
}

// doubtProvider doubts what looks like a resource of this provider, and is of another one or of another version.
func (j *judge) doubtProvider(r *plan.Resource) {
	if !strings.HasPrefix(r.Type, "jit_") {
		return
	}
	known := slices.Contains([]string{grantType, policyType, personType}, r.Type)
	host, own := strings.CutSuffix(r.ProviderName, "/"+source)
	switch {
	case known && r.ProviderName == "":
		j.doubts.about("the plan does not name its provider", r.Address)
	case known && !own:
		j.doubts.about("its provider is "+r.ProviderName+", not "+source, r.Address)
	case own && !slices.Contains(registries, host):
		j.doubts.about("its provider comes from "+host+", which may serve another program under this name; a mirror "+
			"keeps the name of the public registry", r.Address)
	case own && !known:
		j.doubts.about("this version does not know the type "+r.Type, r.Address)
	}
}

// registries are the hosts whose provider of this name is this one.
var registries = []string{"registry.terraform.io", "registry.opentofu.org"}

// actionOf returns what a plan does with a resource; empty if nothing. known is false if the plan says something that
// this program does not know; the change is then taken for a replacement.
func actionOf(r *plan.Resource) (action Action, known bool) {
	a := r.Change.Actions
	switch {
	case a.Create():
		action = Create
	case a.Replace():
		action = Replace
	case a.Delete():
		return Destroy, true
	case a.Forget():
		return Forget, true
	case r.Change.Importing != nil && (a.NoOp() || a.Update()):
		return Import, true
	case a.Update():
		action = Change
	case a.NoOp() && r.PreviousAddress != "" && r.PreviousAddress != r.Address:
		action = Move
	case a.NoOp(), a.Read():
	default:
		return Replace, false
	}
	return action, true
}

// judgeGrants judges the grants of the plan, many at a time.
func (j *judge) judgeGrants(ctx context.Context, grants []*plan.Resource) error {
	judged := make([]judged, len(grants))
	var group errgroup.Group
	group.SetLimit(parallel)
	for i, r := range grants {
		group.Go(func() error {
			judged[i] = j.grant(ctx, r)
			return nil
		})
	}
	_ = group.Wait() // each grant has its own doubt
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for i, one := range judged {
		if one.doubt != "" {
			j.doubts.about(one.doubt, grants[i].Address)
		}
		if !one.hidden {
			j.report.Grants = append(j.report.Grants, one.Grant)
		}
	}
	return nil
}

// conclude sorts the report and finds its outcome.
func (j *judge) conclude() {
	r := &j.report
	r.Doubts = j.doubts.list()
	*r = r.sorted()
	r.Outcome = r.Worst()
	j.command()
}

// command adds the commands that approve what waits.
func (j *judge) command() {
	var signed, reviewed bool
	for _, g := range j.report.Grants {
		if g.Awaits == "" || g.Verdict.BrokeGlass {
			continue
		}
		signed = signed || len(g.Verdict.Approval) == 0
		for _, entry := range g.Verdict.Approval {
			signed = signed || len(entry.Evidence) == 0 || slices.Contains(entry.Evidence, jit.Signature)
			reviewed = reviewed || slices.Contains(entry.Evidence, jit.PullRequest)
		}
	}
	command := "jit approve --plan " + j.File
	if signed {
		j.report.Commands = append(j.report.Commands, command)
	}
	if reviewed && j.Pull != "" {
		j.report.Commands = append(j.report.Commands, command+" "+j.Pull)
	}
}
