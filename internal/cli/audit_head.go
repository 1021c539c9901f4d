package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/hiddeco/sshsig"
	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
)

// headNamespace is the namespace of the signatures of heads. A signature made for anything else does not count.
const headNamespace = "audit-head@jitaccess"

// auditHead identifies a whole record at one moment.
type auditHead struct {
	Ledger string `json:"ledger"`
	// Seq and Hash are the last event, in heads of older programs: they knew one chain.
	Seq  int64  `json:"seq,omitempty"`
	Hash string `json:"hash,omitempty"`
	// Root binds Chains, the last event of each chain; see [jit.Root].
	Root   string    `json:"root,omitempty"`
	Chains []jit.Tip `json:"chains,omitempty"`
	At     string    `json:"at"`
	// Signature is an armored SSH signature over the JSON of the other fields, as [auditHead.signed] writes it.
	Signature string `json:"signature,omitempty"`
}

// tips returns the events that the record must have. The error says that the head does not agree with itself.
func (h auditHead) tips() ([]jit.Tip, error) {
	switch {
	case h.Ledger == "" || h.Seq < 0 || h.Root == "" && h.Hash == "":
		return nil, errors.New("it names no event")
	case h.Root == "":
		return []jit.Tip{{Chain: jit.AllChain, Seq: h.Seq, Hash: h.Hash}}, nil
	case h.Root != jit.Root(h.Ledger, h.Chains):
		return nil, errors.New("its root is not that of its chains")
	}
	return h.Chains, nil
}

// signed returns the message of the signature: the JSON of the fields in this order, on one line with a line feed.
func (h auditHead) signed() []byte {
	h.Signature = ""
	text, err := json.Marshal(h)
	if err != nil {
		panic(err) // texts and a number always marshal
	}
	return append(text, '\n')
}

func (p *program) auditHeadCommand() *cobra.Command {
	o := headOptions{since: headCheck{flag: "--since"}}
	cmd := p.command(&cobra.Command{
		Use:   "head",
		Short: "Print the head of the record, to keep elsewhere",
		Long: `Check the record, and print the id of the ledger, the number and the hash of the last event of each
chain, the root over them, and the time, as JSON. There is one chain for each owner, and _all for policies, persons and
the ledger itself. Keep the head where nobody who can write to the ledger can change it. jit audit verify --head then
checks that the record still has these events.

--sign adds an SSH signature. The file is a private key, or a public key whose private key the SSH agent holds. The
signed message is the JSON without the signature, on one line, and its namespace is
` + headNamespace + `, so ssh-keygen -Y verify can check it too.

--since names the head that was kept before: then only what is newer is checked, as jit audit verify --since-head does.
So a head each night costs as much as the record of one day.

Exit codes: 0 done, 1 the record is not intact, 2 it could not be read, 3 the command line or the settings are wrong.`,
		Example: `  jit audit head --sign ~/.ssh/id_ed25519 --output head.json
  jit audit head --since head.json --signer ~/.ssh/id_ed25519.pub --sign ~/.ssh/id_ed25519 --output newer.json
  jit audit verify --head head.json --signer ~/.ssh/id_ed25519.pub`,
	}, nil, func(ctx context.Context, rt *config.Runtime) error { return p.auditHead(ctx, rt, o) })
	cmd.Flags().StringVar(&o.sign, "sign", "",
		"sign the head with the SSH key in this `file`; the agent signs for a public key")
	cmd.Flags().StringVarP(&o.output, "output", "o", "", "write to this `file` instead of standard output")
	cmd.Flags().StringVar(&o.since.file, "since", "", "check only what is newer than the head in this `file`")
	cmd.Flags().StringVar(&o.since.signer, "signer", "", "with --since: the `file` of the public SSH key that signed it")
	return cmd
}

// headOptions are the flags of jit audit head.
type headOptions struct {
	sign, output string
	// since is the head before.
	since headCheck
}

func (p *program) auditHead(ctx context.Context, rt *config.Runtime, o headOptions) error {
	signer, done, err := p.signer(ctx, "--sign", o.sign)
	if err != nil {
		return err
	}
	defer done()
	kept, signed, err := o.since.load()
	if err != nil {
		return err
	}
	report, err := verify(ctx, rt, "", kept, kept != nil)
	if err != nil {
		return unreadable(err)
	}
	if report.Ledger == "" {
		return unreadable(errors.New("there is no ledger yet; the first apply creates it"))
	}
	switch {
	case report.HeadProblem != "":
		return notDone(errors.New(report.HeadProblem))
	case !report.OK():
		return notDone(fmt.Errorf("%w; see jit audit verify", notIntact(report.Report)))
	}
	if kept != nil && !signed {
		fmt.Fprintln(p.err, "warning: the signature of the head was not checked; name the signing key with --signer")
	}
	h := auditHead{Ledger: report.Ledger, Root: report.Root, At: jit.FormatTime(p.Now())}
	for _, c := range report.Chains {
		if c.Seq > 0 {
			h.Chains = append(h.Chains, c.Tip)
		}
	}
	if signer != nil {
		if err := h.sign(signer); err != nil {
			return notDone(err)
		}
	}
	return notDone(p.writeHead(h, o.output))
}

// sign signs the head.
func (h *auditHead) sign(signer ssh.Signer) error {
	signature, err := sshsig.Sign(bytes.NewReader(h.signed()), signer, sshsig.HashSHA512, headNamespace)
	if err != nil {
		return fmt.Errorf("sign the head: %w", err)
	}
	h.Signature = string(sshsig.Armor(signature))
	return nil
}

// writeHead writes the head to a file that only its owner can read, or to standard output.
func (p *program) writeHead(h auditHead, file string) error {
	text, err := json.MarshalIndent(h, "", "  ")
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if file == "" {
		_, err = p.out.Write(text)
		return err
	}
	return replaceFile(file, func(to io.Writer) error { _, err := to.Write(text); return err })
}

const headHint = "name a file that jit audit head wrote"

// headCheck names the head that the record must have, and the key that must have signed it.
type headCheck struct {
	file, signer string
	// flag is the flag with the file.
	flag string
	// since: check only what is newer than the head.
	since bool
}

// load reads the head, and checks its signature if a signer is named. Without a file, kept is nil.
func (c headCheck) load() (kept *auditHead, signed bool, err error) {
	switch {
	case c.file == "" && c.signer != "":
		return nil, false,
			jit.Invalid("--signer", "name the head with "+c.flag, "there is no head with a signature to check")
	case c.file == "":
		return nil, false, nil
	}
	text, err := os.ReadFile(c.file)
	if err != nil {
		return nil, false, jit.Invalid(c.flag, headHint, "the head cannot be read: %v", err)
	}
	kept = &auditHead{}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(kept); err != nil || kept.Ledger == "" {
		return nil, false, jit.Invalid(c.flag, headHint, "%s is not a head", c.file)
	}
	if c.signer != "" {
		err = c.checkSignature(kept)
	}
	if _, wrong := kept.tips(); err == nil && wrong != nil {
		err = jit.Invalid(c.flag, headHint, "%s is not a head: %v", c.file, wrong)
	}
	return kept, c.signer != "", err
}

// checkSignature checks that the named signer has signed the head.
func (c headCheck) checkSignature(h *auditHead) error {
	text, err := os.ReadFile(c.signer)
	if err != nil {
		return jit.Invalid("--signer", "name the file of a public SSH key", "the key cannot be read: %v", err)
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(text)
	if err != nil {
		return jit.Invalid("--signer", "name the file of a public SSH key, such as id_ed25519.pub",
			"%s is not a public SSH key", c.signer)
	}
	signature, err := sshsig.Unarmor([]byte(h.Signature))
	if err == nil {
		err = sshsig.Verify(bytes.NewReader(h.signed()), signature, key, signature.HashAlgorithm, headNamespace)
	}
	if err != nil {
		return notDone(fmt.Errorf("the head in %s has no valid signature of the key in %s: "+
			"somebody changed the head, or another key signed it", c.file, c.signer))
	}
	return nil
}

// missingFrom returns why the record does not have the head; empty if it has.
func (h auditHead) missingFrom(ctx context.Context, rt *config.Runtime, now ledger.Report) (string, error) {
	if now.Ledger != h.Ledger {
		return fmt.Sprintf("this is another ledger: the head is from %s, and this one is %s", h.Ledger,
			cmp.Or(now.Ledger, "none")), nil
	}
	tips, err := h.tips()
	if err != nil {
		return "", err
	}
	last := map[string]int64{}
	chains, err := rt.Ledger.Chains(ctx)
	for _, t := range chains {
		last[t.Chain] = t.Seq
	}
	for _, t := range tips {
		if err != nil || now.Owner != "" && t.Chain != now.Owner && t.Chain != jit.AllChain {
			continue
		}
		var problem string
		if problem, err = missingTip(ctx, rt, t, last[t.Chain]); problem != "" {
			return problem, err
		}
	}
	return "", err
}

// missingTip returns why the record, whose chain ends with the event last, does not have a tip; empty if it has.
func missingTip(ctx context.Context, rt *config.Runtime, t jit.Tip, last int64) (string, error) {
	switch {
	case t.Seq == 0:
		return "", nil
	case last < t.Seq:
		return fmt.Sprintf("the record was cut or rewritten: the head is event %s, and the last event is %s",
			jit.PlaceIn(t.Chain, t.Seq), jit.PlaceIn(t.Chain, last)), nil
	}
	for e, err := range rt.Ledger.Events(ctx, t.Chain, t.Seq) {
		if err != nil {
			return "", err
		}
		if e.Seq == t.Seq && e.Hash == t.Hash {
			return "", nil
		}
		break
	}
	return fmt.Sprintf("the record was rewritten: event %s is not the one that the head names",
		jit.PlaceIn(t.Chain, t.Seq)), nil
}
