package awsiam

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/jitaccess/terraform-provider-jit/internal/awsconfig"
	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	// lockTime is how long a lock is honoured. workTime is how long its holder works with it, with room for clocks that
	// differ.
	lockTime = 90 * time.Second
	workTime = 45 * time.Second
	// unlockTime limits the calls that are made after the caller has given up.
	unlockTime = 2 * time.Second
	// patientTime limits the removal of a lock while the caller waits.
	patientTime = 30 * time.Second
	// lockPolicy is the document of a lock. It is attached to nobody and gives nothing.
	lockPolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"` + markerAction +
		`","Resource":"*","Condition":{"DateLessThan":{"aws:CurrentTime":"1970-01-01T00:00:00Z"}}}]}`
)

// trustLock excludes our other writers from a role's trust policy. It is an unattached managed policy, because IAM
// makes only one policy of a name. Its description identifies the holder.
type trustLock struct {
	client *client
	role   arn
	name   string // of the policy
	arn    string // of the policy
	token  string // the description of ours
}

// lock locks the trust policy of a role until unlock is called.
func (c *client) lock(ctx context.Context, name arn, scope string) (unlock func(), err error) {
	l := &trustLock{client: c, role: name, name: "jit-lock-" + name.name,
		token: "held while jit changes the trust policy of the role; " + rand.Text()}
	l.arn = "arn:" + name.partition + ":iam::" + scope + ":policy/" + folder + "/" + l.name
	for attempt := 0; ; attempt++ {
		held, err := l.acquire(ctx)
		switch {
		case err != nil:
			return nil, err
		case held:
			return func() { _ = l.release(ctx, l.token) }, nil // if this fails, the next writer removes the lock once it is old
		}
		if err := backoff.Wait(ctx, attempt, c.pause, longestPause); err != nil {
			return nil, fmt.Errorf("wait for the lock %s: %w", l.arn, err)
		}
	}
}

// acquire tries to make the lock. Without the lock and without an error, it is worth trying again.
func (l *trustLock) acquire(ctx context.Context) (held bool, err error) {
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	failed := l.create(ctx)
	code := awsconfig.Code(failed)
	holder, since := l.token, time.Time{}
	if failed != nil {
		if code != "" && code != entityExists {
			return false, awsconfig.Explain(ctx, "lock the trust policy of "+l.role.text, failed)
		}
		holder, since = l.holder(ctx) // it is ours if only the answer was lost
	}
	switch {
	case holder == l.token && ctx.Err() != nil:
		_ = l.release(ctx, l.token)
		return false, ctx.Err()
	case holder == l.token:
		return true, nil
	case !since.IsZero() && time.Since(since) > lockTime: // the holder died
		return false, l.removeStale(ctx, holder, since)
	case code == "":
		return false, awsconfig.Explain(ctx, "lock the trust policy of "+l.role.text, failed)
	}
	return false, nil
}

// create waits a little longer for the answer than the caller waits for the lock, because an abandoned request may
// still make one.
func (l *trustLock) create(ctx context.Context) error {
	asking, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(unlockTime, stop) })()
	_, err := l.client.CreatePolicy(asking, &iam.CreatePolicyInput{PolicyName: &l.name,
		Path: aws.String("/" + folder + "/"), PolicyDocument: aws.String(lockPolicy), Description: &l.token})
	return err
}

// holder returns who holds the lock, and since when; zero values if unknown.
func (l *trustLock) holder(ctx context.Context) (token string, since time.Time) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unlockTime)
	defer cancel()
	token, since, _ = l.look(ctx)
	return token, since
}

// look returns who holds the lock, and since when.
func (l *trustLock) look(ctx context.Context) (token string, since time.Time, err error) {
	held, err := l.client.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: &l.arn})
	if err != nil {
		return "", time.Time{}, err
	}
	return aws.ToString(held.Policy.Description), aws.ToTime(held.Policy.CreateDate), nil
}

// release removes the lock of a holder, also after the caller has given up. Absent is success. A removal without an
// answer may have been carried out, and the next holder may have the lock by now: so it is not repeated blindly.
func (l *trustLock) release(ctx context.Context, token string) error {
	patience := patientTime
	if ctx.Err() != nil {
		patience = unlockTime
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	for attempt := 0; ; attempt++ {
		_, err := l.client.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: &l.arn}, once)
		if unlessAbsent(err) == nil || !l.client.config.Retryer().IsErrorRetryable(err) {
			return unlessAbsent(err)
		}
		if backoff.Wait(ctx, attempt, l.client.pause, longestPause) != nil {
			return err
		}
		switch holder, _, unknown := l.look(ctx); {
		case awsconfig.Code(unknown) == noSuchEntity, unknown == nil && holder != token:
			return nil
		case unknown != nil:
			return err
		}
	}
}

// removeStale removes a lock whose holder died.
func (l *trustLock) removeStale(ctx context.Context, holder string, since time.Time) error {
	if err := l.release(ctx, holder); err != nil {
		return &jit.Error{Problem: fmt.Sprintf("the lock %s, made at %s by a process that is gone, cannot be "+
			"removed: %s", l.arn, jit.FormatTime(since), awsconfig.Message(err)),
			Hint: "delete that policy; it gives no access", Err: err}
	}
	return nil
}
