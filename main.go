// Command terraform-provider-jit is temporary access as code: the Terraform
// provider and, under the name jit, the command that works beside it.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/mattn/go-isatty"

	"github.com/jitaccess/terraform-provider-jit/internal/cli"
	"github.com/jitaccess/terraform-provider-jit/internal/provider"
)

const (
	providerName = "terraform-provider-jit"
	// cookie is the variable that Terraform and OpenTofu set for a provider that they start
	// (https://github.com/hashicorp/go-plugin, HandshakeConfig).
	cookie = "TF_PLUGIN_MAGIC_COOKIE"
)

// version is set by the release build.
var version = "dev"

const notByHand = `This is the Terraform provider jitaccess/jit. Terraform starts it; started by hand it does nothing.

To use it, write in a configuration:

  terraform {
    required_providers {
      jit = { source = "jitaccess/jit" }
    }
  }

The same file is the command jit, which lists, revokes and sweeps grants, under another name:

  ln -s %[1]s jit
  ./jit help
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args, os.Getenv(cookie) != "")
	stop()
	os.Exit(code)
}

// run is the program under the name args[0]. As the provider it serves only where
// startedByTerraform says that Terraform is at the other end, or a debugger.
func run(ctx context.Context, args []string, startedByTerraform bool) int {
	name := strings.TrimSuffix(filepath.Base(args[0]), ".exe")
	if !strings.HasPrefix(name, providerName) {
		return cli.Run(ctx, args[1:], os.Stdin, os.Stdout, os.Stderr, cli.Options{Version: version, Terminal: isatty.IsTerminal(os.Stdout.Fd())})
	}
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	debug := flags.Bool("debug", false, "run until interrupted, for a debugger")
	err := flags.Parse(args[1:])
	if !startedByTerraform && (err != nil || !*debug) {
		fmt.Fprintf(os.Stderr, notByHand, args[0])
		return 1
	}
	if err := providerserver.Serve(ctx, provider.New(version, provider.Open), providerserver.ServeOpts{Address: provider.Address, Debug: *debug}); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	return 0
}
