package provider

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/function"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// ttlSeconds is the function ttl_seconds: the seconds of a ttl.
type ttlSeconds struct{}

var _ function.Function = ttlSeconds{}

// Metadata names the function.
func (ttlSeconds) Metadata(_ context.Context, _ function.MetadataRequest, resp *function.MetadataResponse) {
	resp.Name = "ttl_seconds"
}

// Definition describes the function.
func (ttlSeconds) Definition(_ context.Context, _ function.DefinitionRequest, resp *function.DefinitionResponse) {
	resp.Definition = function.Definition{
		Summary: "The seconds of a ttl",
		MarkdownDescription: "Returns how many seconds a `ttl` such as `90m`, `8h`, `2d` or `1d12h` lasts, so that the " +
			"validation of a variable can bound it. A text that no grant could have as its `ttl` is an error. Needs " +
			"Terraform 1.8 or OpenTofu 1.7.",
		Parameters: []function.Parameter{function.StringParameter{
			Name: "ttl", MarkdownDescription: "The length, as `jit_grant` takes it.",
		}},
		Return: function.Int64Return{},
	}
}

// Run reads the ttl.
func (ttlSeconds) Run(ctx context.Context, req function.RunRequest, resp *function.RunResponse) {
	var text string
	if resp.Error = req.Arguments.Get(ctx, &text); resp.Error != nil {
		return
	}
	ttl, err := jit.ParseTTL(text)
	var user *jit.Error
	switch {
	case errors.As(err, &user):
		resp.Error = badArgument(sentence(user.Problem) + " " + sentence(user.Hint))
	case err != nil:
		resp.Error = badArgument(err.Error())
	default:
		resp.Error = resp.Result.Set(ctx, int64(ttl.Length()/time.Second))
	}
}

// badArgument is the error for the first argument. Terraform ends it with a period.
func badArgument(text string) *function.FuncError {
	return function.NewArgumentFuncError(0, strings.TrimSuffix(text, "."))
}
