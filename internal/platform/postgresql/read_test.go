package postgresql

import (
	"sync"
	"testing"
)

// TestAReadOutlastsAStatementTimeout: the owner of the database sets one that ends the first statements of some
// transactions where the server has much to do.
func TestAReadOutlastsAStatementTimeout(t *testing.T) {
	s := newSite(t)
	s.exec(t, "ALTER DATABASE "+quote(databaseOf(t, s.url))+" SET statement_timeout = 1")
	var all sync.WaitGroup
	for range 16 {
		p, calls := s.open(t), 0
		p.OnCall = func(string) { calls++ }
		all.Go(func() {
			for range 20 {
				calls = 0
				if _, err := p.Read(t.Context(), cluster); err != nil && calls < attempts {
					t.Errorf("given up after %d calls: %v", calls, err)
					return
				}
				p.pool.Reset() // the next one begins with the database's setting
			}
		})
	}
	all.Wait()
}
