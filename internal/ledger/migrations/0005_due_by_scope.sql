-- What is due at the same time is claimed scope by scope.
DROP INDEX IF EXISTS jit_grants_due;

CREATE INDEX jit_grants_due ON jit_grants (owner, due_at, target, scope, id) WHERE due_at IS NOT NULL;
