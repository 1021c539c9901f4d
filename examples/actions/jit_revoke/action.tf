# terraform apply -invoke=action.jit_revoke.stolen_laptop
action "jit_revoke" "stolen_laptop" {
  config {
    principal          = "alice"
    reason             = "SEC-12: the laptop is stolen"
    terminate_sessions = true
  }
}

# One grant, as soon as something else has been made.
action "jit_revoke" "replaced" {
  config {
    id     = jit_grant.alice_reads.id
    reason = "CHG-77: the new role replaces it"
  }
}

resource "terraform_data" "new_role" {
  lifecycle {
    action_trigger {
      events  = [after_create]
      actions = [action.jit_revoke.replaced]
    }
  }
}
