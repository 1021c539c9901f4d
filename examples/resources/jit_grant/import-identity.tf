import {
  to = jit_grant.alice_reads
  identity = {
    id = "6a0b4e3b-575d-8286-a2be-ee9314c79d64"
  }
}
