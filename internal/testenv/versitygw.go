package testenv

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

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

// AWSGateway is an IAM and an S3 that decides each request by the policies and trust policies that the
// IAM holds, their dates included. It knows no groups, no managed policies and no sts:AssumeRole; what is missing of
// the calls that only read, an endpoint before it answers from what the IAM holds.
type AWSGateway struct {
	IAM     string // the endpoint of iam and sts, http on loopback
	S3      string // the endpoint of s3
	Account string // twelve digits
}

// VersityGW returns the gateway of this process and starts it first if need be. Tests share it, so they choose names of their own.
func VersityGW(t testing.TB) *AWSGateway {
	t.Helper()
	Acceptance(t)
	gateway, err := startVersityGWOnce()
	if err != nil {
		Unavailable(t, "versitygw", err)
	}
	return gateway
}

var startVersityGWOnce = sync.OnceValues(startVersityGW)

// startVersityGW serves on free ports, which may be taken before the servers bind them, hence the attempts.
func startVersityGW() (*AWSGateway, error) {
	path, err := cache.VersityGW().Lookup()
	if err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		gateway, err := runVersityGW(path)
		if err == nil || attempt == 3 {
			return gateway, err
		}
	}
}

func runVersityGW(path string) (*AWSGateway, error) {
	iamDir, own, running, err := runGateway(path, "iam", func(dir string) []string {
		return []string{"iam", "--quiet", "--dir", filepath.Join(dir, "state"), "--private-ports", filepath.Join(dir, "private")}
	})
	if err != nil {
		return nil, err
	}
	_, s3, _, err := runGateway(path, "s3", func(dir string) []string {
		return []string{"--iam-standalone-endpoint", filepath.Join(iamDir, "private"), "--iam-cache-disable",
			"posix", "--sidecar", filepath.Join(dir, "sidecar"), filepath.Join(dir, "state")}
	})
	if err != nil {
		return nil, errors.Join(err, running.stop())
	}
	gateway := &AWSGateway{S3: s3, Account: "000000000000"}
	gateway.IAM, err = bridge(own)
	return gateway, err
}

// runGateway runs one of the servers in a directory of its own.
func runGateway(path, name string, args func(dir string) []string) (dir, url string, p *process, err error) {
	if dir, err = os.MkdirTemp("", "jit-vgw"); err != nil { // a short name: it holds a socket
		return "", "", nil, err
	}
	for _, folder := range []string{"state", "sidecar"} {
		if err := os.Mkdir(filepath.Join(dir, folder), 0o700); err != nil {
			return "", "", nil, errors.Join(err, os.RemoveAll(dir))
		}
	}
	port, err := freePort()
	if err != nil {
		return "", "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	address := "127.0.0.1:" + strconv.Itoa(port)
	p, err = startSupervised(nil, dir, "TERM", append([]string{
		path, "--quiet", "--access", GatewayKeyID, "--secret", GatewaySecret, "--region", GatewayRegion, "--port", address, "--health", "/healthz",
	}, args(dir)...)...)
	if err != nil {
		return "", "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	url = "http://" + address
	if err := p.wait(time.Minute, func(ctx context.Context) error { return answers(ctx, url+"/healthz") }); err != nil {
		return "", "", nil, errors.Join(fmt.Errorf("versitygw %s: %w", name, err), p.stop())
	}
	return dir, url, p, nil
}

// Admin is a client of the IAM with the keys of root.
func (g *AWSGateway) Admin() *iam.Client { return rootClient(g.IAM) }

func rootClient(endpoint string) *iam.Client {
	return iam.New(iam.Options{
		Region: GatewayRegion, BaseEndpoint: &endpoint,
		Credentials: credentials.NewStaticCredentialsProvider(GatewayKeyID, GatewaySecret, ""),
	})
}

// answers succeeds when the URL is served.
func answers(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
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
