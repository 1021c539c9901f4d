data "jit_persons" "leads" {
  group = "group:payments-leads"
}

output "leads" {
  value = data.jit_persons.leads.persons[*].name
}
