package postgresql

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/jitaccess/terraform-provider-jit/internal/pgsession"
)

// node is a node of a plan that EXPLAIN (ANALYZE, FORMAT JSON) prints (PostgreSQL, "EXPLAIN").
type node struct {
	Relation string  `json:"Relation Name"`
	Index    string  `json:"Index Name"`
	Rows     float64 `json:"Actual Rows"`
	Removed  float64 `json:"Rows Removed by Filter"`
	Loops    float64 `json:"Actual Loops"`
	Plans    []node
}

// most returns the node that reads most rows, and how many.
func (n node) most() (node, float64) {
	worst, rows := n, (n.Rows+n.Removed)*n.Loops
	for _, below := range n.Plans {
		if at, read := below.most(); read > rows {
			worst, rows = at, read
		}
	}
	return worst, rows
}

// The statements about a few grants read only their roles, however many others the server has. Only a snapshot reads
// all roles.
func TestStatementsReadOnlyWhatTheyNeed(t *testing.T) {
	s := newSite(t)
	p, a := s.open(t), s.access(0, 0, "explain")
	apply(t, p, ensured(a))
	const others = 2000
	s.exec(t, fmt.Sprintf(`DO $many$ BEGIN FOR n IN 1..%d LOOP
		EXECUTE format('CREATE ROLE %%I', 'jit:many ' || n);
		EXECUTE format('COMMENT ON ROLE %%I IS ''jit:many''', 'jit:many ' || n);
		EXECUTE format('GRANT %%I TO %%I', %s, 'jit:many ' || n);
		EXECUTE format('GRANT %%I TO %%I', 'jit:many ' || n, %s);
	END LOOP; END $many$`, others, pgsession.Literal(a.Binding.Role), pgsession.Literal(a.Binding.Principal)))
	s.exec(t, "ANALYZE pg_authid, pg_auth_members, pg_shdescription, pg_shdepend")

	wrapper := wrapperName(a.Marker.Owner, a.Marker.ID)
	names := []string{wrapper, a.Binding.Principal, a.Binding.Role}
	for what, q := range map[string]struct {
		sql string
		arg any
	}{
		"roles":       {namedRoles, names},
		"memberships": {namedMemberships(s.server.Major), []string{wrapper}},
		"inclusions":  {includedSQL, a.Binding.Role},
		"locks":       {holdersSQL, names},
		"property":    {unlessOwner(wrapper), nil},
	} {
		var args []any
		if q.arg != nil {
			args = append(args, q.arg)
		}
		var text []byte
		if err := s.admin.QueryRow(t.Context(), "EXPLAIN (ANALYZE, FORMAT JSON) "+q.sql,
			append([]any{pgx.QueryExecModeExec}, args...)...).Scan(&text); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		var plans []struct{ Plan node }
		if err := json.Unmarshal(text, &plans); err != nil || len(plans) != 1 {
			t.Fatalf("%s: %v in %s", what, err, text)
		}
		if worst, rows := plans[0].Plan.most(); rows > others/10 {
			t.Errorf("the statement about %s reads %.0f rows of %s %s:\n%s", what, rows, worst.Relation, worst.Index,
				text)
		}
	}
}
