-- What of an ended grant is left on its platform and gives no access; empty is nothing. Such a grant stays due.
ALTER TABLE jit_grants ADD COLUMN remains TEXT NOT NULL DEFAULT '';

-- What is not finished: live, due, or still to be cleaned up.
DROP INDEX IF EXISTS jit_grants_open;

CREATE INDEX jit_grants_open ON jit_grants (expires_at, id) WHERE due_at IS NOT NULL;
