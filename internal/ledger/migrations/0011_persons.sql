-- People who ask for access and decide on it. A program that does not know them would not know approvals either.
CREATE TABLE jit_persons (
	name TEXT NOT NULL PRIMARY KEY,
	body TEXT NOT NULL
);

-- Whether a grant begins without approval, and who signed that off.
ALTER TABLE jit_grants ADD COLUMN break_glass SMALLINT NOT NULL DEFAULT 0;
ALTER TABLE jit_grants ADD COLUMN signed_off_at BIGINT;
ALTER TABLE jit_grants ADD COLUMN signed_off_by TEXT NOT NULL DEFAULT '';

-- Whose approval a request that gave nothing waits for; empty if it does not wait.
ALTER TABLE jit_grants ADD COLUMN awaits TEXT NOT NULL DEFAULT '';

-- Grants that began without approval and are not signed off.
CREATE INDEX jit_grants_unsigned ON jit_grants (expires_at, id) WHERE break_glass = 1 AND signed_off_at IS NULL;
