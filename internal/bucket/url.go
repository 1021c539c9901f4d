package bucket

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Schemes are the beginnings of the URLs that [Parse] accepts.
var Schemes = []string{"s3", "gs", "azblob"}

// Location names a place in an object store.
type Location struct {
	// Scheme is "s3", "gs" or "azblob".
	Scheme string
	// Bucket is the name of the bucket; for azblob, of the container.
	Bucket string
	// Prefix begins the names of all objects. It does not end with a slash, and may be empty.
	Prefix string
	// Endpoint replaces the address of the service; empty for the service's own.
	Endpoint string
	// Region and Profile are those of S3; empty ones come from the environment.
	Region, Profile string
	// PathStyle puts the name of an S3 bucket into the path of requests in place of the host.
	PathStyle bool
	// Account is the storage account of Azure; empty: AZURE_STORAGE_ACCOUNT.
	Account string
}

// String returns the URL without its parameters.
func (l Location) String() string {
	if l.Prefix == "" {
		return l.Scheme + "://" + l.Bucket
	}
	return l.Scheme + "://" + l.Bucket + "/" + l.Prefix
}

// ID identifies the place: two URLs of one place have the same ID, whatever their other parameters.
func (l Location) ID() string {
	return strings.Join([]string{l.Scheme, l.Endpoint, l.Account, l.Bucket, l.Prefix}, "\n")
}

var (
	// bucketForms are the rules for names of buckets:
	// https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html,
	// https://cloud.google.com/storage/docs/buckets#naming and
	// https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata
	bucketForms = map[string]*regexp.Regexp{
		"s3":     regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`),
		"gs":     regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$`),
		"azblob": regexp.MustCompile(`^[a-z0-9]([a-z0-9]|-[a-z0-9]){2,62}$`),
	}
	prefixForm  = regexp.MustCompile(`^[A-Za-z0-9_.=-]+(/[A-Za-z0-9_.=-]+)*$`)
	regionForm  = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)
	accountForm = regexp.MustCompile(`^[a-z0-9]{3,24}$`)
)

// maxPrefix leaves room for the names of objects below the prefix: all stores take 1,024 bytes.
const maxPrefix = 512

// parameters are the query parameters of each scheme.
var parameters = map[string][]string{
	"s3":     {"region", "endpoint", "path_style", "profile"},
	"gs":     {"endpoint"},
	"azblob": {"storage_account", "endpoint"},
}

// examples are correct URLs of each scheme.
var examples = map[string]string{
	"s3":     "s3://my-bucket/jit?region=eu-central-1",
	"gs":     "gs://my-bucket/jit",
	"azblob": "azblob://my-container/jit?storage_account=myaccount",
}

// Parse reads the URL of a place. It makes no call. Its errors are [jit.Error] about "ledger" that name the part of the
// URL; they never quote a user or a password.
func Parse(raw string) (Location, error) {
	scheme, _, _ := strings.Cut(raw, "://")
	hint := fmt.Sprintf("write for example ledger = %q", examples[scheme])
	u, err := url.Parse(raw)
	switch {
	case err != nil: // the parser's message may quote a secret
		return Location{}, jit.Invalid("ledger", hint, "the %s:// URL of the ledger cannot be read", scheme)
	case u.User != nil || jit.Misplaced(raw):
		return Location{}, jit.Invalid("ledger", hint+
			"; credentials come from the environment, as for the cloud's own tools",
			"the %s:// URL of the ledger has an @; a bucket's URL holds no user, key or password", scheme)
	case u.Fragment != "":
		return Location{}, jit.Invalid("ledger", hint, "the %s:// URL of the ledger has a #, which it cannot have", scheme)
	}
	l := Location{Scheme: scheme, Bucket: u.Host, Prefix: strings.Trim(u.Path, "/")}
	if err := l.check(hint); err != nil {
		return Location{}, err
	}
	return l, l.parameters(u.RawQuery, hint)
}

// check refuses wrong names of the bucket and the prefix.
func (l Location) check(hint string) error {
	kind := "bucket"
	if l.Scheme == "azblob" {
		kind = "container"
	}
	switch {
	case l.Bucket == "":
		return jit.Invalid("ledger", hint, "the %s:// URL of the ledger names no %s", l.Scheme, kind)
	case !bucketForms[l.Scheme].MatchString(l.Bucket):
		return jit.Invalid("ledger", hint, "%q is not the name of a %s; it has 3 or more lower-case letters, digits and "+
			"hyphens, and begins and ends with a letter or digit", l.Bucket, kind)
	case l.Prefix != "" && !prefixForm.MatchString(l.Prefix):
		return jit.Invalid("ledger", hint, "the prefix %q has a character other than letters, digits, _ . = - and single "+
			"slashes", jit.Said(l.Prefix))
	case slices.ContainsFunc(strings.Split(l.Prefix, "/"), func(s string) bool { return s == "." || s == ".." }):
		return jit.Invalid("ledger", hint, "the prefix %q has a part that is only dots, which servers take out", l.Prefix)
	case len(l.Prefix) > maxPrefix:
		return jit.Invalid("ledger", hint, "the prefix has %d characters; at most %d are allowed", len(l.Prefix), maxPrefix)
	}
	return nil
}

// parameters reads the query.
func (l *Location) parameters(query, hint string) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return jit.Invalid("ledger", hint, "the parameters after the ? of the ledger's URL cannot be read")
	}
	known := parameters[l.Scheme]
	for name, all := range values {
		switch {
		case !slices.Contains(known, name): // its value may be a secret
			return jit.Invalid("ledger", "a "+l.Scheme+":// URL takes "+strings.Join(known, ", ")+
				"; credentials come from the environment, as for the cloud's own tools",
				"the ledger's URL has the unknown parameter %q", jit.Said(name))
		case len(all) > 1 || all[0] == "":
			return jit.Invalid("ledger", hint, "the parameter %s of the ledger's URL needs one value", name)
		}
	}
	return l.set(values, hint)
}

// set takes over the values of known parameters.
func (l *Location) set(values url.Values, hint string) error {
	l.Region, l.Profile = values.Get("region"), values.Get("profile")
	l.Endpoint, l.Account = strings.TrimSuffix(values.Get("endpoint"), "/"), values.Get("storage_account")
	if l.Region != "" && !regionForm.MatchString(l.Region) {
		return jit.Invalid("ledger", hint, "region=%s in the ledger's URL is not a region", jit.Said(l.Region))
	}
	if err := jit.CheckText("ledger", l.Profile); err != nil {
		return err
	}
	if l.Account != "" && !accountForm.MatchString(l.Account) {
		return jit.Invalid("ledger", hint, "storage_account=%s in the ledger's URL is not the name of a storage account; "+
			"it has 3 to 24 lower-case letters and digits", jit.Said(l.Account))
	}
	if l.Endpoint != "" {
		const example = "write for example endpoint=https://objects.example.com, percent-encoded if it has a ? or &"
		if _, err := jit.CheckURL("ledger", example, l.Endpoint); err != nil {
			return err
		}
	}
	switch style := values.Get("path_style"); style {
	case "", "false":
	case "true":
		l.PathStyle = true
	default:
		return jit.Invalid("ledger", "write path_style=true or leave it out",
			"path_style=%s in the ledger's URL is neither true nor false", jit.Said(style))
	}
	return nil
}
