package testenv

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/testenv/cache"
)

// MotoRegion is the region in which tests ask the server.
const MotoRegion = "eu-central-1"

// MotoServer answers as the AWS services do: iam, sts, sso-admin, identitystore,
// organizations and others, at one endpoint. It keeps what it is told in memory
// and decides nothing: every request is let through.
type MotoServer struct {
	URL string // the endpoint of every service, http on loopback
}

// MotoAccount is an AWS account of the server. Requests with its access key act in it.
type MotoAccount struct {
	Endpoint        string
	Region          string
	ID              string // twelve digits
	AccessKeyID     string
	SecretAccessKey string
}

// Moto returns the AWS server of this process and starts it first if need be.
// Tests share it, each with an account of its own: [MotoServer.Account].
func Moto(t testing.TB) *MotoServer {
	t.Helper()
	Acceptance(t)
	server, err := startMotoOnce()
	if err != nil {
		Unavailable(t, "moto", err)
	}
	return server
}

// Account makes an empty account with an access key of an administrator's.
func (s *MotoServer) Account(t testing.TB) MotoAccount {
	t.Helper()
	n, err := rand.Int(rand.Reader, big.NewInt(900_000_000_000))
	if err != nil {
		t.Fatal(err)
	}
	account := MotoAccount{Endpoint: s.URL, Region: MotoRegion, ID: strconv.FormatInt(n.Int64()+100_000_000_000, 10)}
	if _, err := s.iam(t.Context(), account.ID, "CreateUser"); err != nil {
		t.Fatalf("make an account: %v", err)
	}
	answer, err := s.iam(t.Context(), account.ID, "CreateAccessKey")
	if err != nil {
		t.Fatalf("make an access key: %v", err)
	}
	var created struct {
		CreateAccessKeyResponse struct {
			CreateAccessKeyResult struct {
				AccessKey struct{ AccessKeyID, SecretAccessKey string }
			}
		}
	}
	if err := json.Unmarshal(answer, &created); err != nil {
		t.Fatalf("make an access key: %v", err)
	}
	key := created.CreateAccessKeyResponse.CreateAccessKeyResult.AccessKey
	account.AccessKeyID, account.SecretAccessKey = key.AccessKeyID, key.SecretAccessKey
	return account
}

// Setenv makes the account the one of the test's environment, and nothing else of AWS.
func (a MotoAccount) Setenv(t testing.TB) {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": a.AccessKeyID, "AWS_SECRET_ACCESS_KEY": a.SecretAccessKey, "AWS_REGION": a.Region, "AWS_ENDPOINT_URL": a.Endpoint,
		"AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
}

// iam makes an IAM request about the user "administrator". The header chooses the account,
// as moto's documentation on multi-account support has it.
func (s *MotoServer) iam(ctx context.Context, account, action string) ([]byte, error) {
	form := url.Values{"Action": {action}, "Version": {"2010-05-08"}, "UserName": {"administrator"}, "ContentType": {"JSON"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=none/20260101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=none")
	req.Header.Set("X-Moto-Account-Id", account)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", action, resp.Status, answer)
	}
	return answer, err
}

var startMotoOnce = sync.OnceValues(startMoto)

// startMoto serves on a free port, which may be taken before the server binds it, hence the attempts.
func startMoto() (*MotoServer, error) {
	python, err := cache.Moto().Lookup()
	if err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		server, err := runMoto(python)
		if err == nil || attempt == 3 {
			return server, err
		}
	}
}

func runMoto(python string) (*MotoServer, error) {
	dir, err := os.MkdirTemp("", "jit-moto")
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	proc, err := startSupervised(nil, dir, "TERM", python, "-m", "moto.server", "-H", "127.0.0.1", "-p", strconv.Itoa(port))
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	server := &MotoServer{URL: "http://127.0.0.1:" + strconv.Itoa(port)}
	if err := proc.wait(time.Minute, server.ready); err != nil {
		return nil, errors.Join(fmt.Errorf("moto: %w", err), proc.stop())
	}
	return server, nil
}

// ready asks for the list of what the server holds.
func (s *MotoServer) ready(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/moto-api/data.json", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}
