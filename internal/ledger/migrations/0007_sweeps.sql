-- When a sweeper last passed that serves an owner on a target; the owner * stands for all owners.
CREATE TABLE IF NOT EXISTS jit_sweeps (
    owner    TEXT   NOT NULL,
    target   TEXT   NOT NULL,
    swept_at BIGINT NOT NULL,
    PRIMARY KEY (owner, target)
);

-- The grants of one owner, and the names of all owners.
CREATE INDEX IF NOT EXISTS jit_grants_owner ON jit_grants (owner, expires_at, id);
