package cli

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

func (p *program) versionLine() string {
	commit := ""
	if p.Commit != "" {
		commit = "commit " + p.Commit + ", "
	}
	return fmt.Sprintf("jit %s (%s%s, %s/%s)\n", p.Version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// userAgent says in requests to targets that jit makes them.
func (p *program) userAgent() string { return jit.UserAgent(p.Version, "") }

func (p *program) versionCommand() *cobra.Command {
	cmd := leaf(&cobra.Command{
		Use:   "version",
		Short: "Print the version",
		RunE: func(*cobra.Command, []string) error {
			if p.json {
				facts := map[string]string{"version": p.Version, "go_version": runtime.Version(),
					"platform": runtime.GOOS + "/" + runtime.GOARCH}
				if p.Commit != "" {
					facts["commit"] = p.Commit
				}
				return p.printJSON(facts)
			}
			_, err := fmt.Fprint(p.out, p.versionLine())
			return err
		},
	})
	p.jsonFlag(cmd)
	return cmd
}
