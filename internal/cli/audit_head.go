package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/hiddeco/sshsig"
	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/term"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
)

// headNamespace is what the signatures are made for; one made for anything else does not count.
const headNamespace = "audit-head@jitaccess"

// auditHead names a whole record at one moment.
type auditHead struct {
	Ledger string `json:"ledger"`
	Seq    int64  `json:"seq"`
	Hash   string `json:"hash"`
	At     string `json:"at"`
	// Signature is an armored SSH signature over the JSON of the other fields, as [auditHead.signed] writes it.
	Signature string `json:"signature,omitempty"`
}

// signed is what a signature is made over: the JSON of the fields in this order, on one line with a line feed.
func (h auditHead) signed() []byte {
	h.Signature = ""
	text, err := json.Marshal(h)
	if err != nil {
		panic(err) // texts and a number always marshal
	}
	return append(text, '\n')
}

func (p *program) auditHeadCommand() *cobra.Command {
	var sign, output string
	cmd := &cobra.Command{
		Use:   "head",
		Short: "Print what names the whole record now, to be kept elsewhere",
		Long: `Check the record, and print the id of the ledger, the number and the hash of its last event and the time, as JSON. Keep it where
whoever can write to the ledger cannot: jit audit verify --head finds out later whether the record still holds it.

--sign adds an SSH signature by a private key file, or by the SSH agent when the file is a public key. Its message is the JSON without
the signature, on one line, and its namespace is ` + headNamespace + `, so ssh-keygen -Y verify can check it too.

Exit codes: 0 done, 1 the record is not intact, 2 it could not be read.`,
		Example: `  jit audit head --sign ~/.ssh/id_ed25519 --output head.json
  jit audit verify --head head.json --signer ~/.ssh/id_ed25519.pub`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var signer ssh.Signer
			if sign != "" {
				var done func()
				var err error
				if signer, done, err = p.signer(cmd.Context(), sign); err != nil {
					return err
				}
				defer done()
			}
			return p.withRuntime(cmd.Context(), jit.FromCLI, func(ctx context.Context, rt *config.Runtime) error { return p.auditHead(ctx, rt, signer, output) })
		},
	}
	cmd.Flags().StringVar(&sign, "sign", "", "sign it with the SSH key in this `file`; with that of the agent where it is a public key")
	cmd.Flags().StringVarP(&output, "output", "o", "", "write to this `file` instead of standard output")
	return cmd
}

// signer reads a private key, or a public one whose private half the SSH agent has. done is called when nothing is to be signed any more.
func (p *program) signer(ctx context.Context, file string) (signer ssh.Signer, done func(), err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, jit.Invalid("--sign", "name the file of an SSH key", "the key cannot be read: %v", err)
	}
	if public, _, _, _, err := ssh.ParseAuthorizedKey(text); err == nil {
		return agentSigner(ctx, public, file)
	}
	signer, err = p.privateKey(text, file)
	return signer, func() {}, err
}

// agentSigner signs with a key of the SSH agent.
func agentSigner(ctx context.Context, public ssh.PublicKey, file string) (signer ssh.Signer, done func(), err error) {
	socket := os.Getenv("SSH_AUTH_SOCK")
	if socket == "" {
		return nil, nil, jit.Invalid("--sign", "name the private key, or start an SSH agent that has it", "%s is a public key, and SSH_AUTH_SOCK names no agent", file)
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, nil, jit.Invalid("--sign", "name the private key, or start an SSH agent that has it", "the SSH agent cannot be reached: %v", err)
	}
	signers, err := agent.NewClient(conn).Signers()
	for _, s := range signers {
		if bytes.Equal(s.PublicKey().Marshal(), public.Marshal()) {
			return s, func() { _ = conn.Close() }, nil
		}
	}
	_ = conn.Close()
	if err != nil {
		return nil, nil, fmt.Errorf("ask the SSH agent for its keys: %w", err)
	}
	return nil, nil, jit.Invalid("--sign", "add it with ssh-add", "the SSH agent does not have the key of %s", file)
}

// privateKey reads a private key, and asks for its passphrase on a terminal.
func (p *program) privateKey(text []byte, file string) (ssh.Signer, error) {
	signer, err := ssh.ParsePrivateKey(text)
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) {
		terminal, ok := p.in.(*os.File)
		if !ok || !term.IsTerminal(int(terminal.Fd())) {
			return nil, jit.Invalid("--sign", "run it on a terminal, or sign with a key of its own that has no passphrase", "the key %s has a passphrase, and there is nobody to ask for it", file)
		}
		fmt.Fprintf(p.err, "Passphrase of %s: ", printable(file))
		phrase, err := term.ReadPassword(int(terminal.Fd()))
		fmt.Fprintln(p.err)
		if err != nil {
			return nil, fmt.Errorf("read the passphrase: %w", err)
		}
		if signer, err = ssh.ParsePrivateKeyWithPassphrase(text, phrase); err != nil {
			return nil, jit.Invalid("--sign", "try again", "the passphrase does not open %s", file)
		}
		return signer, nil
	}
	if err != nil {
		return nil, jit.Invalid("--sign", "name the file of an SSH key", "%s is not an SSH key", file)
	}
	return signer, nil
}

func (p *program) auditHead(ctx context.Context, rt *config.Runtime, signer ssh.Signer, output string) error {
	report, err := rt.Ledger.Verify(ctx)
	if err != nil {
		return unreadable(err)
	}
	if report.Ledger == "" {
		return unreadable(errors.New("there is no ledger yet, and so no record to name; the first apply makes it"))
	}
	if !report.OK() {
		return notDone(fmt.Errorf("%w; see jit audit verify", notIntact(report)))
	}
	h := auditHead{Ledger: report.Ledger, Seq: report.Seq, Hash: report.Head, At: jit.FormatTime(p.Now())}
	if signer != nil {
		signature, err := sshsig.Sign(bytes.NewReader(h.signed()), signer, sshsig.HashSHA512, headNamespace)
		if err != nil {
			return notDone(fmt.Errorf("sign the head: %w", err))
		}
		h.Signature = string(sshsig.Armor(signature))
	}
	text, err := json.MarshalIndent(h, "", "  ")
	if err != nil {
		return notDone(err)
	}
	text = append(text, '\n')
	if output == "" {
		_, err = p.out.Write(text)
		return notDone(err)
	}
	return notDone(os.WriteFile(output, text, 0o600))
}

// headCheck says which head the record has to hold, and whose signature that has to bear.
type headCheck struct{ file, signer string }

// load reads the head and checks its signature, where a signer is named; nil when no head is to be checked.
func (c headCheck) load() (kept *auditHead, signed bool, err error) {
	switch {
	case c.file == "" && c.signer != "":
		return nil, false, jit.Invalid("--signer", "name the head with --head", "there is no head whose signature could be checked")
	case c.file == "":
		return nil, false, nil
	}
	text, err := os.ReadFile(c.file)
	if err != nil {
		return nil, false, jit.Invalid("--head", "name a file that jit audit head has written", "the head cannot be read: %v", err)
	}
	kept = &auditHead{}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(kept); err != nil || kept.Ledger == "" || kept.Seq < 0 {
		return nil, false, jit.Invalid("--head", "name a file that jit audit head has written", "%s is not a head", c.file)
	}
	if c.signer == "" {
		return kept, false, nil
	}
	keyText, err := os.ReadFile(c.signer)
	if err != nil {
		return nil, false, jit.Invalid("--signer", "name the file of a public SSH key", "the key cannot be read: %v", err)
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(keyText)
	if err != nil {
		return nil, false, jit.Invalid("--signer", "name the file of a public SSH key, such as id_ed25519.pub", "%s is not a public SSH key", c.signer)
	}
	signature, err := sshsig.Unarmor([]byte(kept.Signature))
	if err == nil {
		err = sshsig.Verify(bytes.NewReader(kept.signed()), signature, key, signature.HashAlgorithm, headNamespace)
	}
	if err != nil {
		return nil, false, notDone(fmt.Errorf("the head in %s does not bear a signature of the key in %s: it was changed, or somebody else made it", c.file, c.signer))
	}
	return kept, true, nil
}

// missingFrom says in words how the record does not hold the head; empty when it does.
func (h auditHead) missingFrom(ctx context.Context, rt *config.Runtime, now ledger.Report) (string, error) {
	switch {
	case now.Ledger != h.Ledger:
		return fmt.Sprintf("this is another ledger: the head is of %s, and this one is %s", h.Ledger, orNone(now.Ledger)), nil
	case h.Seq == 0:
		return "", nil
	case now.Seq < h.Seq:
		return fmt.Sprintf("the record was cut or written anew: the head is of event %d, and the last event is %d", h.Seq, now.Seq), nil
	}
	for e, err := range rt.Ledger.Events(ctx, h.Seq) {
		if err != nil {
			return "", err
		}
		if e.Seq == h.Seq && e.Hash == h.Hash {
			return "", nil
		}
		break
	}
	return fmt.Sprintf("the record was written anew: event %d is not the one that the head names", h.Seq), nil
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
