-- Whether the principal was seen to have no such access of its own when the grant was asked for; unknown is no.
ALTER TABLE jit_grants ADD COLUMN alone BIGINT NOT NULL DEFAULT 0;
