package notice

import (
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	// maxBlock is the limit of a block, in characters
	// (https://docs.slack.dev/reference/block-kit/blocks/section-block).
	maxBlock = 3000
	// maxValue is how many characters of a value are shown.
	maxValue = 300
)

// slackMessage is the body for an incoming webhook. Mattermost shows the text, Slack the blocks.
type slackMessage struct {
	Text   string       `json:"text"`
	Blocks []slackBlock `json:"blocks"`
}

type slackBlock struct {
	Type string    `json:"type"`
	Text slackText `json:"text"`
}

type slackText struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

// slack returns the notice as text for people.
func (n notice) slack() slackMessage {
	e := n.event
	headline := headlines[e.Kind]
	if e.FromState() {
		headline = "A Terraform state remembers more than the ledger"
	}
	lines := []string{"*" + headline + "*"}
	add := func(label string, values ...string) {
		var shown []string
		for _, v := range values {
			if v != "" {
				shown = append(shown, slackCode(v))
			}
		}
		if len(shown) > 0 {
			lines = append(lines, label+": "+strings.Join(shown, " "))
		}
	}
	if g := n.grant; g != nil {
		add("Who", g.Principal)
		add("What", g.Role)
		add("Where", g.Target, g.Scope)
		add("Why", g.Reason)
		add("From", jit.FormatTime(g.Start))
		add("Until", jit.FormatTime(g.End))
		add("Ended", jit.FormatTime(g.EndedAt))
	} else { // a finding that no grant explains
		add("Who", e.Detail["principal"])
		add("What", e.Detail["role"])
		add("Where", e.Detail["target"], e.Detail["scope"])
	}
	add("Found", e.Detail["drift"])
	add("Done", e.Detail["done"])
	add("Error", e.Detail["error"])
	if e.Kind == jit.EventRevoked || e.Kind == jit.EventRevokeAsked {
		add("Revoked because", e.Detail["reason"])
		add("Revoked by", e.Detail["by"])
	}
	n.addDecision(add)
	add("Note", e.Detail["note"])
	add("Policy", e.Policy)
	if e.Source != jit.FromSweeper { // a sweeper's actor is always the same
		add("By", e.Name)
		add("Change", e.Change)
	}
	add("Grant", string(e.Grant))
	return slackMessage{Text: strings.Join(lines, "\n"), Blocks: blocksOf(lines)}
}

// addDecision adds the lines about people who decide.
func (n notice) addDecision(add func(label string, values ...string)) {
	e := n.event
	switch e.Kind {
	case jit.EventApprovalWanted:
		add("Needs", e.Detail["awaits"])
		add("Approve with", e.Detail["command"])
	case jit.EventLapsed:
		add("Waited for", e.Detail["awaits"])
		add("Lapsed because", e.Detail["why"])
	case jit.EventApprovalUsed:
		add("Approved by", e.Detail["approved_by"])
	case jit.EventBreakGlass:
		add("Skipped", e.Detail["skipped"])
		add("Sign off with", e.Detail["command"])
	case jit.EventApproved, jit.EventDenied, jit.EventSignedOff, jit.EventPersonChanged, jit.EventPersonRemoved:
		add("Person", e.Person())
	default:
		return
	}
	add("Requester", e.Detail["requester"])
	add("Comment", e.Detail["comment"])
}

// blocksOf distributes lines over blocks that are not too long.
func blocksOf(lines []string) (blocks []slackBlock) {
	text := lines[0]
	for _, line := range lines[1:] {
		if len(text)+len("\n")+len(line) > maxBlock {
			blocks = append(blocks, sectionOf(text))
			text = line
			continue
		}
		text += "\n" + line
	}
	return append(blocks, sectionOf(text))
}

func sectionOf(text string) slackBlock { return slackBlock{"section", slackText{"mrkdwn", text}} }

// slackCode shows a value as it is, on one line. A code span has no formatting, and with & < > escaped it has no
// mentions and links (https://docs.slack.dev/messaging/formatting-message-text#escaping). A backquote would end the
// span and is escaped like invisible characters.
func slackCode(s string) string {
	s = strings.ReplaceAll(jit.Cell(jit.WithoutUsers(s)), "`", jit.Escape('`'))
	if shown := []rune(s); len(shown) > maxValue {
		s = string(shown[:maxValue-1]) + "…"
	}
	return "`" + strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s) + "`"
}

var headlines = map[jit.EventKind]string{
	jit.EventGranted:       "Access granted",
	jit.EventEndsSoon:      "Access ends soon",
	jit.EventExpired:       "Access ended",
	jit.EventRevoked:       "Access revoked",
	jit.EventRevokeFailed:  "Access could not be revoked",
	jit.EventCleanedUp:     "Remains cleaned up",
	jit.EventDrift:         "Access drifted",
	jit.EventRepaired:      "Access repaired",
	jit.EventRepairFailed:  "Access could not be repaired",
	jit.EventGrantFailed:   "Access could not be granted",
	jit.EventExtended:      "Access extended",
	jit.EventChanged:       "Grant changed",
	jit.EventRequested:     "Access requested",
	jit.EventDecided:       "Policy decided",
	jit.EventRevokeAsked:   "Revocation requested",
	jit.EventAdopted:       "Grant adopted",
	jit.EventPolicyChanged: "Policy changed",
	jit.EventPolicyRemoved: "Policy removed",
	jit.EventPersonChanged: "Person changed",
	jit.EventPersonRemoved: "Person removed",

	jit.EventApprovalWanted: "Approval wanted",
	jit.EventApprovalUsed:   "Approval used",
	jit.EventLapsed:         "Request lapsed",
	jit.EventApproved:       "Request approved",
	jit.EventDenied:         "Request denied",
	jit.EventBreakGlass:     "Glass broken: access without approval",
	jit.EventSignedOff:      "Access without approval signed off",

	jit.EventLedgerBehind:   "The ledger has gone back in time",
	jit.EventLedgerRestored: "The restored ledger was accepted",

	eventTest: "Test notice",
}
