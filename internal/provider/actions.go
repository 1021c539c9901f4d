package provider

import (
	"context"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework/action"
)

// actionBase is the common part of actions. name follows "jit_" in the name of the type.
type actionBase struct {
	*backend
	name string
}

// Metadata names the action.
func (a *actionBase) Metadata(_ context.Context, req action.MetadataRequest, resp *action.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_" + a.name
}

// Configure receives the backend of the provider.
func (a *actionBase) Configure(_ context.Context, req action.ConfigureRequest, resp *action.ConfigureResponse) {
	a.backend = receive(req.ProviderData, &resp.Diagnostics)
}

// progress sends a line of progress to Terraform.
func progress(resp *action.InvokeResponse, format string, args ...any) {
	resp.SendProgress(action.InvokeProgressEvent{Message: fmt.Sprintf(format, args...)})
}
