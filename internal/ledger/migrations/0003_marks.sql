-- What is remembered of bindings on platforms where nothing can be written on a binding. A row of
-- jit_mark_scopes outlives its marks: whoever writes marks compares its version, which only grows.
CREATE TABLE IF NOT EXISTS jit_mark_scopes (
    place   TEXT   NOT NULL,
    scope   TEXT   NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (place, scope)
);

CREATE TABLE IF NOT EXISTS jit_marks (
    place      TEXT   NOT NULL,
    scope      TEXT   NOT NULL,
    owner      TEXT   NOT NULL,
    grant_id   TEXT   NOT NULL,
    object     TEXT   NOT NULL,
    principal  TEXT   NOT NULL,
    role       TEXT   NOT NULL,
    starts_at  BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    prior      BIGINT NOT NULL,
    ending     BIGINT NOT NULL,
    PRIMARY KEY (place, scope, owner, grant_id, object)
);

CREATE INDEX IF NOT EXISTS jit_marks_grant ON jit_marks (owner, grant_id);
