package broker

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// renew is the hint for every request for a grant that has ended.
func renew(g jit.Grant) string { return fmt.Sprintf("set renewal = %d to grant again", g.Renewal+1) }

// ran says when a grant gave access, and who ended it.
func ran(g jit.Grant) string {
	text := fmt.Sprintf("ran from %s to %s", jit.FormatTime(g.Start), jit.FormatTime(g.ActualEnd()))
	if !g.RevokedAt.IsZero() {
		text += fmt.Sprintf(", when %s revoked it (%s)", g.RevokedBy, g.RevokeReason)
	}
	return text
}

// errOver is the error for a request to change a grant that has ended.
func errOver(g jit.Grant, now time.Time, attribute string) error {
	return jit.Errorf(jit.ErrOver, attribute, renew(g),
		"the grant is over: it %s, and it is %s; an ended grant is never changed", ran(g), jit.FormatTime(now))
}

// errUsedUp is the error for a block that comes back after Terraform destroyed it, when its grant is over.
func errUsedUp(g jit.Grant) error {
	return jit.Errorf(jit.ErrOver, "renewal", renew(g),
		"this grant was given before: it %s, and its resource was destroyed. A grant is given once", ran(g))
}

// stillLive adds to a refusal that the recorded grant goes on.
func stillLive(g jit.Grant, err error) error {
	var refused *jit.Error
	if !errors.As(err, &refused) {
		return err
	}
	more := *refused
	more.Hint = strings.TrimPrefix(fmt.Sprintf("%s. The grant is live and ends at %s; `jit revoke %s` ends it now",
		more.Hint, jit.FormatTime(g.End), g.ID), ". ")
	return &more
}
