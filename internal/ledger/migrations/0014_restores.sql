-- The events that say that the ledger went back in time, or that somebody accepted it: few among the events.
CREATE INDEX jit_events_restores ON jit_events (seq) WHERE kind IN ('ledger_behind', 'ledger_restored');
