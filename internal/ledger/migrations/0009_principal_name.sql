-- What people call the principal, such as the comment of a public key; empty if it has no other name.
ALTER TABLE jit_grants ADD COLUMN principal_name TEXT NOT NULL DEFAULT '';

-- The beginning that the request asks for: a time in RFC 3339 or "at once"; empty in records of older programs.
ALTER TABLE jit_grants ADD COLUMN start_asked TEXT NOT NULL DEFAULT '';
