package broker

import (
	"fmt"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

func revokedBy(g jit.Grant) string {
	if g.RevokedAt.IsZero() {
		return ""
	}
	return fmt.Sprintf(", when %s revoked it (%s)", g.RevokedBy, g.RevokeReason)
}

// over is the error for asking an ended grant for anything else than it was.
func over(g jit.Grant, now time.Time, attribute string) error {
	return &jit.Error{
		Attribute: attribute,
		Problem: fmt.Sprintf("the grant is over: it ran from %s to %s%s, and it is %s; an ended grant is never changed",
			jit.FormatTime(g.Start), jit.FormatTime(g.ActualEnd()), revokedBy(g), jit.FormatTime(now)),
		Hint: fmt.Sprintf("set renewal = %d to grant again", g.Renewal+1),
		Err:  jit.ErrOver,
	}
}

// usedUp is the error for a block that comes back after Terraform destroyed it: the grant that it asks for is over.
func usedUp(g jit.Grant) error {
	return &jit.Error{
		Attribute: "renewal",
		Problem: fmt.Sprintf("this grant was given before: it ran from %s to %s%s, and its resource was destroyed. A grant is given once",
			jit.FormatTime(g.Start), jit.FormatTime(g.ActualEnd()), revokedBy(g)),
		Hint: fmt.Sprintf("set renewal = %d to grant again", g.Renewal+1),
		Err:  jit.ErrOver,
	}
}
