import {
  to = jit_person.lea
  id = "lea@example.com"
}
