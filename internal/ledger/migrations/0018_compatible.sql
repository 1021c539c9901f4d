-- The oldest schema versions whose programs can read this ledger and write to it: a program looks here if the ledger is
-- newer than the program.
ALTER TABLE jit_ledger ADD COLUMN readable_since BIGINT NOT NULL DEFAULT 18;

ALTER TABLE jit_ledger ADD COLUMN writable_since BIGINT NOT NULL DEFAULT 18;
