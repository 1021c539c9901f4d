package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"
	"google.golang.org/api/storage/v1"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// gcsStore is a bucket of Google Cloud Storage.
type gcsStore struct {
	at    Location
	clock *jit.ServerClock

	mu      sync.Mutex
	service *storage.Service
}

var _ objects = (*gcsStore)(nil)

// open returns the client, which the first call creates. An error is not kept: credentials may appear later.
func (s *gcsStore) open() (*storage.Service, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.service != nil {
		return s.service, nil
	}
	base := transport(s.clock)
	client := &http.Client{Transport: base, Timeout: callTimeout}
	// The source renews tokens with this context, so it must not end.
	ctx := context.WithValue(context.Background(), oauth2.HTTPClient, client)
	options := []option.ClientOption{}
	if s.at.Endpoint != "" {
		options = append(options, option.WithEndpoint(s.at.Endpoint+"/storage/v1/"))
	}
	if !anonymous(s.at.Endpoint) {
		found, err := google.FindDefaultCredentials(ctx, storage.DevstorageReadWriteScope)
		if err != nil {
			return nil, &jit.Error{Attribute: "ledger", Err: err,
				Problem: fmt.Sprintf("cannot open %s: there are no credentials for Google Cloud: %s", s.at,
					jit.Said(err.Error())),
				Hint: "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS to the path of a " +
					"credentials file"}
		}
		client = &http.Client{Transport: &oauth2.Transport{Source: found.TokenSource, Base: base}, Timeout: callTimeout}
	}
	service, err := storage.NewService(ctx, append(options, option.WithHTTPClient(client))...)
	if err != nil {
		return nil, err
	}
	s.service = service
	return service, nil
}

// anonymous reports whether requests to an endpoint carry no credentials: it is an emulator on this machine.
func anonymous(endpoint string) bool {
	u, err := url.Parse(endpoint)
	return endpoint != "" && err == nil && u.Scheme == "http" && jit.Loopback(u.Hostname())
}

// create creates an object: https://cloud.google.com/storage/docs/request-preconditions
func (s *gcsStore) create(ctx context.Context, key string, body []byte) error {
	service, err := s.open()
	if err != nil {
		return err
	}
	_, err = service.Objects.Insert(s.at.Bucket, &storage.Object{Name: key}).IfGenerationMatch(0).
		Media(bytes.NewReader(body), googleapi.ChunkSize(0), googleapi.ContentType(contentType)).
		WithRetry(nil, func(error) bool { return false }). // whether an attempt may be repeated is decided above
		Context(ctx).Do()
	return s.refusal(ctx, "create", key, err)
}

func (s *gcsStore) get(ctx context.Context, key string, limit int64) ([]byte, error) {
	service, err := s.open()
	if err != nil {
		return nil, err
	}
	answer, err := service.Objects.Get(s.at.Bucket, key).Context(ctx).Download()
	if err != nil {
		return nil, s.refusal(ctx, "read", key, err)
	}
	defer func() { _ = answer.Body.Close() }() // it has been read
	return readAll(answer.Body, limit)
}

func (s *gcsStore) list(ctx context.Context, prefix, after string) ([]string, bool, error) {
	service, err := s.open()
	if err != nil {
		return nil, false, err
	}
	call := service.Objects.List(s.at.Bucket).Prefix(prefix).Fields("nextPageToken", "items(name)").Context(ctx)
	if after != "" {
		call = call.StartOffset(after) // with the key itself
	}
	answer, err := call.Do()
	if err != nil {
		return nil, false, s.refusal(ctx, "list", prefix, err)
	}
	var keys []string
	for _, o := range answer.Items {
		if o.Name > after {
			keys = append(keys, o.Name)
		}
	}
	return keys, answer.NextPageToken != "", nil
}

// retention reads the list with what keeps each object: a policy of the bucket, or the object's own retention. See
// https://cloud.google.com/storage/docs/bucket-lock and https://cloud.google.com/storage/docs/object-lock
func (s *gcsStore) retention(ctx context.Context, prefix, after string) ([]Retention, bool, error) {
	service, err := s.open()
	if err != nil {
		return nil, false, err
	}
	call := service.Objects.List(s.at.Bucket).Prefix(prefix).Context(ctx).
		Fields("nextPageToken", "items(name,retentionExpirationTime,retention)")
	if after != "" {
		call = call.StartOffset(after) // with the key itself
	}
	answer, err := call.Do()
	if err != nil {
		return nil, false, s.refusal(ctx, "list", prefix, err)
	}
	var some []Retention
	for _, o := range answer.Items {
		r := Retention{Key: o.Name}
		if o.Retention != nil {
			r.By = "object retention, " + strings.ToLower(o.Retention.Mode)
			r.Until, err = time.Parse(time.RFC3339, o.Retention.RetainUntilTime)
		}
		if o.RetentionExpirationTime != "" && err == nil {
			var until time.Time
			if until, err = time.Parse(time.RFC3339, o.RetentionExpirationTime); until.After(r.Until) {
				r.By, r.Until = "retention policy of the bucket", until
			}
		}
		if err != nil {
			return nil, false, fmt.Errorf("read the retention of %s: %w", path.Base(o.Name), err)
		}
		if o.Name > after {
			some = append(some, r)
		}
	}
	return some, answer.NextPageToken != "", nil
}

// refusal returns the kind of an error of the client, or explains it.
func (s *gcsStore) refusal(ctx context.Context, doing, key string, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	var answer *googleapi.Error
	if !errors.As(err, &answer) {
		var token *oauth2.RetrieveError
		if errors.As(err, &token) {
			return forbidden(s.at, doing, key, "the credentials are not valid any more", "")
		}
		return fmt.Errorf("%w: %s", errUnsure, jit.Said(plain(err)))
	}
	switch kind := kindOf(answer.Code); {
	case errors.Is(kind, errAbsent) && doing == "read":
		return kind
	case errors.Is(kind, errAbsent):
		return noBucket(s.at)
	case kind != nil:
		return fmt.Errorf("%w (%d)", kind, answer.Code)
	case answer.Code == http.StatusForbidden || answer.Code == http.StatusUnauthorized:
		return forbidden(s.at, doing, key, answer.Message, map[string]string{
			"create": "storage.objects.create", "read": "storage.objects.get", "list": "storage.objects.list"}[doing])
	}
	return refused(s.at, doing, answer.Code, "", answer.Message)
}
