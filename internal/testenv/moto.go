package testenv

import (
	"context"
	"crypto/rand"
	"math/big"
	"os"
	"strconv"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/jitaccess/terraform-provider-jit/internal/testenv/cache"
)

// MotoRegion is the region of every [MotoAccount].
const MotoRegion = "eu-central-1"

// MotoServer answers as the AWS services do: iam, sts, sso-admin, identitystore, organizations and others, at one
// endpoint. It keeps their state in memory and permits every request.
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

// Moto returns the AWS server of this process; the first call starts it. Tests share it, each with an account of its
// own: [MotoServer.Account].
func Moto(t testing.TB) *MotoServer { t.Helper(); return shared(t, "moto", startMotoOnce) }

var startMotoOnce = sync.OnceValues(func() (*MotoServer, error) {
	python, err := cache.Moto().Lookup()
	if err != nil {
		return nil, err
	}
	s := &MotoServer{}
	_, err = startServer("moto", nil, "TERM", func(_ string, port int) ([]string, error) {
		s.URL = "http://127.0.0.1:" + strconv.Itoa(port)
		return []string{python, "-m", "moto.server", "-H", "127.0.0.1", "-p", strconv.Itoa(port)}, nil
	}, func(ctx context.Context) error { return answers(ctx, s.URL+"/moto-api/data.json") })
	return s, err
})

// Account makes an empty account with the access key of an administrator.
func (s *MotoServer) Account(t testing.TB) MotoAccount {
	t.Helper()
	n, err := rand.Int(rand.Reader, big.NewInt(900_000_000_000))
	if err != nil {
		t.Fatal(err)
	}
	account := MotoAccount{Endpoint: s.URL, Region: MotoRegion, ID: strconv.FormatInt(n.Int64()+100_000_000_000, 10)}
	client := iam.New(iam.Options{
		Region: MotoRegion, BaseEndpoint: &s.URL,
		Credentials: credentials.NewStaticCredentialsProvider("none", "none", ""),
		// The header chooses the account: https://docs.getmoto.org/en/latest/docs/multi_account.html
		APIOptions: []func(*middleware.Stack) error{smithyhttp.AddHeaderValue("X-Moto-Account-Id", account.ID)},
	})
	name := "administrator"
	if _, err := client.CreateUser(t.Context(), &iam.CreateUserInput{UserName: &name}); err != nil {
		t.Fatalf("make an account: %v", err)
	}
	made, err := client.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: &name})
	if err != nil {
		t.Fatalf("make an access key: %v", err)
	}
	account.AccessKeyID, account.SecretAccessKey = *made.AccessKey.AccessKeyId, *made.AccessKey.SecretAccessKey
	return account
}

// Setenv makes the account the only AWS setting in the test's environment.
func (a MotoAccount) Setenv(t testing.TB) {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": a.AccessKeyID, "AWS_SECRET_ACCESS_KEY": a.SecretAccessKey, "AWS_SESSION_TOKEN": "",
		"AWS_REGION": a.Region, "AWS_ENDPOINT_URL": a.Endpoint, "AWS_PROFILE": "", "AWS_CONFIG_FILE": os.DevNull,
		"AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
}
