package config

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"

	"github.com/jitaccess/terraform-provider-jit/internal/hcledit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// MaxAcceptance is the longest time for which standing access can be accepted: nobody checks what is accepted for good.
const MaxAcceptance = 366 * 24 * time.Hour

// Accepted is one finding of jit scan that somebody has accepted until a time.
type Accepted struct {
	Target    string `hcl:"target"`
	Scope     string `hcl:"scope"`
	Principal string `hcl:"principal"`
	Role      string `hcl:"role"`
	Until     string `hcl:"until"`
	Reason    string `hcl:"reason"`
	// End is Until as a time.
	End time.Time
}

// key identifies the finding.
func (a Accepted) key() [4]string { return [4]string{a.Target, a.Scope, a.Principal, a.Role} }

// Baseline holds accepted findings.
type Baseline struct{ all map[[4]string]Accepted }

// Find returns the acceptance of a finding; ok is false when there is none. It may have ended.
func (b Baseline) Find(target, scope, principal, role string) (a Accepted, ok bool) {
	a, ok = b.all[[4]string{target, scope, principal, role}]
	return a, ok
}

// All returns every acceptance, in no order.
func (b Baseline) All() []Accepted {
	var all []Accepted
	for _, a := range b.all {
		all = append(all, a)
	}
	return all
}

// LoadBaseline reads a baseline: blocks accept { target, scope, principal, role, until, reason }. Each has an end, at
// most a year ahead. Errors name file and line.
func LoadBaseline(path string, now time.Time) (Baseline, error) {
	src, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return Baseline{},
			jit.Invalid("baseline", "write one with jit scan --write-baseline", "there is no file %q", path)
	}
	if err != nil {
		return Baseline{}, fmt.Errorf("read the baseline: %w", err)
	}
	content, err := contentOf(src, path, &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{{Type: "accept"}}})
	if err != nil {
		return Baseline{}, err
	}
	b := Baseline{all: map[[4]string]Accepted{}}
	for _, block := range content.Blocks {
		var a Accepted
		if diags := gohcl.DecodeBody(block.Body, nil, &a); diags.HasErrors() {
			return Baseline{}, inFile(diags)
		}
		err := b.accept(a, now)
		if wrong := (*jit.Error)(nil); errors.As(err, &wrong) {
			err = at(block.DefRange, wrong)
		}
		if err != nil {
			return Baseline{}, err
		}
	}
	return b, nil
}

// accept adds an acceptance.
func (b Baseline) accept(a Accepted, now time.Time) (err error) {
	if a.End, err = checkAcceptance(a, now); err != nil {
		return err
	}
	if _, twice := b.all[a.key()]; twice {
		return jit.Invalid("accept", "keep one of the two",
			"%s for %s on %s of target %q is accepted twice", a.Role, a.Principal, a.Scope, a.Target)
	}
	b.all[a.key()] = a
	return nil
}

// checkAcceptance refuses an acceptance without a reason, or without an end within [MaxAcceptance].
func checkAcceptance(a Accepted, now time.Time) (time.Time, error) {
	if err := jit.CheckReason(a.Reason); err != nil {
		return time.Time{}, err
	}
	end, err := jit.ParseTime("until", a.Until)
	if err != nil {
		return time.Time{}, err
	}
	if end.Sub(now) > MaxAcceptance {
		return time.Time{}, jit.Invalid("until", "accept it for at most a year, and check it again then",
			"%s is more than a year away", a.Until)
	}
	return end, nil
}

// CheckAcceptance refuses a new acceptance that a baseline may not hold, or that has ended already.
func CheckAcceptance(until, reason string, now time.Time) error {
	end, err := checkAcceptance(Accepted{Until: until, Reason: reason}, now)
	if err == nil && !end.After(now) {
		return jit.Invalid("until", "write a time ahead", "%s is already past, it is %s", until, jit.FormatTime(now))
	}
	return err
}

// AppendBaseline adds acceptances to a baseline file, or creates it. The rest of the file, its mode, and a link that
// leads to it stay as they are.
func AppendBaseline(path string, add []Accepted, now time.Time) error {
	blocks, err := blocksOf(add, now)
	if err != nil {
		return err
	}
	src, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read the baseline: %w", err)
	}
	if len(src) > 0 && len(add) > 0 && src[len(src)-1] != '\n' {
		blocks = append([]byte("\n"), blocks...) // else the first block would begin where the last one ends
	}
	if err := hcledit.Write(path, src, slices.Concat(src, blocks)); err != nil {
		return fmt.Errorf("write the baseline: %w", err)
	}
	return nil
}

// blocksOf writes acceptances as blocks.
func blocksOf(add []Accepted, now time.Time) ([]byte, error) {
	file := hclwrite.NewEmptyFile()
	for _, a := range add {
		if err := CheckAcceptance(a.Until, a.Reason, now); err != nil {
			return nil, err
		}
		body := file.Body().AppendNewBlock("accept", nil).Body()
		for _, line := range [][2]string{
			{"target", a.Target}, {"scope", a.Scope}, {"principal", a.Principal}, {"role", a.Role},
			{"until", a.Until}, {"reason", a.Reason},
		} {
			body.SetAttributeValue(line[0], cty.StringVal(line[1]))
		}
	}
	return hclwrite.Format(file.Bytes()), nil
}
