-- The name of the person who asks, as the request has it; empty if it has none.
ALTER TABLE jit_grants ADD COLUMN requester TEXT NOT NULL DEFAULT '';
