-- The grants of one owner are listed page by page in the order of an index.
CREATE INDEX jit_grants_of_owner ON jit_grants (owner, expires_at, id);

CREATE INDEX jit_grants_owner_open ON jit_grants (owner, expires_at, id) WHERE due_at IS NOT NULL;

DROP INDEX IF EXISTS jit_grants_owner;
