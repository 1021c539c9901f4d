# The pipeline may change the schema while this run lasts, and neither before nor afterwards.
ephemeral "jit_grant" "migrate" {
  target    = "payments-db"
  principal = "pipeline"
  role      = "payments_admin"
  reason    = "CHG-77: migrate the schema"
  ttl       = "15m"
  applying  = terraform.applying
}

resource "terraform_data" "migration" {
  triggers_replace = 77

  provisioner "local-exec" {
    command = "psql --file migration-77.sql"
    environment = {
      PGUSER = "pipeline"
      GRANT  = ephemeral.jit_grant.migrate.id # the access lasts until this is done
    }
  }
}
