package testenv

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/jitaccess/terraform-provider-jit/internal/testenv/cache"
)

// The access key of the account's root, and the region, of every [AWSGateway].
const (
	GatewayKeyID  = "root"
	GatewaySecret = "a secret of nobody else"
	GatewayRegion = "us-east-1"
)

// AWSGateway is an IAM and an S3. Policies and trust policies of the IAM, including their dates, decide each request.
// It has no groups, no managed policies and no sts:AssumeRole. An endpoint in front of the IAM adds the missing read
// calls.
type AWSGateway struct {
	IAM     string // the endpoint of iam and sts, http on loopback
	S3      string // the endpoint of s3
	Account string // twelve digits
}

// VersityGW returns the gateway of this process; the first call starts it. Tests share it, so they choose names of
// their own.
func VersityGW(t testing.TB) *AWSGateway {
	t.Helper()
	return shared(t, "versitygw", startVersityGWOnce)
}

var startVersityGWOnce = sync.OnceValues(func() (*AWSGateway, error) {
	path, err := cache.VersityGW().Lookup()
	if err != nil {
		return nil, err
	}
	var private string // the socket between the S3 and the IAM
	own, running, err := runGateway(path, func(dir string) []string {
		private = filepath.Join(dir, "private")
		return []string{"iam", "--quiet", "--dir", filepath.Join(dir, "state"), "--private-ports", private}
	})
	if err != nil {
		return nil, err
	}
	s3, _, err := runGateway(path, func(dir string) []string {
		return []string{"--iam-standalone-endpoint", private, "--iam-cache-disable",
			"posix", "--sidecar", filepath.Join(dir, "sidecar"), filepath.Join(dir, "state")}
	})
	if err != nil {
		return nil, errors.Join(err, running.stop())
	}
	gateway := &AWSGateway{S3: s3, Account: "000000000000"}
	gateway.IAM, err = bridge(own)
	return gateway, err
})

// runGateway runs one of the servers in a directory of its own.
func runGateway(path string, args func(dir string) []string) (url string, p *process, err error) {
	// The directory's name is short because it holds a socket.
	p, err = startServer("vgw", nil, "TERM", func(dir string, port int) ([]string, error) {
		address := "127.0.0.1:" + strconv.Itoa(port)
		url = "http://" + address
		return append([]string{path, "--quiet", "--access", GatewayKeyID, "--secret", GatewaySecret,
				"--region", GatewayRegion, "--port", address, "--health", "/healthz"}, args(dir)...),
			errors.Join(os.Mkdir(filepath.Join(dir, "state"), 0o700), os.Mkdir(filepath.Join(dir, "sidecar"), 0o700))
	}, func(ctx context.Context) error { return answers(ctx, url+"/healthz") })
	return url, p, err
}

// Admin is a client of the IAM with the keys of root.
func (g *AWSGateway) Admin() *iam.Client { return rootClient(g.IAM) }

func rootClient(endpoint string) *iam.Client {
	return iam.New(iam.Options{
		Region: GatewayRegion, BaseEndpoint: &endpoint,
		Credentials: credentials.NewStaticCredentialsProvider(GatewayKeyID, GatewaySecret, ""),
	})
}
