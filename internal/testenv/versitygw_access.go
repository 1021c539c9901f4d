package testenv

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

// object is the only object of every bucket.
const object = "object"

// User makes a user without permissions and returns the user's access key.
func (g *AWSGateway) User(t testing.TB, name string) aws.Credentials {
	t.Helper()
	if _, err := g.Admin().CreateUser(t.Context(), &iam.CreateUserInput{UserName: &name}); err != nil {
		t.Fatalf("make the user %s: %v", name, err)
	}
	made, err := g.Admin().CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: &name})
	if err != nil {
		t.Fatalf("make an access key of %s: %v", name, err)
	}
	return aws.Credentials{AccessKeyID: *made.AccessKey.AccessKeyId, SecretAccessKey: *made.AccessKey.SecretAccessKey}
}

// Bucket makes a bucket with an object in it.
func (g *AWSGateway) Bucket(t testing.TB, name string) {
	t.Helper()
	root := aws.Credentials{AccessKeyID: GatewayKeyID, SecretAccessKey: GatewaySecret}
	for _, path := range []string{"/" + name, "/" + name + "/" + object} {
		if status, answer, err := g.ask(t.Context(), root, http.MethodPut, path); err != nil ||
			status != http.StatusOK {
			t.Fatalf("make %s: %d %s %v", path, status, answer, err)
		}
	}
}

// Reads tries to read the bucket's object with the key.
func (g *AWSGateway) Reads(ctx context.Context, key aws.Credentials, bucket string) (bool, error) {
	status, answer, err := g.ask(ctx, key, http.MethodGet, "/"+bucket+"/"+object)
	switch {
	case err != nil:
		return false, err
	case status == http.StatusOK:
		return true, nil
	case status == http.StatusForbidden && bytes.Contains(answer, []byte("<Code>AccessDenied</Code>")):
		return false, nil
	}
	return false, fmt.Errorf("read the object: %d %s", status, answer)
}

// ask makes one signed request.
func (g *AWSGateway) ask(ctx context.Context, key aws.Credentials, method, path string) (status int, answer []byte,
	err error) {
	req, err := http.NewRequestWithContext(ctx, method, g.S3+path, nil)
	if err != nil {
		return 0, nil, err
	}
	empty := sha256.Sum256(nil)
	hash := hex.EncodeToString(empty[:])
	req.Header.Set("X-Amz-Content-Sha256", hash)
	if err := v4.NewSigner().SignHTTP(ctx, key, req, hash, "s3", GatewayRegion, time.Now()); err != nil {
		return 0, nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err = io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}
