package notice

import (
	"testing"
	"time"
)

// The example of the reference implementations
// (https://github.com/standard-webhooks/standard-webhooks/tree/main/libraries).
func TestSign(t *testing.T) {
	key, err := keyOf("secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	const want = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	if got := sign(
		key,
		"msg_p5jXN8AQM9LWM0D4loKWxJek",
		time.Unix(1614265330, 0),
		[]byte(`{"test": 2432232314}`),
	); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
