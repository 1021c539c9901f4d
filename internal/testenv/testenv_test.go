package testenv_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/jackc/pgx/v5"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// recorder stores how a test first ends, and continues.
type recorder struct {
	testing.TB
	ended string
}

func (*recorder) Helper() {}

func (r *recorder) Skipf(format string, args ...any) { r.end("skip: "+format, args...) }

func (r *recorder) Fatalf(format string, args ...any) { r.end("fail: "+format, args...) }

func (r *recorder) end(format string, args ...any) {
	if r.ended == "" {
		r.ended = fmt.Sprintf(format, args...)
	}
}

func TestUnavailable(t *testing.T) {
	for ci, want := range map[string]string{
		"":     "skip: x is not available: install it",
		"true": "fail: x is not available: install it",
	} {
		t.Setenv("CI", ci)
		r := &recorder{TB: t}
		testenv.Unavailable(r, "x", errors.New("install it"))
		if r.ended != want {
			t.Errorf("CI=%q: got %q, want %q", ci, r.ended, want)
		}
	}
}

func TestTerraforms(t *testing.T) {
	for _, cli := range testenv.AllTerraforms(t) {
		t.Run(cli.String(), func(t *testing.T) {
			cli.Setenv(t)
			out, err := exec.CommandContext(t.Context(), cli.Path, "version").CombinedOutput()
			if err != nil || !strings.Contains(string(out), cli.Version) {
				t.Errorf("version: %v: %s", err, out)
			}
			if strings.Contains(string(out), "Warning") {
				t.Errorf("version warns in the environment of Setenv: %s", out)
			}
		})
	}
}

func TestPostgres(t *testing.T) {
	server := testenv.Postgres(t)
	for _, url := range []string{server.URL, server.Database(t)} {
		conn, err := pgx.Connect(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		var got int
		if err := conn.QueryRow(t.Context(), `select 1`).Scan(&got); err != nil || got != 1 {
			t.Errorf("select 1: got %d, %v", got, err)
		}
		if err := conn.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}

	wrong := strings.Replace(server.URL, server.Password, "wrong", 1)
	if conn, err := pgx.Connect(t.Context(), wrong); err == nil {
		_ = conn.Close(t.Context())
		t.Error("the server accepts a wrong password")
	}
}

func TestSSHD(t *testing.T) {
	file := filepath.Join(t.TempDir(), "authorized_keys")
	server := testenv.SSHD(t, file)
	known, line := testenv.NewSSHKey(t)
	unknown, _ := testenv.NewSSHKey(t)
	write := func(line string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(line+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	write(line)
	if out, err := server.Login(t.Context(), known, "echo hello"); err != nil || out != "hello\n" {
		t.Errorf("key in the file: got %q, %v", out, err)
	}
	if out, err := server.Login(t.Context(), known, "ls -A ~ | grep '^\\.'; echo none"); err != nil || out != "none\n" {
		t.Errorf("the home directory has start files: %q, %v", out, err)
	}
	if _, err := server.Login(t.Context(), unknown, "true"); !errors.Is(err, testenv.ErrRefused) {
		t.Errorf("key not in the file: got %v, want ErrRefused", err)
	}
	write(`expiry-time="20200101000000Z" ` + line)
	if _, err := server.Login(t.Context(), known, "true"); !errors.Is(err, testenv.ErrRefused) {
		t.Errorf("key that has expired: got %v, want ErrRefused", err)
	}
}

func TestKubernetes(t *testing.T) {
	server := testenv.Kubernetes(t)
	admin, err := kubernetes.NewForConfig(server.Admin())
	if err != nil {
		t.Fatal(err)
	}
	if out, err := admin.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(t.Context()); err != nil ||
		string(out) != "ok" {
		t.Errorf("/readyz: got %q, %v", out, err)
	}
	view, err := admin.RbacV1().ClusterRoles().Get(t.Context(), "view", metav1.GetOptions{})
	if err != nil || len(view.Rules) == 0 {
		t.Errorf("cluster role view: %d rules, %v", len(view.Rules), err)
	}

	config, err := clientcmd.BuildConfigFromFlags("", server.UserKubeconfig(t, "alice"))
	if err != nil {
		t.Fatal(err)
	}
	alice, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := alice.CoreV1().Secrets("default").List(t.Context(),
		metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a user without a role lists secrets: got %v, want forbidden", err)
	}
	master, err := kubernetes.NewForConfig(server.User(t, "bob", "system:masters"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := master.CoreV1().Secrets("default").List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("a member of system:masters lists secrets: %v", err)
	}
}

func TestMoto(t *testing.T) {
	server := testenv.Moto(t)
	first, second := server.Account(t), server.Account(t)
	if first.ID == second.ID || len(first.ID) != 12 {
		t.Errorf("two accounts are %s and %s", first.ID, second.ID)
	}
	for _, account := range []testenv.MotoAccount{first, second} {
		client := sts.New(sts.Options{
			Region: account.Region, BaseEndpoint: &account.Endpoint,
			Credentials: credentials.NewStaticCredentialsProvider(account.AccessKeyID, account.SecretAccessKey, ""),
		})
		who, err := client.GetCallerIdentity(t.Context(), nil)
		if err != nil || *who.Account != account.ID {
			t.Errorf("the access key of account %s acts in %+v, %v", account.ID, who, err)
		}
	}
}

// The gateway admits a user only by a policy, and only between the policy's dates.
func TestVersityGW(t *testing.T) {
	gateway := testenv.VersityGW(t)
	key := gateway.User(t, "alice")
	gateway.Bucket(t, "invoices")
	for _, tc := range []struct {
		policy string
		want   bool
	}{
		{`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::invoices/*","Condition":{"DateLessThan":{"aws:CurrentTime":"2020-01-01T00:00:00Z"}}}}`, false},
		{`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::invoices/*","Condition":{"DateGreaterThan":{"aws:CurrentTime":"2020-01-01T00:00:00Z"}}}}`, true},
		{`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::receipts/*"}}`, false},
	} {
		name, user := "p", "alice"
		if _, err := gateway.Admin().PutUserPolicy(t.Context(),
			&iam.PutUserPolicyInput{UserName: &user, PolicyName: &name, PolicyDocument: &tc.policy}); err != nil {
			t.Fatal(err)
		}
		if got, err := gateway.Reads(t.Context(), key, "invoices"); err != nil || got != tc.want {
			t.Errorf("with %s it reads: %t, %v; want %t", tc.policy, got, err, tc.want)
		}
	}
}
