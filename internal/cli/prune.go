package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/hcledit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// pruning holds the arguments of jit prune.
type pruning struct {
	dir, state string
	// age is how long ago a grant must have ended; olderThan is its text.
	olderThan string
	age       time.Duration
	dryRun    bool
	// workspaces: blocks go although the folder has several workspaces.
	workspaces bool
}

func (p *program) pruneCommand() *cobra.Command {
	var o pruning
	cmd := p.command(&cobra.Command{
		Use:   "prune",
		Short: "Remove the blocks of grants that are over from the configuration",
		Long: `Remove the blocks of grants that are over from the files of a folder. jit changes no other byte. If a file is
then empty, jit deletes it. jit writes neither the state nor the ledger: commit the change, plan, and apply. The plan
destroys these grants and changes nothing else, and the apply calls no target.

The ids of the grants come from the state: jit runs terraform show -json, or tofu show -json if the folder uses
OpenTofu, or reads --state. A grant is over if the ledger says so, and its target has confirmed the end.

jit leaves a block, and says why, in these cases: the grant is not over, or the ledger does not know it; the block has
count or for_each, or is in a module; the block may ask for something that no apply has granted yet; it has a lifecycle
block or a provisioner; or something else in the folder names it.

jit leaves all blocks if the provider block names another owner or ledger than the settings, or if the folder has
several workspaces.

If the same block comes back later, the plan refuses it with an error that names renewal. So nobody gets the access
again by a revert.

` + exitCodes,
		Example: `  jit prune --dry-run
  jit prune --older-than 7d
  terraform show -json > state.json && jit prune --state state.json --json`,
	}, func([]string) (err error) {
		o.age, err = jit.ParseDuration("--older-than", o.olderThan)
		return err
	}, func(ctx context.Context, rt *config.Runtime) error { return p.prune(ctx, rt, o) })
	flags := cmd.Flags()
	flags.BoolVar(&o.dryRun, "dry-run", false, "print the change as a diff, and change nothing")
	flags.StringVar(&o.olderThan, "older-than", "0s", "only grants that ended this long ago, such as 7d")
	flags.StringVar(&o.dir, "dir", ".", "the `folder` of the configuration")
	flags.StringVar(&o.state, "state", "", "the `file` with the output of terraform show -json; - is stdin")
	flags.BoolVar(&o.workspaces, "ignore-workspaces", false,
		"also in a folder with several workspaces; check first that the grants are over in each")
	_ = cmd.RegisterFlagCompletionFunc("older-than", cobra.NoFileCompletions)
	_ = cmd.MarkFlagDirname("dir")
	p.jsonFlag(cmd)
	return cmd
}

// pruned is a block of a grant, or a grant in the state, with what jit prune does about it.
type pruned struct {
	Address string     `json:"address"`
	ID      jit.ID     `json:"id,omitempty"`
	File    string     `json:"file,omitempty"`
	Line    int        `json:"line,omitempty"`
	EndedAt *time.Time `json:"ended_at,omitempty"`
	// Why says why the block stays; empty if it goes.
	Why string `json:"why,omitempty"`

	block hcledit.Block
}

func (p *program) prune(ctx context.Context, rt *config.Runtime, o pruning) error {
	folder, err := hcledit.Read(o.dir)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			err = jit.Invalid("--dir", "name the folder of the configuration", "%v", err)
		}
		return err
	}
	state, err := p.readState(ctx, o)
	if err != nil {
		return err
	}
	all, err := p.prunable(ctx, rt, folder, state, o)
	if err != nil {
		return err
	}
	edits, err := edit(folder, all)
	if err != nil {
		return err
	}
	var errs []error
	if !o.dryRun {
		edits = slices.DeleteFunc(edits, func(e fileEdit) bool {
			err := ctx.Err()
			if err == nil {
				err = e.write()
			}
			if err != nil {
				errs = append(errs, err)
				keep(all, e.file, "its file could not be changed: "+err.Error())
			}
			return err != nil
		})
	}
	report, err := pruneReportOf(o.dryRun, folder, all, edits)
	if err == nil {
		err = p.printPruned(report)
	}
	if err != nil {
		return err
	}
	return notDone(errors.Join(errs...))
}

// keep says that the blocks of a file stay.
func keep(all []pruned, file, why string) {
	for i := range all {
		if all[i].File == file && all[i].Why == "" {
			all[i].Why = why
		}
	}
}

// fileEdit is the change of one file.
type fileEdit struct {
	file          string
	before, after []byte
}

// edit takes the blocks that go out of their files. It changes nothing on disk.
func edit(folder *hcledit.Folder, all []pruned) (edits []fileEdit, err error) {
	gone := map[string][]hcledit.Block{}
	for _, each := range all {
		if each.Why == "" {
			gone[each.File] = append(gone[each.File], each.block)
		}
	}
	for file, blocks := range gone {
		e := fileEdit{file: file, before: folder.Text(file)}
		if e.after, err = hcledit.Remove(e.before, blocks); err != nil {
			return nil, err
		}
		edits = append(edits, e)
	}
	slices.SortFunc(edits, func(a, b fileEdit) int { return cmp.Compare(a.file, b.file) })
	return edits, nil
}

// empty reports whether the file is deleted.
func (e fileEdit) empty() bool { return hcledit.Blank(e.after) }

func (e fileEdit) write() error {
	if e.empty() {
		return hcledit.Delete(e.file, e.before)
	}
	if err := hcledit.Write(e.file, e.before, e.after); err != nil {
		return fmt.Errorf("write %s: %w", e.file, err)
	}
	return nil
}
