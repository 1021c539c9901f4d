package bucket_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/bucket"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

func TestParse(t *testing.T) {
	for url, want := range map[string]bucket.Location{
		"s3://my-bucket": {Scheme: "s3", Bucket: "my-bucket"},
		"s3://my.bucket/a/b?region=eu-central-1&profile=ops": {Scheme: "s3", Bucket: "my.bucket", Prefix: "a/b",
			Region: "eu-central-1", Profile: "ops"},
		"s3://my-bucket/jit/?endpoint=https%3A%2F%2Fminio.example.com%3A9000/&path_style=true": {Scheme: "s3",
			Bucket: "my-bucket", Prefix: "jit", Endpoint: "https://minio.example.com:9000", PathStyle: true},
		"gs://my_bucket/jit": {Scheme: "gs", Bucket: "my_bucket", Prefix: "jit"},
		"azblob://container/jit?storage_account=example": {Scheme: "azblob", Bucket: "container", Prefix: "jit",
			Account: "example"},
	} {
		got, err := bucket.Parse(url)
		if err != nil || got != want {
			t.Errorf("Parse(%q) = %+v, %v, want %+v", url, got, err, want)
		}
	}
}

// Each refusal names the part and an example, and never repeats what may be a secret.
func TestParseRefuses(t *testing.T) {
	for url, words := range map[string]string{
		"s3://":                                        "names no bucket",
		"azblob:///x":                                  "names no container",
		"s3://Bucket/x":                                "not the name of a bucket",
		"s3://my_bucket/x":                             "not the name of a bucket",
		"azblob://my--container/x":                     "not the name of a container",
		"s3://key:hunter2@my-bucket/x":                 "has an @",
		"s3://my-bucket/x@hunter2":                     "has an @",
		"s3://my-bucket/a//b":                          "the prefix",
		"s3://my-bucket/a/../b":                        "only dots",
		"s3://my-bucket/a b":                           "the prefix",
		"s3://my-bucket/" + strings.Repeat("a", 600):   "600 characters",
		"s3://my-bucket/x#hunter2":                     "has a #",
		"s3://my-bucket/x?secret_key=hunter2":          `unknown parameter "secret_key"`,
		"s3://my-bucket/x?region=":                     "region of the ledger's URL needs one value",
		"s3://my-bucket/x?region=a&region=b":           "needs one value",
		"s3://my-bucket/x?region=EU!":                  "not a region",
		"s3://my-bucket/x?path_style=yes":              "neither true nor false",
		"s3://my-bucket/x?endpoint=http://example.com": "unencrypted",
		"s3://my-bucket/x?endpoint=minio":              "not the URL of a server",
		"gs://my-bucket/x?region=eu":                   `unknown parameter "region"`,
		"azblob://container/x?storage_account=A":       "not the name of a storage account",
		"s3://my-bucket/%zz":                           "cannot be read",
	} {
		_, err := bucket.Parse(url)
		var about *jit.Error
		switch {
		case !errors.As(err, &about) || about.Attribute != "ledger" || about.Hint == "" || !errors.Is(err, jit.ErrInvalid):
			t.Errorf("Parse(%q) = %v, want a *jit.Error about the ledger with a hint", url, err)
		case !strings.Contains(err.Error(), words) || strings.Contains(err.Error(), "hunter2"):
			t.Errorf("Parse(%q) = %q, want %q and no secret", url, err, words)
		}
	}
}
