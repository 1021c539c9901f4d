-- One chain of events an owner, and _all for what belongs to all: policies, persons and the ledger itself. Whoever
-- writes events of a chain locks its row. The events before this version stay where they are, in jit_events: they are the
-- beginning of _all, which the head of jit_ledger ends. That head does not move any more.
CREATE TABLE jit_chains (
	chain     TEXT   NOT NULL PRIMARY KEY,
	head_seq  BIGINT NOT NULL,
	head_hash TEXT   NOT NULL
);

INSERT INTO jit_chains (chain, head_seq, head_hash)
	SELECT '_all', head_seq, CASE WHEN head_seq = 0 THEN id || '/_all' ELSE head_hash END FROM jit_ledger;

-- after_seq is the last event of _all that was recorded before; 0 in _all itself.
CREATE TABLE jit_log (
	chain       TEXT   NOT NULL,
	seq         BIGINT NOT NULL,
	recorded_at BIGINT NOT NULL,
	kind        TEXT   NOT NULL,
	grant_id    TEXT   NOT NULL,
	policy      TEXT   NOT NULL,
	actor       TEXT   NOT NULL,
	change_ref  TEXT   NOT NULL,
	source      TEXT   NOT NULL,
	detail      TEXT   NOT NULL,
	after_seq   BIGINT NOT NULL,
	prev        TEXT   NOT NULL,
	hash        TEXT   NOT NULL,
	PRIMARY KEY (chain, seq)
);

CREATE INDEX jit_log_time ON jit_log (chain, recorded_at, seq);

CREATE INDEX jit_log_grant ON jit_log (grant_id, chain, seq) WHERE grant_id <> '';

CREATE INDEX jit_log_rules ON jit_log (chain, seq)
	WHERE kind IN ('policy_changed', 'policy_removed', 'person_changed', 'person_removed');

CREATE INDEX jit_log_restores ON jit_log (chain, seq) WHERE kind IN ('ledger_behind', 'ledger_restored');
