package testenv

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/jitaccess/terraform-provider-jit/internal/testenv/cache"
)

// Buckets returns, by the name of a server that others wrote, what makes an empty bucket on it and returns the URL of a
// ledger there. The credentials are those of the test's environment. moto is not among them: it does not always honour
// the condition when several clients create the same object at once.
func Buckets() map[string]func(t testing.TB, name string) string {
	return map[string]func(t testing.TB, name string) string{
		"versitygw": func(t testing.TB, name string) string {
			return bucketOnS3(t, VersityGW(t).S3, GatewayRegion, GatewayKeyID, GatewaySecret, name)
		},
		"fake-gcs-server": func(t testing.TB, name string) string {
			s := FakeGCS(t)
			s.Bucket(t, name)
			return "gs://" + name + "/jit?endpoint=" + s.URL
		},
		"azurite": func(t testing.TB, name string) string {
			s := Azurite(t)
			s.Container(t, name)
			t.Setenv("AZURE_STORAGE_SAS_TOKEN", s.SAS())
			return "azblob://" + name + "/jit?endpoint=" + s.URL
		},
	}
}

// bucketOnS3 makes an empty bucket by the protocol of S3.
func bucketOnS3(t testing.TB, endpoint, region, id, secret, name string) string {
	t.Helper()
	client := s3.New(s3.Options{Region: region, BaseEndpoint: &endpoint, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(id, secret, "")})
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &name}); err != nil {
		t.Fatal(err)
	}
	for variable, value := range map[string]string{"AWS_ACCESS_KEY_ID": id, "AWS_SECRET_ACCESS_KEY": secret,
		"AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_CONFIG_FILE": "/dev/null", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_ENDPOINT_URL": "", "AWS_ENDPOINT_URL_S3": ""} {
		t.Setenv(variable, value)
	}
	return "s3://" + name + "/jit?path_style=true&region=" + region + "&endpoint=" + endpoint
}

// LockedBucket makes an empty bucket in which objects can be kept. It returns what keeps one for a day: the server does
// not record the default of a bucket in its objects.
func (g *AWSGateway) LockedBucket(t testing.TB, name string) (keep func(key string)) {
	t.Helper()
	endpoint := g.S3
	client := s3.New(s3.Options{Region: GatewayRegion, BaseEndpoint: &endpoint, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(GatewayKeyID, GatewaySecret, "")})
	locks := true
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{
		Bucket: &name, ObjectLockEnabledForBucket: &locks,
	}); err != nil {
		t.Fatal(err)
	}
	return func(key string) {
		until := time.Now().Add(24 * time.Hour)
		if _, err := client.PutObjectRetention(t.Context(), &s3.PutObjectRetentionInput{Bucket: &name, Key: &key,
			Retention: &types.ObjectLockRetention{Mode: types.ObjectLockRetentionModeCompliance, RetainUntilDate: &until},
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// BlobServer is an object store, at http on loopback.
type BlobServer struct{ URL string }

// FakeGCS returns the server of this process that answers as Google Cloud Storage does; the first call starts it. It
// needs no credentials.
func FakeGCS(t testing.TB) *BlobServer {
	t.Helper()
	return shared(t, "fake-gcs-server", startFakeGCSOnce)
}

var startFakeGCSOnce = sync.OnceValues(func() (*BlobServer, error) {
	path, err := cache.FakeGCS().Lookup()
	if err != nil {
		return nil, err
	}
	s := &BlobServer{}
	_, err = startServer("fakegcs", nil, "TERM", func(_ string, port int) ([]string, error) {
		s.URL = "http://127.0.0.1:" + strconv.Itoa(port)
		return []string{path, "-scheme", "http", "-host", "127.0.0.1", "-port", strconv.Itoa(port), "-backend", "memory",
			"-public-host", "127.0.0.1:" + strconv.Itoa(port)}, nil
	}, func(ctx context.Context) error { return answers(ctx, s.URL+"/_internal/healthcheck") })
	return s, err
})

// Bucket makes an empty bucket in a [FakeGCS].
func (s *BlobServer) Bucket(t testing.TB, name string) {
	t.Helper()
	ask(t, http.MethodPost, s.URL+"/storage/v1/b?project=test", `{"name":"`+name+`"}`, http.StatusOK)
}

// Azurite returns the server of this process that answers as Azure Blob Storage does; the first call starts it.
func Azurite(t testing.TB) *BlobServer { t.Helper(); return shared(t, "azurite", startAzuriteOnce) }

var startAzuriteOnce = sync.OnceValues(func() (*BlobServer, error) {
	path, err := cache.Azurite().Lookup()
	if err != nil {
		return nil, err
	}
	s := &BlobServer{}
	_, err = startServer("azurite", nil, "TERM", func(dir string, port int) ([]string, error) {
		s.URL = "http://127.0.0.1:" + strconv.Itoa(port) + "/" + azuriteAccount
		return []string{path, "--blobHost", "127.0.0.1", "--blobPort", strconv.Itoa(port), "--silent",
			"--disableTelemetry", "--location", filepath.Join(dir, "data")}, nil
	}, func(ctx context.Context) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, nil)
		if err != nil {
			return err
		}
		answer, err := http.DefaultClient.Do(r) // any answer will do: it needs a signature
		if err != nil {
			return err
		}
		return answer.Body.Close()
	})
	return s, err
})

// azuriteAccount and azuriteKey are the account of every Azurite, which its documentation publishes:
// https://learn.microsoft.com/azure/storage/common/storage-connect-azurite
const (
	azuriteAccount = "devstoreaccount1"
	azuriteKey     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

// Container makes an empty container in an [Azurite].
func (s *BlobServer) Container(t testing.TB, name string) {
	t.Helper()
	ask(t, http.MethodPut, s.URL+"/"+name+"?restype=container&"+sas("rwcl"), "", http.StatusCreated)
}

// SAS returns a shared access signature that may read, create and list, and neither overwrite nor delete:
// https://learn.microsoft.com/rest/api/storageservices/create-account-sas
func (s *BlobServer) SAS() string { return sas("rcl") }

func sas(permissions string) string {
	const version, services, kinds = "2021-12-02", "b", "sco"
	end := time.Now().Add(time.Hour).UTC().Format("2006-01-02T15:04:05Z")
	key, err := base64.StdEncoding.DecodeString(azuriteKey)
	if err != nil {
		panic(err) // it is a constant
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(strings.Join([]string{azuriteAccount, permissions, services, kinds, "", end, "", "", version, "", ""},
		"\n")))
	return url.Values{"sv": {version}, "ss": {services}, "srt": {kinds}, "sp": {permissions}, "se": {end},
		"sig": {base64.StdEncoding.EncodeToString(mac.Sum(nil))}}.Encode()
}

// ask makes a request and fails the test unless the answer has the wanted status.
func ask(t testing.TB, method, target, body string, want int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("x-ms-version", "2021-12-02")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != want {
		t.Fatalf("%s: %s", method, answer.Status)
	}
}
