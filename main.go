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
	"runtime/debug"
	"strings"
	"syscall"

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
	os.Exit(run(os.Args, os.Getenv(cookie) != "", os.Stdin, os.Stdout, os.Stderr))
}

// run is the program under the name args[0]. As the provider it serves only where
// startedByTerraform says that Terraform is at the other end, or a debugger.
func run(args []string, startedByTerraform bool, stdin io.Reader, stdout, stderr io.Writer) int {
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
	if os.Getenv("GOGC") == "" {
		// A plan of many grants makes and drops many small values and lasts seconds: memory is cheaper than time.
		debug.SetGCPercent(400)
	}
	// An interrupt at the keyboard reaches the provider too. It is Terraform that then asks it to stop,
	// after what is under way has been recorded.
	if err := provider.Serve(context.Background(), version, *debugging); err != nil {
		fmt.Fprintln(stderr, "error:", err)
		return 1
	}
	return 0
}

// command is jit. The first signal lets it stop in order, the second ends it at once.
func command(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	// The command says everything itself. Libraries log what a server sent out of turn, which is not for anybody's terminal.
	log.SetOutput(io.Discard)
	file, ok := stdout.(*os.File)
	return cli.Run(ctx, args, stdin, stdout, stderr, cli.Options{Version: version, Terminal: ok && isatty.IsTerminal(file.Fd())})
}
