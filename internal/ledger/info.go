package ledger

import (
	"context"
	"database/sql"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Info describes a ledger as a whole.
type Info struct {
	// ID is empty if there is no ledger.
	ID string `json:"id"`
	// Kind is sqlite or postgres, and Name the URL without user and password.
	Kind string `json:"kind"`
	Name string `json:"ledger"`
	// Schema is the version of its tables.
	Schema int `json:"schema"`
	// Events counts the recorded events of all chains, and OneChain those of them from before there were several chains.
	Events   int64 `json:"events"`
	OneChain int64 `json:"events_of_one_chain"`
	// Chains are the last events of the chains.
	Chains []jit.Tip `json:"chains"`
	// Root binds the chains; see [jit.Root].
	Root string `json:"root,omitempty"`
	// Bytes is the size of the file or of the tables with their indexes; 0 if the server does not tell.
	Bytes int64 `json:"bytes,omitempty"`
	// Oldest and Newest are the times of events; zero if there is none.
	Oldest time.Time `json:"oldest,omitzero"`
	Newest time.Time `json:"newest,omitzero"`
}

const (
	oldestQuery = `SELECT min(at), max(last) FROM (SELECT
		(SELECT min(l.recorded_at) FROM jit_log l WHERE l.chain = c.chain) AS at,
		(SELECT max(l.recorded_at) FROM jit_log l WHERE l.chain = c.chain) AS last FROM jit_chains c) AS times`
	oldestOldQuery = "SELECT min(recorded_at), max(recorded_at) FROM jit_events"
)

// Info describes the ledger. It reads no event, so it is quick on a large ledger too.
func (l *Ledger) Info(ctx context.Context) (Info, error) {
	kind, _, _ := strings.Cut(l.db.name(), "://")
	i := Info{Kind: kind, Name: l.db.name()}
	db, err := l.read(ctx)
	if err != nil || db == nil {
		return i, err
	}
	err = l.inSnapshot(ctx, func(tx *sql.Tx) error {
		s, err := l.state(ctx, tx)
		if err != nil {
			return err
		}
		i.ID, i.Schema, i.Chains, i.Root = s.id, s.schema, s.list(), jit.Root(s.id, s.list())
		for _, t := range i.Chains {
			i.Events += t.Seq
		}
		lay := s.layout()
		i.OneChain = lay.last
		for query, wanted := range map[string]bool{oldestQuery: lay.log, oldestOldQuery: lay.old} {
			if !wanted {
				continue
			}
			var oldest, newest sql.NullInt64
			if err := tx.QueryRowContext(ctx, query).Scan(&oldest, &newest); err != nil {
				return err
			}
			i.include(moment(oldest), moment(newest))
		}
		return nil
	})
	if err != nil {
		return i, err
	}
	if db.QueryRowContext(ctx, l.size).Scan(&i.Bytes) != nil {
		i.Bytes = 0 // servers that speak the protocol of PostgreSQL need not know sizes
	}
	return i, nil
}

// include widens the time between the oldest and the newest event.
func (i *Info) include(oldest, newest time.Time) {
	if !oldest.IsZero() && (i.Oldest.IsZero() || oldest.Before(i.Oldest)) {
		i.Oldest = oldest
	}
	if newest.After(i.Newest) {
		i.Newest = newest
	}
}
