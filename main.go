// Command terraform-provider-jit is temporary access as code: the Terraform
// provider and, under the name jit, the command that works beside it.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/term"

	"github.com/jitaccess/terraform-provider-jit/internal/cli"
	"github.com/jitaccess/terraform-provider-jit/internal/provider"
)

const (
	providerName = "terraform-provider-jit"
	// cookie is the variable that Terraform and OpenTofu set when they start a provider
	// (https://github.com/hashicorp/go-plugin, HandshakeConfig).
	cookie = "TF_PLUGIN_MAGIC_COOKIE"
)

// version and commit are set by the build.
var (
	version = "dev"
	commit  = ""
)

const notByHand = `This is the Terraform provider jitaccess/jit. Terraform starts it; it does nothing when you start it yourself.

To use it, add this to a configuration:

  terraform {
    required_providers {
      jit = { source = "jitaccess/jit" }
    }
  }

Under another name, the same file is the command jit, which lists, revokes and sweeps grants:

  ln -s %[1]s jit
  ./jit help
`

func main() {
	os.Exit(run(os.Args, os.Getenv(cookie) != "", os.Stdin, os.Stdout, os.Stderr))
}

// run is the program under the name args[0]. The provider serves only if Terraform started it, or with -debug.
func run(args []string, startedByTerraform bool, stdin io.Reader, stdout, stderr io.Writer) int {
	tuneGC()
	name := strings.TrimSuffix(filepath.Base(args[0]), ".exe")
	if !strings.HasPrefix(name, providerName) {
		return command(args[1:], stdin, stdout, stderr)
	}
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	debugging := flags.Bool("debug", false, "serve until interrupted, for a debugger")
	err := flags.Parse(args[1:])
	if !startedByTerraform && (err != nil || !*debugging) {
		fmt.Fprintf(stderr, notByHand, args[0])
		return 1
	}
	// Ctrl-C reaches the provider too. It goes on until Terraform asks it to stop, so calls in progress are recorded.
	if err := provider.Serve(version, *debugging); err != nil {
		fmt.Fprintln(stderr, "error:", err)
		return 1
	}
	return 0
}

// command runs jit. The first signal stops it in good order, the second ends it at once.
func command(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	// The command reports everything itself. Libraries log unexpected bytes from servers, which do not belong on a
	// terminal.
	log.SetOutput(io.Discard)
	o := cli.Options{Version: version, Commit: commit}
	if file, ok := stdout.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		o.Terminal = true
		o.Width, _, _ = term.GetSize(int(file.Fd()))
	}
	if file, ok := stdin.(*os.File); ok {
		o.Interactive = term.IsTerminal(int(file.Fd()))
	}
	return cli.Run(ctx, args, stdin, stdout, stderr, o)
}
