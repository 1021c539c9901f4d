package ledger

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/bucket"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// unfit says which value of a table of a commit does not fit its column; empty if all do. SQLite keeps whatever
// somebody writes into a column, and whoever reads the rows of all owners would fail at such a value.
func (s tableShape) unfit(t bucket.Table) string {
	if sorted := slices.Sorted(slices.Values(t.Columns)); len(slices.Compact(sorted)) < len(t.Columns) {
		return fmt.Sprintf("a row of %q has a column twice", t.Name)
	}
	for _, row := range t.Rows {
		if len(row) != len(t.Columns) {
			return "a row has another number of values than columns"
		}
		for i, column := range t.Columns {
			if !s.fits(column, row[i]) {
				return fmt.Sprintf("a row of %q has no such value of %q", t.Name, jit.Said(column))
			}
		}
	}
	return ""
}

// fits reports whether a column can have a value.
func (s tableShape) fits(column string, value any) bool {
	switch v := value.(type) {
	case nil: // SQLite permits that in a key
		return !slices.Contains(s.key, column)
	case string:
		return !slices.Contains(s.whole, column)
	case json.Number:
		n, err := v.Int64()
		if isTime := strings.HasSuffix(column, "_at") || timeColumns[column]; isTime && (n < firstMicro || n > lastMicro) {
			return false
		}
		return err == nil && slices.Contains(s.whole, column)
	}
	return false
}

// timeColumns have a time, and no name that ends in _at.
var timeColumns = map[string]bool{"start_by": true, "announced_end": true, "lease_until": true}
