-- A failed attempt is a closed record with its error: nothing of it is due.
ALTER TABLE jit_grants ADD COLUMN failure TEXT NOT NULL DEFAULT '';

UPDATE jit_grants SET due_at = NULL WHERE due_at IS NOT NULL AND failed_at IS NOT NULL AND granted_at IS NULL AND revoked_at IS NULL;

-- What happened to one grant.
CREATE INDEX IF NOT EXISTS jit_events_grant ON jit_events (grant_id, seq) WHERE grant_id <> '';
