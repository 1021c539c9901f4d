-- The work to do has a table of its own: one row for each grant that a sweeper still has to start, end or clean up. So an
-- update of a grant touches no index, and what has ended is in no index of the work. due_at and the lease in jit_grants
-- are not used any more.
CREATE TABLE jit_due (
	id           TEXT   NOT NULL PRIMARY KEY,
	owner        TEXT   NOT NULL,
	target       TEXT   NOT NULL,
	scope        TEXT   NOT NULL,
	expires_at   BIGINT NOT NULL,
	start_by     BIGINT,
	due_at       BIGINT NOT NULL,
	lease_holder TEXT,
	lease_until  BIGINT
);

-- start_by counts only for a grant that was not revoked.
INSERT INTO jit_due (id, owner, target, scope, expires_at, start_by, due_at)
	SELECT id, owner, target, scope, expires_at, CASE WHEN revoked_at IS NULL THEN start_by END, due_at
	FROM jit_grants WHERE due_at IS NOT NULL;

CREATE INDEX jit_due_work ON jit_due (owner, due_at, target, scope, id);

CREATE INDEX jit_due_end ON jit_due (expires_at, id);

CREATE INDEX jit_due_owner ON jit_due (owner, expires_at, id);

CREATE INDEX jit_due_place ON jit_due (target, scope, expires_at);

DROP INDEX IF EXISTS jit_grants_due;

DROP INDEX IF EXISTS jit_grants_open;

DROP INDEX IF EXISTS jit_grants_owner_open;
