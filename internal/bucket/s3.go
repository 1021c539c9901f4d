package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"golang.org/x/sync/errgroup"

	"github.com/jitaccess/terraform-provider-jit/internal/awsconfig"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// s3Store is a bucket of S3, or of what speaks its protocol.
type s3Store struct {
	at    Location
	clock *jit.ServerClock

	mu     sync.Mutex
	client *s3.Client
}

var _ objects = (*s3Store)(nil)

// open returns the client, which the first call creates. An error is not kept: credentials may appear later.
func (s *s3Store) open(ctx context.Context) (*s3.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client != nil {
		return s.client, nil
	}
	loaded, err := awsconfig.Config{Region: s.at.Region, Profile: s.at.Profile}.Load(ctx)
	if err != nil {
		return nil, s.explained(err)
	}
	if loaded.Region == "" {
		if s.at.Endpoint == "" {
			return nil, jit.Invalid("ledger", "end the URL with ?region=eu-central-1, or set AWS_REGION",
				"nothing names the region of the bucket %q", s.at.Bucket)
		}
		loaded.Region = "us-east-1" // other stores ignore it
	}
	s.client = s3.NewFromConfig(loaded, func(o *s3.Options) {
		o.HTTPClient = &http.Client{Transport: transport(s.clock), Timeout: callTimeout}
		o.Retryer = aws.NopRetryer{} // whether an attempt may be repeated is decided above
		o.UsePathStyle = s.at.PathStyle
		// Stores other than Amazon's do not know the newer checksums.
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		if s.at.Endpoint != "" {
			o.BaseEndpoint = &s.at.Endpoint
		}
	})
	return s.client, nil
}

// explained names the ledger in an error about AWS settings.
func (s *s3Store) explained(err error) error {
	var about *jit.Error
	if errors.As(err, &about) && about.Attribute != "ledger" {
		return &jit.Error{Attribute: "ledger", Problem: fmt.Sprintf("cannot open %s: %s", s.at, about.Problem),
			Hint: about.Hint, Err: about.Err}
	}
	return err
}

// create creates an object:
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
func (s *s3Store) create(ctx context.Context, key string, body []byte) error {
	client, err := s.open(ctx)
	if err != nil {
		return err
	}
	_, err = client.PutObject(ctx, &s3.PutObjectInput{Bucket: &s.at.Bucket, Key: &key, Body: bytes.NewReader(body),
		IfNoneMatch: aws.String("*"), ContentType: aws.String(contentType)})
	return s.refusal(ctx, "create", key, err)
}

func (s *s3Store) get(ctx context.Context, key string, limit int64) ([]byte, error) {
	client, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	answer, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.at.Bucket, Key: &key})
	if err != nil {
		return nil, s.refusal(ctx, "read", key, err)
	}
	defer func() { _ = answer.Body.Close() }() // it has been read
	return readAll(answer.Body, limit)
}

func (s *s3Store) list(ctx context.Context, prefix, after string) ([]string, bool, error) {
	client, err := s.open(ctx)
	if err != nil {
		return nil, false, err
	}
	in := &s3.ListObjectsV2Input{Bucket: &s.at.Bucket, Prefix: &prefix}
	if after != "" {
		in.StartAfter = &after
	}
	answer, err := client.ListObjectsV2(ctx, in)
	if err != nil {
		return nil, false, s.refusal(ctx, "list", prefix, err)
	}
	var keys []string
	for _, o := range answer.Contents {
		keys = append(keys, aws.ToString(o.Key))
	}
	return keys, aws.ToBool(answer.IsTruncated), nil
}

// retention asks for each object of a page of the list. An object has the bucket's default from when it was created:
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectRetention.html
func (s *s3Store) retention(ctx context.Context, prefix, after string) ([]Retention, bool, error) {
	keys, more, err := s.list(ctx, prefix, after)
	if err != nil {
		return nil, false, err
	}
	some := make([]Retention, len(keys))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i, key := range keys {
		g.Go(func() error {
			some[i].Key = key
			answer, err := s.client.GetObjectRetention(ctx, &s3.GetObjectRetentionInput{Bucket: &s.at.Bucket, Key: &key})
			var api smithy.APIError
			switch {
			case errors.As(err, &api) && slices.Contains(unlocked, api.ErrorCode()):
				return nil
			case err != nil:
				return s.refusal(ctx, "read the retention of", key, err)
			case answer.Retention != nil && answer.Retention.RetainUntilDate != nil:
				some[i].By = "object lock, " + strings.ToLower(string(answer.Retention.Mode))
				some[i].Until = answer.Retention.RetainUntilDate.UTC()
			}
			return nil
		})
	}
	return some, more, g.Wait()
}

// unlocked are the errors for an object without retention, and for a bucket without object lock:
// https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
var unlocked = []string{"NoSuchObjectLockConfiguration", "ObjectLockConfigurationNotFoundError", "InvalidRequest"}

// refusal returns the kind of an error of the SDK, or explains it.
func (s *s3Store) refusal(ctx context.Context, doing, key string, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	var answer *smithyhttp.ResponseError
	if !errors.As(err, &answer) || answer.HTTPStatusCode() == 0 {
		return fmt.Errorf("%w: %s", errUnsure, jit.Said(plain(err)))
	}
	var api smithy.APIError
	code := ""
	if errors.As(err, &api) {
		code = api.ErrorCode()
	}
	status := answer.HTTPStatusCode()
	switch kind := kindOf(status); {
	case code == "NoSuchBucket":
		return noBucket(s.at)
	case code == "NotImplemented" || status == http.StatusNotImplemented:
		return unconditional(s.at, "it answers that it does not support If-None-Match")
	case kind != nil:
		return fmt.Errorf("%w (%d %s)", kind, status, jit.Said(code))
	case status == http.StatusForbidden || status == http.StatusUnauthorized:
		return forbidden(s.at, doing, key, code, map[string]string{
			"create": "s3:PutObject", "read": "s3:GetObject", "list": "s3:ListBucket",
			"read the retention of": "s3:GetObjectRetention"}[doing])
	case status == http.StatusMovedPermanently || code == "AuthorizationHeaderMalformed":
		return jit.Errorf(nil, "ledger", "end the URL with ?region= and the region of the bucket",
			"cannot %s in %s: the bucket is in another region", doing, s.at)
	}
	return refused(s.at, doing, status, code, awsconfig.Message(err))
}

// readAll reads a body of at most limit bytes.
func readAll(body io.Reader, limit int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(body, limit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %s", errUnsure, jit.Said(plain(err)))
	case int64(len(text)) > limit:
		return nil, errTooLarge
	}
	return text, nil
}
