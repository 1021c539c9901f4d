// Command opa evaluates a query of the Open Policy Agent over a JSON document, as `opa eval` does, and writes its value
// as JSON. The whole agent takes longer to build than the tests that need it take.
//
// Usage: opa RULES_DIR INPUT QUERY
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/open-policy-agent/opa/v1/rego"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "opa:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 3 {
		return errors.New("usage: opa RULES_DIR INPUT QUERY")
	}
	text, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	var input any
	if err := json.Unmarshal(text, &input); err != nil {
		return fmt.Errorf("read %s: %w", args[1], err)
	}
	results, err := rego.New(rego.Query(args[2]), rego.Load(args[:1], nil), rego.Input(input)).Eval(ctx)
	if err != nil {
		return err
	}
	if len(results) != 1 || len(results[0].Expressions) != 1 {
		return fmt.Errorf("%s has %d values, want one", args[2], len(results))
	}
	return json.NewEncoder(os.Stdout).Encode(results[0].Expressions[0].Value)
}
