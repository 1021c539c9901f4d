terraform import jit_person.lea lea@example.com
