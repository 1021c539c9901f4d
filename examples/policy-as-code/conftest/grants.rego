# Every grant that a plan makes or changes ends within 8 hours. For `conftest test` and `opa eval`.
package main

deny contains message if {
	some resource in input.resource_changes
	resource.type == "jit_grant"
	some action in resource.change.actions
	action in {"create", "update"}
	not short(resource.change.after)
	message := sprintf("%s lasts longer than 8h, or nobody knows how long: write ttl = \"8h\" or less", [resource.address])
}

# A length that is null or unknown is not short.
short(grant) if {
	is_number(grant.ttl_seconds)
	grant.ttl_seconds <= 8 * 60 * 60
}
