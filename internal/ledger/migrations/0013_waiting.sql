-- Requests that wait for approval.
CREATE INDEX jit_grants_waiting ON jit_grants (expires_at, id) WHERE awaits <> '';
