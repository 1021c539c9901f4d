package awsidentitycenter

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssoadmin"
	"github.com/aws/aws-sdk-go-v2/service/ssoadmin/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/jitaccess/terraform-provider-jit/internal/awsconfig"
	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// failure is the service's reason for a request that it accepted and could not carry out.
type failure struct{ reason string }

func (f *failure) Error() string { return f.reason }

// unclear is an error after which the service may still be at work.
type unclear struct{ error }

func (u unclear) Unwrap() error { return u.error }

// errComing is the error of a removal that found nothing although the latest request makes the assignment.
var errComing = errors.New("a request to make the assignment is in progress, or has just ended")

// write makes or removes one assignment and returns when that is done. It tries again, with random pauses, if the
// service is busy with another request or did not answer. Removing an absent assignment is success. Unless the error is
// [unclear], nothing was done and nothing is under way.
func (c *client) write(ctx context.Context, account string, op jit.Op, what object) error {
	end := time.Now().Add(c.platform.pace.patience)
	lost, busy, faults := false, 0, 0
	for {
		err := c.attempt(ctx, account, op, what)
		if err == nil {
			return nil
		}
		lost = lost || !answered(err)
		wait, again := c.again(err, &busy, &faults)
		if !again || ctx.Err() != nil || time.Now().Add(wait).After(end) {
			if lost {
				return unclear{err}
			}
			return err
		}
		if err := backoff.Sleep(ctx, wait); err != nil {
			return unclear{err}
		}
	}
}

// again reports whether to try again after an error, and after which pause. A service that is busy may say so however
// often; busy and faults count the tries.
func (c *client) again(err error, busy, faults *int) (time.Duration, bool) {
	switch code := awsconfig.Code(err); {
	case code == conflict, errors.Is(err, errComing):
		*busy++
		return backoff.Pause(*busy-1, c.platform.pace.tick, 8*c.platform.pace.tick), true
	case code == throttle:
		*busy++
		return c.delay(err, *busy), true
	}
	*faults++
	return c.delay(err, *faults), *faults < c.retryer.MaxAttempts() && c.retryer.IsErrorRetryable(err)
}

// delay is a random pause that grows with each try. It is at least as long as the service asks for.
func (c *client) delay(err error, try int) time.Duration {
	wait, e := c.retryer.RetryDelay(try, err)
	if e != nil {
		return c.platform.pace.tick
	}
	return wait
}

// answered reports whether the service has said that it did nothing.
func answered(err error) bool {
	var u unclear
	if errors.As(err, &u) {
		return false
	}
	var failed *failure
	var response *smithyhttp.ResponseError
	return errors.As(err, &failed) || errors.As(err, &response) &&
		response.HTTPStatusCode()/100 == http.StatusBadRequest/100
}

// attempt makes one request and waits until it ends.
func (c *client) attempt(ctx context.Context, account string, op jit.Op, what object) error {
	if err := take(ctx, c.platform.slots); err != nil {
		return err
	}
	defer func() { <-c.platform.slots }()
	status, err := c.ask(ctx, account, op, what)
	if op == jit.Remove && awsconfig.Code(err) == notFound {
		if err := c.notComing(ctx, account, what); err != nil {
			return err
		}
		// What was being made at the first request, and no longer at the list, is found by a second one.
		if status, err = c.ask(ctx, account, op, what); awsconfig.Code(err) == notFound {
			return nil
		}
	}
	if err != nil {
		return err
	}
	if status.Status == types.StatusValuesInProgress {
		if status, err = c.progress.await(ctx, request{op, aws.ToString(status.RequestId)}); err != nil {
			return unclear{err}
		}
	}
	if status.Status == types.StatusValuesFailed {
		return &failure{aws.ToString(status.FailureReason)}
	}
	return nil
}

// once turns off the SDK's retries: [client.write] retries, because it must know which answers were lost.
func once(o *ssoadmin.Options) { o.Retryer = aws.NopRetryer{} }

func (c *client) ask(ctx context.Context, account string, op jit.Op,
	what object) (*types.AccountAssignmentOperationStatus, error) {
	if op == jit.Ensure {
		out, err := c.sso.CreateAccountAssignment(ctx, &ssoadmin.CreateAccountAssignmentInput{
			InstanceArn: &c.instance, TargetType: types.TargetTypeAwsAccount, TargetId: &account,
			PermissionSetArn: &what.set, PrincipalType: what.kind, PrincipalId: &what.id,
		}, once)
		if err != nil {
			return nil, err
		}
		return out.AccountAssignmentCreationStatus, nil
	}
	out, err := c.sso.DeleteAccountAssignment(ctx, &ssoadmin.DeleteAccountAssignmentInput{
		InstanceArn: &c.instance, TargetType: types.TargetTypeAwsAccount, TargetId: &account,
		PermissionSetArn: &what.set, PrincipalType: what.kind, PrincipalId: &what.id,
	}, once)
	if err != nil {
		return nil, err
	}
	return out.AccountAssignmentDeletionStatus, nil
}

// explain explains an error of [client.write].
func explain(ctx context.Context, account string, op jit.Op, what object, err error) error {
	verb := "make"
	if op == jit.Remove {
		verb = "remove"
	}
	doing := fmt.Sprintf("%s the assignment of %s %s to the account %s", verb, what.kind, what.id, account)
	var failed *failure
	switch code := awsconfig.Code(err); {
	case errors.Is(err, errComing), ctx.Err() != nil:
		return &jit.Error{Problem: fmt.Sprintf("it is unknown whether IAM Identity Center could %s: %v", doing, err),
			Hint: "the sweeper ends the access with its window; `aws sso-admin list-account-assignment-creation-status " +
				"--filter Status=IN_PROGRESS` lists what it works on", Err: err}
	case errors.As(err, &failed):
		return &jit.Error{Problem: fmt.Sprintf("IAM Identity Center could not %s: %s", doing, failed.reason),
			Hint: "apply again when that is resolved; `aws sso-admin list-account-assignments` lists the assignments",
			Err:  err}
	case code == notFound:
		return &jit.Error{Problem: fmt.Sprintf("cannot %s: %v", doing, err),
			Hint: "check that the account, the permission set and the principal still exist", Err: err}
	case code == conflict, code == throttle:
		return &jit.Error{Problem: fmt.Sprintf("cannot %s: IAM Identity Center has been busy with other requests for "+
			"too long: %v", doing, err), Hint: "apply again", Err: err}
	}
	return awsconfig.Explain(ctx, doing, err)
}
