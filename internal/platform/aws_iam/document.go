package awsiam

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// The elements of a policy: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html
const (
	notBefore   = "DateGreaterThanEquals"
	before      = "DateLessThan"
	ifExists    = "IfExists"
	currentTime = "aws:CurrentTime"

	// sidPrefix begins the Sid of each of our statements. A Sid has only letters and digits.
	sidPrefix = "Jit"
	// markerAction is the action that the marker statement denies at a time that never comes. Nobody can be denied it:
	// https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
	markerAction = "sts:GetCallerIdentity"
)

// statement is one statement of a policy, as decoded JSON.
type statement = map[string]any

// document is a policy: its statements, and all other elements as they were.
type document struct {
	rest       map[string]json.RawMessage
	statements []json.RawMessage
}

// parseDocument reads a policy. Its Statement may be a list or a single statement.
func parseDocument(text string) (document, error) {
	var d document
	if err := decode([]byte(text), &d.rest); err != nil {
		return d, fmt.Errorf("read a policy document: %w", err)
	}
	all := bytes.TrimSpace(d.rest["Statement"])
	switch {
	case len(all) == 0:
		return d, errors.New("read a policy document: it has no Statement")
	case all[0] == '[':
		if err := decode(all, &d.statements); err != nil {
			return d, fmt.Errorf("read a policy document: %w", err)
		}
	default:
		d.statements = []json.RawMessage{all}
	}
	return d, nil
}

// decode decodes JSON and keeps numbers as they are written.
func decode(text []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows its end")
	}
	return nil
}

// encode writes JSON without white space and with sorted keys.
func encode(v any) string {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		panic(err) // maps, lists, strings and numbers always marshal
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// String writes the policy. Its statements stay as they are.
func (d document) String() string {
	whole := maps.Clone(d.rest)
	whole["Statement"] = json.RawMessage(encode(d.statements))
	return encode(whole)
}

// parseStatements reads a policy and decodes its statements.
func parseStatements(text string) (document, []statement, error) {
	d, err := parseDocument(text)
	if err != nil {
		return d, nil, err
	}
	all := make([]statement, len(d.statements))
	for i, raw := range d.statements {
		if err := decode(raw, &all[i]); err != nil {
			return d, nil, fmt.Errorf("read a statement of a policy: %w", err)
		}
	}
	return d, all, nil
}

// size counts characters as the quotas do, without white space:
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
func size(document string) int {
	n := 0
	for _, r := range document {
		if !unicode.IsSpace(r) {
			n++
		}
	}
	return n
}

// timed copies the policy that the access names. Each statement, Deny ones too, gets the dates of the window and the
// terms of the access besides its own conditions, so that it concerns nobody else. Statements that allow are narrowed to
// the resources, if there are any. The marker statement comes first.
func timed(source string, a access, w jit.Window) (string, error) {
	d, statements, err := parseStatements(source)
	if err != nil {
		return "", err
	}
	var copied []statement
	allows := false
	for _, s := range statements {
		gives, err := confine(s, a, w)
		if err != nil {
			return "", err
		}
		allows = allows || gives
		if gives || s["Effect"] != "Allow" {
			copied = append(copied, s)
		}
	}
	if !allows {
		return "", jit.Invalid("role", "name resources that the policy allows something on",
			"%q allows nothing on %s", a.role.text, strings.Join(a.resources, " "))
	}
	whole := statement{"Statement": append([]statement{markerStatement(a, w, copied)}, copied...)}
	if version, ok := d.rest["Version"]; ok {
		whole["Version"] = version
	}
	return encode(whole), nil
}

// confine gives a statement the dates of the window and the terms of the access, and narrows one that allows to the
// resources, if there are any. It reports whether the statement still allows something.
func confine(s statement, a access, w jit.Window) (gives bool, err error) {
	delete(s, "Sid") // it means nothing here and takes room
	gives = s["Effect"] == "Allow"
	if gives && len(a.resources) > 0 {
		if err := narrow(s, a.resources); err != nil {
			return false, err
		}
		if s["Resource"] == nil {
			return false, nil
		}
	}
	return gives, add(s, a.terms.within(w))
}

// assumption is the policy that permits assuming a role under conditions. Its one statement holds everything that a
// marker would.
func assumption(role string, under map[string]any) string {
	return encode(statement{"Version": "2012-10-17", "Statement": []statement{{
		"Effect": "Allow", "Action": assumeRole, "Resource": role, "Condition": under,
	}}})
}

// markerStatement names the role, the terms and the window of a grant, and holds a digest of the other statements. It
// has no effect: it denies an action that cannot be denied, before the window starts and after it ends at once.
func markerStatement(a access, w jit.Window, others []statement) statement {
	return statement{
		"Sid":       sidPrefix + digest(others),
		"Effect":    "Deny",
		"Action":    markerAction,
		"Resource":  append([]string{a.role.text}, a.resources...),
		"Condition": a.terms.outside(w),
	}
}

// digest is part of the SHA-256, in hex, of the statements' canonical JSON.
func digest(statements []statement) string {
	sum := sha256.Sum256([]byte(encode(statements)))
	return hex.EncodeToString(sum[:8])
}

// writing is what one of our policies says.
type writing struct {
	role       string // canonical; empty if unknown
	named      string // the policy or role in it
	actions    []string
	resources  []string
	terms      terms
	altered    bool // the statements do not fit their digest
	window     jit.Window
	start, end time.Time // as AWS enforces them; zero if there is none
	damage     []string
}

// read interprets a policy that has the name of a grant.
func read(text string) writing {
	var found writing
	_, statements, err := parseStatements(text)
	if err != nil {
		found.damage = append(found.damage, "its document cannot be read")
		return found
	}
	at := slices.IndexFunc(statements, isMarker)
	if at < 0 {
		return readPlain(text, statements)
	}
	marker, others := statements[at], slices.Delete(slices.Clone(statements), at, at+1)
	if named := texts(marker["Resource"]); len(named) > 0 {
		found.named, found.resources = named[0], named[1:]
		found.terms = termsIn(marker)
		found.role = roleText(found.named, found.resources) + found.terms.text()
	}
	found.window = jit.Window{Start: bound(marker, before), End: bound(marker, notBefore)}
	if found.altered = marker["Sid"] != sidPrefix+digest(others); found.altered {
		found.damage = append(found.damage, "its statements were changed")
	}
	found.start, found.end = enforced(others, notBefore, found.window.Start), enforced(others, before, found.window.End)
	return found
}

func isMarker(s statement) bool {
	sid, _ := s["Sid"].(string)
	return strings.HasPrefix(sid, sidPrefix) && s["Effect"] == "Deny" && s["Action"] == markerAction
}

// counted returns a bound of a statement. If there are two, the grant's counts if it is one of them, or else the
// earlier.
func counted(s statement, operator string, want time.Time) time.Time {
	plain, second := bound(s, operator), bound(s, operator+ifExists)
	if plain.IsZero() || !second.IsZero() && (second.Equal(want) || second.Before(plain) && !plain.Equal(want)) {
		return second
	}
	return plain
}

// enforced is the earliest beginning or the latest end of what the statements allow; zero if one of them has none.
func enforced(statements []statement, operator string, want time.Time) time.Time {
	var found time.Time
	for _, s := range statements {
		if s["Effect"] == "Deny" {
			continue
		}
		t := counted(s, operator, want)
		if t.IsZero() {
			return time.Time{}
		}
		found = wider(operator, found, t)
	}
	return found
}

// wider returns the bound that permits more: the later end or the earlier beginning. A zero found is none.
func wider(operator string, found, t time.Time) time.Time {
	if found.IsZero() || t.After(found) == strings.HasPrefix(operator, before) {
		return t
	}
	return found
}

// bound is the time that an operator compares with. Several values are alternatives, so the widest counts. It is zero
// if there is none or one of them cannot be read.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-logic-multiple-context-keys-or-values.html
func bound(s statement, operator string) time.Time {
	var found time.Time
	conditions, _ := s["Condition"].(map[string]any)
	keys, _ := conditions[operator].(map[string]any)
	for key, values := range keys {
		if !strings.EqualFold(key, currentTime) {
			continue
		}
		all, several := values.([]any)
		if !several {
			all = []any{values}
		}
		for _, one := range all {
			text, _ := one.(string)
			t, err := time.Parse(time.RFC3339, text)
			if err != nil {
				return time.Time{} // AWS accepts other forms, such as seconds since 1970; they count as unknown
			}
			found = wider(operator, found, t.UTC())
		}
	}
	return found
}

// texts reads a string or a list of strings.
func texts(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		all := make([]string, 0, len(v))
		for _, one := range v {
			if s, ok := one.(string); ok {
				all = append(all, s)
			}
		}
		return all
	}
	return nil
}
