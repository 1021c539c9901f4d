package provider

import (
	"bytes"
	"encoding/json"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// viewAttributes describe the attributes of the data sources about grants: those of [jit.View], by their JSON names.
var viewAttributes = []struct {
	name        string
	kind        attr.Type
	description string
}{
	{"id", types.StringType, "The id of the grant."},
	{"summary", types.StringType, "The request in one line: who, what, where, for how long and why."},
	{"request_digest", types.StringType, "The SHA-256 of the request, to which approvals refer."},
	{"state", types.StringType, "The state of the grant now: `requested`, `pending`, `scheduled`, `active`, " +
		"`expired`, `revoked` or `failed`."},
	{"outstanding", types.BoolType, "Whether the grant is over, and its target has not confirmed yet that the access " +
		"is gone."},
	{"owner", types.StringType, "The owner of the grant."},
	{"target", types.StringType, "The target."},
	{"principal", types.StringType, "Who has the access, in the canonical form."},
	{"principal_name", types.StringType, "What people call the principal, such as the comment of an SSH key; null " +
		"if it has no other name."},
	{"role", types.StringType, "What access, in the canonical form."},
	{"scope", types.StringType, "Where on the target, in the canonical form."},
	{"reason", types.StringType, "Why the access was requested."},
	{"reason_lost", types.BoolType, "Whether the ledger has lost the reason. `reason` then says so."},
	{"renewal", types.Int64Type, "How many times this has been granted for the same reason, counted from 1."},
	{"ttl", types.StringType, "The length, as in the configuration; null if the configuration sets `expires_at`."},
	{"starts_at", types.StringType, "The beginning of the window."},
	{"expires_at", types.StringType, "The end of the window."},
	{"start_by", types.StringType, "The latest time at which the grant may begin; null if it has none."},
	{"policy", types.StringType, "The policy that permitted the grant; null if there was none."},
	{"enforcement", types.StringType, "Who ends the access: `native`, the platform itself, or `sweeper`."},
	{"session_tail", types.StringType, "The longest time that a session can outlive the window."},
	{"terminate_sessions", types.BoolType, "Whether revoking the access also ends open sessions."},
	{"requester", types.StringType, "The name of the person who asked, as in the configuration; null if it names none."},
	{"break_glass", types.BoolType, "Whether the configuration asks to begin without approval."},
	{"awaits", types.StringType, "Whose approval is missing. A request waits for it; a grant that broke the glass " +
		"began without it. Null if none is missing."},
	{"signed_off_at", types.StringType, "When somebody signed off a grant that broke the glass; null if nobody did."},
	{"signed_off_by", types.StringType, "Who signed the grant off."},
	{"requested_at", types.StringType, "When the request was recorded."},
	{"granted_at", types.StringType, "When the target confirmed the access; null before."},
	{"failed_at", types.StringType, "When the attempt to grant failed; null if it did not."},
	{"failure", types.StringType, "Why the attempt to grant failed; null if it did not."},
	{"revoked_at", types.StringType, "When somebody ended the grant early; null if nobody did."},
	{"revoked_by", types.StringType, "Who ended the grant early."},
	{"revoke_reason", types.StringType, "Why the grant was ended early."},
	{"ended_at", types.StringType, "When the access really ended; null until the target has confirmed that."},
	{"drift", types.StringType, "How the access differed from the grant at the last check; null if it did not, or if " +
		"it was repaired since."},
	{"remains", types.StringType, "What an ended grant has left on its target, although it gives no access any more; " +
		"null if nothing is left."},
}

// viewSchema returns the attributes as a data source describes them.
func viewSchema() map[string]schema.Attribute {
	all := map[string]schema.Attribute{}
	for _, a := range viewAttributes {
		switch a.kind {
		case types.BoolType:
			all[a.name] = schema.BoolAttribute{Computed: true, MarkdownDescription: a.description}
		case types.Int64Type:
			all[a.name] = schema.Int64Attribute{Computed: true, MarkdownDescription: a.description}
		default:
			all[a.name] = schema.StringAttribute{Computed: true, MarkdownDescription: a.description}
		}
	}
	return all
}

// viewType is the type of a grant in a list.
func viewType() types.ObjectType {
	kinds := map[string]attr.Type{}
	for _, a := range viewAttributes {
		kinds[a.name] = a.kind
	}
	return types.ObjectType{AttrTypes: kinds}
}

// viewValues returns the values of viewAttributes.
func viewValues(v jit.View) (map[string]attr.Value, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var facts map[string]any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&facts); err != nil {
		return nil, err
	}
	values := map[string]attr.Value{}
	for _, a := range viewAttributes {
		values[a.name] = viewValue(a.kind, facts[a.name])
	}
	return values, nil
}

// viewValue returns a fact of a view. A text that is left out is null, a flag that is left out is false.
func viewValue(kind attr.Type, fact any) attr.Value {
	switch kind {
	case types.BoolType:
		is, _ := fact.(bool)
		return types.BoolValue(is)
	case types.Int64Type:
		number, _ := fact.(json.Number)
		n, _ := number.Int64() // every whole number in a view is one
		return types.Int64Value(n)
	}
	text, _ := fact.(string)
	return optional(text)
}
