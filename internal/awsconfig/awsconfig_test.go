package awsconfig_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/jitaccess/terraform-provider-jit/internal/awsconfig"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// alone leaves nothing of AWS in the test's environment but a key.
func alone(t *testing.T) {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "very secret", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "",
		"AWS_REGION":      "us-east-1",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_ENDPOINT_URL": "",
	} {
		t.Setenv(name, value)
	}
}

func TestCheck(t *testing.T) {
	const operator = "arn:aws:iam::123456789012:role/team/jit-operator"
	for name, tc := range map[string]struct {
		config    awsconfig.Config
		attribute string // to blame; empty when all is right
	}{
		"nothing": {awsconfig.Config{}, ""},
		"everything": {awsconfig.Config{Region: "us-gov-east-1", Profile: "prod admin",
			Endpoint:   "https://vpce.example.com:8443/iam",
			AssumeRole: &awsconfig.AssumeRole{RoleARN: operator, ExternalID: "a/b:c", SessionName: "jit-1"}}, ""},
		"loopback":               {awsconfig.Config{Endpoint: "http://127.0.0.1:5000"}, ""},
		"no region":              {awsconfig.Config{Region: "Frankfurt"}, "region"},
		"a profile of two lines": {awsconfig.Config{Profile: "a\nb"}, "profile"},
		"no URL":                 {awsconfig.Config{Endpoint: "vpce.example.com"}, "endpoint"},
		"unencrypted":            {awsconfig.Config{Endpoint: "http://vpce.example.com"}, "endpoint"},
		"a password in the URL":  {awsconfig.Config{Endpoint: "https://a:hunter2@vpce.example.com"}, "endpoint"},
		"a query":                {awsconfig.Config{Endpoint: "https://vpce.example.com?x=1"}, "endpoint"},
		"no role":                {awsconfig.Config{AssumeRole: &awsconfig.AssumeRole{}}, "assume_role.role_arn"},
		"a user as the role":     {awsconfig.Config{AssumeRole: &awsconfig.AssumeRole{RoleARN: "arn:aws:iam::123456789012:user/a"}}, "assume_role.role_arn"},
		"a short external id": {awsconfig.Config{AssumeRole: &awsconfig.AssumeRole{RoleARN: operator,
			ExternalID: "a"}}, "assume_role.external_id"},
		"a long external id": {awsconfig.Config{AssumeRole: &awsconfig.AssumeRole{RoleARN: operator,
			ExternalID: strings.Repeat("hunter2", 200)}}, "assume_role.external_id"},
		"a session name of blanks": {awsconfig.Config{AssumeRole: &awsconfig.AssumeRole{RoleARN: operator,
			SessionName: "a b"}}, "assume_role.session_name"},
	} {
		err := tc.config.Check()
		var told *jit.Error
		if tc.attribute == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if !errors.As(err, &told) || !errors.Is(err, jit.ErrInvalid) || told.Attribute != tc.attribute ||
			told.Hint == "" {
			t.Errorf("%s: %v, want one that blames %s and says what to write", name, err, tc.attribute)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error holds a secret: %v", name, err)
		}
	}
}

// server answers the first requests with these, and all others with a user.
func server(t *testing.T, first ...http.HandlerFunc) (url string, asked func() int) {
	t.Helper()
	var n atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/xml")
		if i := int(n.Add(1)) - 1; i < len(first) {
			first[i](w, r)
			return
		}
		_, _ = fmt.Fprint(w,
			`<GetUserResponse><GetUserResult><User><UserName>alice</UserName></User></GetUserResult></GetUserResponse>`)
	}))
	t.Cleanup(s.Close)
	return s.URL, func() int { return int(n.Load()) }
}

func refuse(status int, code string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `<ErrorResponse><Error><Code>%s</Code><Message>no</Message></Error></ErrorResponse>`,
			code)
	}
}

func ask(t *testing.T, url string, watch *awsconfig.Watch) error {
	t.Helper()
	config, err := awsconfig.Config{Endpoint: url}.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if watch != nil {
		watch.Attach(&config)
	}
	_, err = iam.NewFromConfig(config).GetUser(t.Context(), &iam.GetUserInput{UserName: aws.String("alice")})
	return err
}

// Retry-After is waited for; without it the pause is short.
func TestRetryAfter(t *testing.T) {
	alone(t)
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		url, asked := server(t, refuse(status, "SlowDown", "Retry-After", "2"))
		began := time.Now()
		if err := ask(t, url, nil); err != nil || asked() != 2 {
			t.Errorf("%d: %v after %d requests", status, err, asked())
		}
		if took := time.Since(began); took < 2*time.Second {
			t.Errorf("%d: asked again after %s, though Retry-After is 2", status, took)
		}
	}
}

// What will not change is not asked again, and what does not end is given up.
func TestRetriesEnd(t *testing.T) {
	alone(t)
	url, asked := server(t, refuse(http.StatusForbidden, "AccessDenied"))
	if err := ask(t, url, nil); awsconfig.Code(err) != "AccessDenied" || asked() != 1 {
		t.Errorf("denied: %v after %d requests", err, asked())
	}
	always := make([]http.HandlerFunc, 50)
	for i := range always {
		always[i] = refuse(http.StatusConflict, "ConcurrentModification")
	}
	url, asked = server(t, always...)
	config, err := awsconfig.Config{Endpoint: url}.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	config.Retryer = func() aws.Retryer {
		return retry.AddWithMaxBackoffDelay(awsconfig.Retryer("ConcurrentModification"), time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	if _, err := iam.NewFromConfig(config).GetUser(ctx,
		&iam.GetUserInput{}); awsconfig.Code(err) != "ConcurrentModification" || asked() < 4 || asked() > 20 {
		t.Errorf("a storm that does not end: %v after %d requests", err, asked())
	}
}

// The watch tells of every attempt, and of a clock that disagrees.
func TestWatch(t *testing.T) {
	alone(t)
	for offset, skewed := range map[time.Duration]bool{0: false, 5 * time.Minute: true, -5 * time.Minute: true} {
		url, _ := server(t, refuse(http.StatusServiceUnavailable, "ServiceUnavailable"))
		var calls []string
		watch := &awsconfig.Watch{Now: func() time.Time { return time.Now().Add(offset) },
			OnCall: func(operation string) { calls = append(calls, operation) }}
		if !watch.Clock().IsZero() || watch.Skew() != nil {
			t.Error("it tells of a clock before anything was asked")
		}
		if err := ask(t, url, watch); err != nil {
			t.Fatal(err)
		}
		if len(calls) != 2 || calls[0] != "GetUser" || calls[1] != "GetUser" {
			t.Errorf("it was told of %v, want both attempts", calls)
		}
		if got := errors.Is(watch.Skew(), jit.ErrSkew); got != skewed || watch.Clock().IsZero() {
			t.Errorf("off by %s: %v at %s", offset, watch.Skew(), watch.Clock())
		}
	}
}

func TestCheckAccount(t *testing.T) {
	for id, ok := range map[string]bool{"123456789012": true, "": false, "12345678901": false, "1234567890123": false,
		"12345678901a": false, "123456789012\n": false} {
		if err := awsconfig.CheckAccount("scope", id); (err == nil) != ok {
			t.Errorf("%q: %v", id, err)
		}
	}
}

// AWS answers a wrong signature with the request as it should have been signed, the session's token in it.
func TestAWrongSignatureTellsNoToken(t *testing.T) {
	alone(t)
	token := "FwoGZXIvYXdzEBYaD"
	t.Setenv("AWS_SESSION_TOKEN", token)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/xml")
		w.WriteHeader(http.StatusForbidden)
		_, _ = fmt.Fprintf(w,
			`<ErrorResponse><Error><Type>Sender</Type><Code>SignatureDoesNotMatch</Code><Message>The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method.

The Canonical String for this request should have been
'POST
/

host:iam.amazonaws.com
x-amz-security-token:%s

host;x-amz-security-token'
</Message></Error></ErrorResponse>`, r.Header.Get("X-Amz-Security-Token"))
	}))
	t.Cleanup(s.Close)
	cfg := awsconfig.Config{Endpoint: s.URL}
	loaded, err := cfg.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = awsconfig.Identify(t.Context(), loaded)
	if err == nil || strings.Contains(err.Error(), token) ||
		!strings.Contains(err.Error(), "SignatureDoesNotMatch: The request signature we calculated does not match") {
		t.Errorf("%v, want one without the token", err)
	}
	cfg.AssumeRole = &awsconfig.AssumeRole{RoleARN: "arn:aws:iam::123456789012:role/operator"}
	if _, err = cfg.Load(t.Context()); err == nil || strings.Contains(err.Error(), token) {
		t.Errorf("assuming a role: %v, want one without the token", err)
	}
}

// All attempts of one request together outlast a burst of refusals of several seconds, and end within half a minute.
func TestRetriesOutlastABurst(t *testing.T) {
	refused := errors.New("503")
	for range 200 {
		r := awsconfig.Retryer()
		var span time.Duration
		for attempt := 1; attempt < r.MaxAttempts(); attempt++ {
			pause, err := r.RetryDelay(attempt, refused)
			if err != nil {
				t.Fatal(err)
			}
			span += pause
		}
		if span < 12*time.Second || span > 30*time.Second {
			t.Fatalf("the attempts span %s", span)
		}
	}
	if pause, err := awsconfig.Retryer().RetryDelay(1000, refused); err != nil || pause > 10*time.Second {
		t.Errorf("after 1,000 attempts it pauses %s: %v", pause, err)
	}
}
