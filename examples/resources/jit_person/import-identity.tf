import {
  to = jit_person.lea
  identity = {
    name = "lea@example.com"
  }
}
