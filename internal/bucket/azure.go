package bucket

import (
	"bytes"
	"cmp"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"
	"sync"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// The environment variables that Azure's own tools read.
const (
	envAccount = "AZURE_STORAGE_ACCOUNT"
	envSAS     = "AZURE_STORAGE_SAS_TOKEN"
)

const (
	// azureVersion is the version of the service's API:
	// https://learn.microsoft.com/rest/api/storageservices/versioning-for-the-azure-storage-services
	azureVersion = "2023-11-03"
	azureScope   = "https://storage.azure.com/.default"
)

// azureStore is a container of Azure Blob Storage. It makes its three requests by azcore: the client for blobs
// (azblob 1.8) brings Apache Arrow into the program.
type azureStore struct {
	at    Location
	clock *jit.ServerClock

	mu       sync.Mutex
	pipeline *runtime.Pipeline
	base     *url.URL   // of the container
	sas      url.Values // a shared access signature; nil if tokens are sent
}

var _ objects = (*azureStore)(nil)

// open prepares the requests, at the first call. An error is not kept: credentials may appear later.
func (s *azureStore) open() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pipeline != nil {
		return nil
	}
	account := cmp.Or(s.at.Account, os.Getenv(envAccount))
	switch {
	case account == "" && s.at.Endpoint == "":
		return jit.Invalid("ledger", "end the URL with ?storage_account=NAME, or set "+envAccount,
			"nothing names the storage account of the container %q", s.at.Bucket)
	case account != "" && !accountForm.MatchString(account):
		return jit.Invalid("ledger", "correct "+envAccount, "%s is not the name of a storage account", envAccount)
	}
	base, err := url.Parse(cmp.Or(s.at.Endpoint, "https://"+account+".blob.core.windows.net") + "/" + s.at.Bucket)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: transport(s.clock), Timeout: callTimeout}
	options := &policy.ClientOptions{Transport: client, Retry: policy.RetryOptions{MaxRetries: -1},
		Telemetry: policy.TelemetryOptions{ApplicationID: "terraform-provider-jit"}}
	var each []policy.Policy
	if sas := os.Getenv(envSAS); sas != "" {
		if s.sas, err = url.ParseQuery(strings.TrimPrefix(sas, "?")); err != nil {
			return jit.Invalid("ledger", "correct "+envSAS, "the value of %s cannot be read", envSAS)
		}
	} else {
		credential, err := azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{
			ClientOptions: azcore.ClientOptions{Transport: client}})
		if err != nil {
			return s.unidentified(err)
		}
		each = append(each, runtime.NewBearerTokenPolicy(credential, []string{azureScope}, nil))
	}
	pipeline := runtime.NewPipeline("jit", "v1", runtime.PipelineOptions{PerRetry: each}, options)
	s.pipeline, s.base = &pipeline, base
	return nil
}

func (s *azureStore) unidentified(err error) error {
	return &jit.Error{Attribute: "ledger", Err: err,
		Problem: fmt.Sprintf("cannot open %s: there are no credentials for Azure: %s", s.at, jit.Said(err.Error())),
		Hint:    "run `az login`, set AZURE_CLIENT_ID and its companions, or set " + envSAS}
}

// send makes a request and returns the answer if it has the wanted status.
func (s *azureStore) send(ctx context.Context, doing, method, key string, query url.Values, body []byte,
	header http.Header) (*http.Response, error) {
	if err := s.open(); err != nil {
		return nil, err
	}
	target := *s.base
	if key != "" {
		target.Path += "/" + key
	}
	all := url.Values{}
	for _, some := range []url.Values{s.sas, query} {
		for name, values := range some {
			all[name] = values
		}
	}
	target.RawQuery = all.Encode()
	request, err := runtime.NewRequest(ctx, method, target.String())
	if err != nil {
		return nil, errors.New("the address of the store cannot be used") // the cause may quote the signature
	}
	for name, values := range header {
		request.Raw().Header[name] = values
	}
	request.Raw().Header.Set("x-ms-version", azureVersion)
	if body != nil {
		if err := request.SetBody(readSeekNopCloser{bytes.NewReader(body)}, contentType); err != nil {
			return nil, err
		}
	}
	runtime.SkipBodyDownload(request)
	answer, err := s.pipeline.Do(request)
	if err != nil {
		return nil, s.unanswered(ctx, err)
	}
	if answer.StatusCode >= http.StatusMultipleChoices {
		defer func() { _ = answer.Body.Close() }()
		return nil, s.refusal(answer, doing, key)
	}
	return answer, nil
}

func (s *azureStore) unanswered(ctx context.Context, err error) error {
	var refused *azidentity.AuthenticationFailedError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &refused), strings.Contains(err.Error(), "DefaultAzureCredential"):
		return s.unidentified(err)
	}
	return fmt.Errorf("%w: %s", errUnsure, jit.Said(plain(err)))
}

type readSeekNopCloser struct{ io.ReadSeeker }

// Close does nothing.
func (readSeekNopCloser) Close() error { return nil }

// create creates a blob:
// https://learn.microsoft.com/rest/api/storageservices/specifying-conditional-headers-for-blob-service-operations
func (s *azureStore) create(ctx context.Context, key string, body []byte) error {
	answer, err := s.send(ctx, "create", http.MethodPut, key, nil, body,
		http.Header{"If-None-Match": {"*"}, "x-ms-blob-type": {"BlockBlob"}})
	if err != nil {
		return err
	}
	return answer.Body.Close()
}

func (s *azureStore) get(ctx context.Context, key string, limit int64) ([]byte, error) {
	answer, err := s.send(ctx, "read", http.MethodGet, key, nil, nil, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }() // it has been read
	return readAll(answer.Body, limit)
}

// blobs is the answer to List Blobs.
type blobs struct {
	Blobs []blob `xml:"Blobs>Blob"`
	Next  string `xml:"NextMarker"`
}

type blob struct {
	Name string
	// Until, Mode and LegalHold are answered if the request asks for them.
	Until     string `xml:"Properties>ImmutabilityPolicyUntilDate"`
	Mode      string `xml:"Properties>ImmutabilityPolicyMode"`
	LegalHold bool   `xml:"Properties>LegalHold"`
}

// list reads all pages: the service cannot begin after a key. So it lists only one block of numbers, those that share
// all but the last digits with the number after the key.
func (s *azureStore) list(ctx context.Context, prefix, after string) ([]string, bool, error) {
	narrow, end := block(prefix, after)
	var keys []string
	marker := ""
	for {
		page, err := s.page(ctx, url.Values{"prefix": {narrow}}, marker)
		if err != nil {
			return nil, false, err
		}
		for _, b := range page.Blobs {
			if b.Name > after {
				keys = append(keys, b.Name)
			}
		}
		if marker = page.Next; marker == "" {
			break
		}
	}
	return keys, end != "" && len(keys) > 0 && keys[len(keys)-1] == end, nil
}

// page reads one page of the list of blobs.
func (s *azureStore) page(ctx context.Context, query url.Values, marker string) (page blobs, err error) {
	query.Set("restype", "container")
	query.Set("comp", "list")
	if marker != "" {
		query.Set("marker", marker)
	}
	answer, err := s.send(ctx, "list", http.MethodGet, "", query, nil, nil)
	if err != nil {
		return page, err
	}
	text, err := readAll(answer.Body, maxList)
	_ = answer.Body.Close() // it has been read
	if err == nil {
		err = xml.Unmarshal(text, &page)
	}
	if err != nil {
		return page, fmt.Errorf("%w: %s", errUnsure, jit.Said(err.Error()))
	}
	return page, nil
}

// retention reads the whole list, with the immutability policy of each blob. A policy of the container has no date that
// this API tells:
// https://learn.microsoft.com/rest/api/storageservices/list-blobs and
// https://learn.microsoft.com/rest/api/storageservices/get-container-properties
func (s *azureStore) retention(ctx context.Context, prefix, _ string) (some []Retention, more bool, err error) {
	answer, err := s.send(ctx, "read", http.MethodGet, "", url.Values{"restype": {"container"}}, nil, nil)
	if err != nil {
		return nil, false, err
	}
	_ = answer.Body.Close() // it is empty
	all := ""
	switch {
	case answer.Header.Get("x-ms-has-immutability-policy") == "true":
		all = "immutability policy of the container"
	case answer.Header.Get("x-ms-has-legal-hold") == "true":
		all = "legal hold of the container"
	}
	marker := ""
	for more = true; more; {
		page, err := s.page(ctx, url.Values{"prefix": {prefix}, "include": {"immutabilitypolicy,legalhold"}}, marker)
		if err != nil {
			return nil, false, err
		}
		for _, b := range page.Blobs {
			r := Retention{Key: b.Name, By: all}
			if b.LegalHold {
				r.By = "legal hold"
			}
			if b.Until != "" {
				r.By = "immutability policy, " + strings.ToLower(b.Mode)
				if r.Until, err = http.ParseTime(b.Until); err != nil {
					return nil, false, fmt.Errorf("read the immutability policy of %s: %w", path.Base(b.Name), err)
				}
			}
			some = append(some, r)
		}
		marker = page.Next
		more = marker != ""
	}
	return some, more, nil
}

// refusal returns the kind of a refusal, or explains it:
// https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes
func (s *azureStore) refusal(answer *http.Response, doing, key string) error {
	code := answer.Header.Get("x-ms-error-code")
	switch kind := kindOf(answer.StatusCode); {
	case code == "BlobAlreadyExists": // it is a 409
		return errExists
	case code == "ContainerNotFound":
		return noBucket(s.at)
	case kind != nil:
		return fmt.Errorf("%w (%d %s)", kind, answer.StatusCode, jit.Said(code))
	case answer.StatusCode == http.StatusForbidden || answer.StatusCode == http.StatusUnauthorized:
		return forbidden(s.at, doing, key, code, map[string]string{
			"create": "blobs/add/action", "read": "blobs/read", "list": "blobs/read"}[doing])
	}
	return refused(s.at, doing, answer.StatusCode, code, "")
}
