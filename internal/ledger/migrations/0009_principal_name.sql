-- What people call the principal, such as the comment of a public key; empty if it has no other name.
ALTER TABLE jit_grants ADD COLUMN principal_name TEXT NOT NULL DEFAULT '';
