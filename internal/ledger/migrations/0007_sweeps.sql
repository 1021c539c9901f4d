-- When a sweeper last passed that serves an owner on a target; the owner * stands for all owners.
CREATE TABLE IF NOT EXISTS jit_sweeps (
    owner    TEXT   NOT NULL,
    target   TEXT   NOT NULL,
    swept_at BIGINT NOT NULL,
    PRIMARY KEY (owner, target)
);

-- The names of all owners. Nothing else is in it: what is inserted then goes to one place of the index.
CREATE INDEX IF NOT EXISTS jit_grants_owner ON jit_grants (owner);
