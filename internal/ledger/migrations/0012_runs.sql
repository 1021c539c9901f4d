-- The first change of policies or persons by each run of Terraform that made one.
CREATE TABLE jit_runs (
	run       TEXT   NOT NULL PRIMARY KEY,
	first_seq BIGINT NOT NULL
);

-- The changes of policies and persons, which are few among the events.
CREATE INDEX jit_events_rules ON jit_events (seq)
	WHERE kind IN ('policy_changed', 'policy_removed', 'person_changed', 'person_removed');
