package awsidentitycenter

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssoadmin"
	"github.com/aws/aws-sdk-go-v2/service/ssoadmin/types"

	"github.com/jitaccess/terraform-provider-jit/internal/awsconfig"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// notComing returns [errComing] if an assignment that a removal did not find may come, or be there already: the latest
// request for it is to make it. The service documents no answer for the removal of an assignment that is being made,
// and none that waits until every host knows one that was just made.
// https://docs.aws.amazon.com/singlesignon/latest/APIReference/API_DeleteAccountAssignment.html
func (c *client) notComing(ctx context.Context, account string, what object) error {
	made, err := c.latest(ctx, jit.Ensure, account, what)
	if err != nil {
		return unclear{err}
	}
	if made == nil {
		return nil
	}
	removed, err := c.latest(ctx, jit.Remove, account, what)
	switch {
	case err != nil:
		return unclear{err}
	case removed == nil, !removed.After(*made):
		return errComing
	}
	return nil
}

// latest returns the time of the latest request of one kind for an assignment; nil if there is none. Those that have
// failed do not count, nor do those to make one that ended so long ago that every host knows the assignment. A removal
// in progress is still to do something, so it does not count either.
func (c *client) latest(ctx context.Context, op jit.Op, account string, what object) (last *time.Time, err error) {
	all, err := c.requests(ctx, op, nil)
	if err != nil {
		return nil, err
	}
	now := c.platform.watch.Clock()
	if now.IsZero() {
		now = time.Now()
	}
	since := now.Add(-c.platform.pace.patience - c.platform.pace.lag)
	for _, r := range all {
		at := aws.ToTime(r.CreatedDate)
		underWay := r.Status == types.StatusValuesInProgress
		if r.Status == types.StatusValuesFailed || underWay && op == jit.Remove || !underWay && at.Before(since) {
			continue
		}
		s, err := c.ended.get(aws.ToString(r.RequestId), func() (*types.AccountAssignmentOperationStatus, error) {
			return c.status(ctx, op, aws.ToString(r.RequestId))
		})
		if err != nil {
			return nil, err
		}
		if s.Status != types.StatusValuesFailed && aws.ToString(s.TargetId) == account &&
			what == (object{s.PrincipalType, aws.ToString(s.PrincipalId), aws.ToString(s.PermissionSetArn)}) &&
			(last == nil || at.After(*last)) {
			last = &at
		}
	}
	return last, nil
}

// underWay lists all requests that have not ended, including those of others.
func (c *client) underWay(ctx context.Context, op jit.Op) (map[string]bool, error) {
	all, err := c.requests(ctx, op, &types.OperationStatusFilter{Status: types.StatusValuesInProgress})
	found := map[string]bool{}
	for _, r := range all {
		found[aws.ToString(r.RequestId)] = true
	}
	return found, err
}

// requests lists requests, including those of others.
func (c *client) requests(ctx context.Context, op jit.Op, filter *types.OperationStatusFilter) (
	all []types.AccountAssignmentOperationStatusMetadata, err error) {
	if op == jit.Ensure {
		err = pages(ctx, ssoadmin.NewListAccountAssignmentCreationStatusPaginator(c.sso,
			&ssoadmin.ListAccountAssignmentCreationStatusInput{InstanceArn: &c.instance, Filter: filter,
				MaxResults: aws.Int32(pageSize)}),
			func(page *ssoadmin.ListAccountAssignmentCreationStatusOutput) {
				all = append(all, page.AccountAssignmentsCreationStatus...)
			})
	} else {
		err = pages(ctx, ssoadmin.NewListAccountAssignmentDeletionStatusPaginator(c.sso,
			&ssoadmin.ListAccountAssignmentDeletionStatusInput{InstanceArn: &c.instance, Filter: filter,
				MaxResults: aws.Int32(pageSize)}),
			func(page *ssoadmin.ListAccountAssignmentDeletionStatusOutput) {
				all = append(all, page.AccountAssignmentsDeletionStatus...)
			})
	}
	return all, awsconfig.Explain(ctx, "list the assignments that are being written", err)
}

// status describes one request.
func (c *client) status(ctx context.Context, op jit.Op, id string) (*types.AccountAssignmentOperationStatus, error) {
	if op == jit.Ensure {
		out, err := c.sso.DescribeAccountAssignmentCreationStatus(ctx,
			&ssoadmin.DescribeAccountAssignmentCreationStatusInput{InstanceArn: &c.instance,
				AccountAssignmentCreationRequestId: &id})
		if err != nil {
			return nil, awsconfig.Explain(ctx, "look how the making of an assignment ended", err)
		}
		return out.AccountAssignmentCreationStatus, nil
	}
	out, err := c.sso.DescribeAccountAssignmentDeletionStatus(ctx,
		&ssoadmin.DescribeAccountAssignmentDeletionStatusInput{InstanceArn: &c.instance,
			AccountAssignmentDeletionRequestId: &id})
	if err != nil {
		return nil, awsconfig.Explain(ctx, "look how the removal of an assignment ended", err)
	}
	return out.AccountAssignmentDeletionStatus, nil
}
