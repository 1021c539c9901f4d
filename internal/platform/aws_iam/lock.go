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
	lockPolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"` + markerAction + `","Resource":"*","Condition":{"DateLessThan":{"aws:CurrentTime":"1970-01-01T00:00:00Z"}}}]}`
)

// lock excludes our other writers from a role's trust policy until unlock is called. The lock is an unattached managed
// policy, because IAM makes only one policy of a name. Its description identifies the holder.
func (c *client) lock(ctx context.Context, name arn, scope string) (unlock func(), err error) {
	policyName := "jit-lock-" + name.name
	policyARN := "arn:" + name.partition + ":iam::" + scope + ":policy/" + folder + "/" + policyName
	token := "held while jit changes the trust policy of the role; " + rand.Text()
	remove := func() error {
		patience := patientTime
		if ctx.Err() != nil {
			patience = unlockTime
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		_, err := c.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: &policyARN})
		if awsconfig.Code(err) == noSuchEntity {
			return nil
		}
		return err
	}
	unlock = func() { _ = remove() } // if this fails, the next writer removes the lock once it is old
	for attempt := 1; ; attempt++ {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		err := c.makeLock(ctx, policyName, token)
		switch {
		case err == nil && ctx.Err() == nil:
			return unlock, nil
		case err == nil:
			unlock()
			return nil, ctx.Err()
		}
		if code := awsconfig.Code(err); code != "" && code != entityExists {
			return nil, awsconfig.Explain(ctx, "lock the trust policy of "+name.text, err)
		}
		holder, since := c.holder(ctx, policyARN)
		switch {
		case holder == token && ctx.Err() == nil:
			return unlock, nil // the answer was lost
		case holder == token:
			unlock()
		case !since.IsZero() && time.Since(since) > lockTime:
			// The holder died.
			if err := remove(); err != nil {
				return nil, &jit.Error{Problem: fmt.Sprintf("the lock %s, made at %s by a process that is gone, cannot be removed: %s", policyARN, jit.FormatTime(since), awsconfig.Message(err)),
					Hint: "delete that policy; it gives no access", Err: err}
			}
			continue
		}
		if awsconfig.Code(err) == "" {
			return nil, awsconfig.Explain(ctx, "lock the trust policy of "+name.text, err)
		}
		if err := backoff.Wait(ctx, attempt-1, shortestPause, longestPause); err != nil {
			return nil, fmt.Errorf("wait for the lock %s: %w", policyARN, err)
		}
	}
}

// makeLock waits a little longer for the answer than the caller waits for the lock, because an abandoned request may
// still make one.
func (c *client) makeLock(ctx context.Context, policyName, token string) error {
	asking, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(unlockTime, stop) })()
	_, err := c.CreatePolicy(asking, &iam.CreatePolicyInput{
		PolicyName: &policyName, Path: aws.String("/" + folder + "/"), PolicyDocument: aws.String(lockPolicy), Description: &token,
	})
	return err
}

// holder returns who holds the lock, and since when; zero values if unknown.
func (c *client) holder(ctx context.Context, policyARN string) (token string, since time.Time) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unlockTime)
	defer cancel()
	held, err := c.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: &policyARN})
	if err != nil {
		return "", time.Time{}
	}
	return aws.ToString(held.Policy.Description), aws.ToTime(held.Policy.CreateDate)
}
