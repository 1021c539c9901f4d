-- Both dialects run this text. Times are microseconds since 1970 in UTC, NULL for
-- what has not happened. The names have a prefix because a PostgreSQL database may
-- hold other applications too.

-- One row. The head is the sequence number and the hash of the last event; whoever
-- writes locks this row, so events have one order.
CREATE TABLE IF NOT EXISTS jit_ledger (
    singleton      BIGINT PRIMARY KEY CHECK (singleton = 1),
    id             TEXT   NOT NULL,
    schema_version BIGINT NOT NULL,
    head_seq       BIGINT NOT NULL,
    head_hash      TEXT   NOT NULL
);

-- due_at is the index key of due work: when the grant next needs a sweeper, NULL when
-- never again. A lease belongs to whoever claimed the work and is no part of the record.
CREATE TABLE IF NOT EXISTS jit_grants (
    id                 TEXT   PRIMARY KEY,
    owner              TEXT   NOT NULL,
    target             TEXT   NOT NULL,
    principal          TEXT   NOT NULL,
    role               TEXT   NOT NULL,
    scope              TEXT   NOT NULL,
    reason             TEXT   NOT NULL,
    renewal            BIGINT NOT NULL,
    ttl                TEXT   NOT NULL,
    starts_at          BIGINT NOT NULL,
    expires_at         BIGINT NOT NULL,
    start_by           BIGINT,
    policy             TEXT   NOT NULL,
    terminate_sessions BIGINT NOT NULL,
    enforcement        TEXT   NOT NULL,
    session_tail       BIGINT NOT NULL,
    requested_at       BIGINT NOT NULL,
    granted_at         BIGINT,
    failed_at          BIGINT,
    revoked_at         BIGINT,
    revoked_by         TEXT   NOT NULL,
    revoke_reason      TEXT   NOT NULL,
    ended_at           BIGINT,
    holder             BIGINT NOT NULL,
    version            BIGINT NOT NULL,
    due_at             BIGINT,
    lease_holder       TEXT,
    lease_until        BIGINT
);

CREATE INDEX IF NOT EXISTS jit_grants_end ON jit_grants (expires_at, id);
CREATE INDEX IF NOT EXISTS jit_grants_open ON jit_grants (expires_at, id) WHERE ended_at IS NULL;
CREATE INDEX IF NOT EXISTS jit_grants_due ON jit_grants (owner, due_at, id) WHERE due_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS jit_grants_target ON jit_grants (target, expires_at, id);
CREATE INDEX IF NOT EXISTS jit_grants_principal ON jit_grants (principal, expires_at, id);

CREATE TABLE IF NOT EXISTS jit_policies (
    name TEXT PRIMARY KEY,
    body TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS jit_events (
    seq         BIGINT PRIMARY KEY,
    recorded_at BIGINT NOT NULL,
    kind        TEXT   NOT NULL,
    grant_id    TEXT   NOT NULL,
    policy      TEXT   NOT NULL,
    actor       TEXT   NOT NULL,
    change_ref  TEXT   NOT NULL,
    source      TEXT   NOT NULL,
    detail      TEXT   NOT NULL,
    prev        TEXT   NOT NULL,
    hash        TEXT   NOT NULL
);
