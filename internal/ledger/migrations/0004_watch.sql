-- Work that several processes share and that is no grant: who does it until when, and how far it has come.
CREATE TABLE IF NOT EXISTS jit_leases (
    name        TEXT   PRIMARY KEY,
    holder      TEXT   NOT NULL,
    lease_until BIGINT NOT NULL,
    position    BIGINT NOT NULL
);

-- The end of which it was announced that it is near; NULL before.
ALTER TABLE jit_grants ADD COLUMN announced_end BIGINT;

-- The drift that is recorded as found and not yet as put right; empty is none.
ALTER TABLE jit_grants ADD COLUMN open_drift TEXT NOT NULL DEFAULT '';

CREATE INDEX IF NOT EXISTS jit_grants_place ON jit_grants (target, scope, expires_at, id);
CREATE INDEX IF NOT EXISTS jit_events_time ON jit_events (recorded_at, seq);
