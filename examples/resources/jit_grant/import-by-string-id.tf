import {
  to = jit_grant.alice_reads
  id = "6a0b4e3b-575d-8286-a2be-ee9314c79d64"
}
