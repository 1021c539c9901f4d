package notice

import (
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	// maxBlock is how many characters a block takes
	// (https://docs.slack.dev/reference/block-kit/blocks/section-block).
	maxBlock = 3000
	// maxValue is how many characters are told of one fact.
	maxValue = 300
)

// slackMessage is what an incoming webhook takes. Mattermost looks at the text alone, Slack shows the blocks.
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

// slack writes the notice for people.
func (n notice) slack() slackMessage {
	e := n.event
	lines := []string{"*" + headlines[e.Kind] + "*"}
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
		add("Why", g.ReasonText())
		add("From", jit.FormatTime(g.Start))
		add("Until", jit.FormatTime(g.ActualEnd()))
	} else { // what was found and no grant explains
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
	add("Note", e.Detail["note"])
	add("Policy", e.Policy)
	if e.Source != jit.FromSweeper { // of that it is known who it runs as
		add("By", e.Name)
		add("Change", e.Change)
	}
	add("Grant", string(e.Grant))
	m := slackMessage{Text: strings.Join(lines, "\n")}
	text := lines[0]
	for _, line := range lines[1:] {
		if len(text)+len("\n")+len(line) > maxBlock {
			m.Blocks = append(m.Blocks, sectionOf(text))
			text = line
			continue
		}
		text += "\n" + line
	}
	m.Blocks = append(m.Blocks, sectionOf(text))
	return m
}

func sectionOf(text string) slackBlock { return slackBlock{"section", slackText{"mrkdwn", text}} }

// slackCode shows a value as it is, on one line: in a code span nothing is a format, and with & < > escaped nothing is a mention or a link
// (https://docs.slack.dev/messaging/formatting-message-text#escaping). A backquote, which would end the span, is written like what is hidden.
func slackCode(s string) string {
	s = strings.ReplaceAll(jit.Cell(s), "`", jit.Escape('`'))
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
	jit.EventAdopted:       "Grant taken over",
	jit.EventPolicyChanged: "Policy changed",
	jit.EventPolicyRemoved: "Policy removed",
	eventTest:              "Test notice",
}
