package bucket

import (
	"errors"
	"fmt"
	"net/url"
	"path"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// plain returns the text of an error without the URL that was called: it may hold a signature.
func plain(err error) string {
	var of *url.Error
	if errors.As(err, &of) {
		err = of.Err
	}
	return err.Error()
}

func noBucket(at Location) error {
	return jit.Errorf(nil, "ledger",
		"create it first, with versioning or object lock if the record must be unchangeable, or correct its name", "there is no bucket or container %q for %s", at.Bucket, at)
}

func forbidden(at Location, doing, key, code, permission string) error {
	hint := "check the credentials of this process; the guide \"Which ledger\" has the least policy for a bucket"
	if permission != "" {
		hint = fmt.Sprintf("allow %s on %s; the guide \"Which ledger\" has the whole policy", permission, at)
	}
	kind := errDenied
	if doing == "create" {
		kind = ErrReadOnly
	}
	return jit.Errorf(kind, "ledger", hint, "these credentials may not %s %s in %s (%s)", doing, path.Base(key), at,
		jit.Said(code))
}

func unconditional(at Location, why string) error {
	return jit.Errorf(nil, "ledger", "use a store that honours If-None-Match: * on PUT (Amazon S3, Google Cloud Storage, "+
		"Azure Blob Storage, and recent versions of most others), or a postgres:// ledger",
		"%s cannot hold a ledger: the store does not create objects only if they are absent (%s), so two runs could "+
			"overwrite each other's record", at, why)
}

func refused(at Location, doing string, status int, code, message string) error {
	said := fmt.Sprintf("%d %s %s", status, code, message)
	return jit.Errorf(nil, "ledger", "check the URL of the ledger and the state of the store",
		"cannot %s in %s: the store answers %s", doing, at, jit.Said(said))
}
