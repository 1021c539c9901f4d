package testenv

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/identitystore"
	storetypes "github.com/aws/aws-sdk-go-v2/service/identitystore/types"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	orgtypes "github.com/aws/aws-sdk-go-v2/service/organizations/types"
	"github.com/aws/aws-sdk-go-v2/service/ssoadmin"
	"github.com/aws/aws-sdk-go-v2/service/ssoadmin/types"
)

// MotoDirectory is the IAM Identity Center of a moto account, as its administrator sees it. Unlike AWS, moto finishes
// every write at once, creates an existing object a second time, and counts every permission set as in use.
type MotoDirectory struct {
	Instance string // ARN
	Store    string // id
	Account  string // id

	sso   *ssoadmin.Client
	store *identitystore.Client
}

// Directory opens the account's directory, and makes the account the first of an organization.
func (s *MotoServer) Directory(t testing.TB, account MotoAccount) *MotoDirectory {
	t.Helper()
	config := aws.Config{
		Region: MotoRegion, BaseEndpoint: &s.URL,
		Credentials: credentials.NewStaticCredentialsProvider(account.AccessKeyID, account.SecretAccessKey, ""),
	}
	_, err := organizations.NewFromConfig(config).CreateOrganization(t.Context(),
		&organizations.CreateOrganizationInput{FeatureSet: orgtypes.OrganizationFeatureSetAll})
	var made *orgtypes.AlreadyInOrganizationException
	if err != nil && !errors.As(err, &made) {
		t.Fatalf("make an organization: %v", err)
	}
	d := &MotoDirectory{Account: account.ID, sso: ssoadmin.NewFromConfig(config),
		store: identitystore.NewFromConfig(config)}
	found, err := d.sso.ListInstances(t.Context(), &ssoadmin.ListInstancesInput{})
	if err != nil || len(found.Instances) == 0 {
		t.Fatalf("list the instances: %v, %v", found, err)
	}
	d.Instance, d.Store = *found.Instances[0].InstanceArn, *found.Instances[0].IdentityStoreId
	return d
}

// User makes a user and returns the id.
func (d *MotoDirectory) User(t testing.TB, name string) string {
	t.Helper()
	made, err := d.store.CreateUser(t.Context(), &identitystore.CreateUserInput{
		IdentityStoreId: &d.Store, UserName: &name, DisplayName: &name,
		Name: &storetypes.Name{GivenName: &name, FamilyName: &name},
	})
	if err != nil {
		t.Fatalf("make the user %s: %v", name, err)
	}
	return *made.UserId
}

// Group makes a group and returns the id.
func (d *MotoDirectory) Group(t testing.TB, name string) string {
	t.Helper()
	made, err := d.store.CreateGroup(t.Context(),
		&identitystore.CreateGroupInput{IdentityStoreId: &d.Store, DisplayName: &name})
	if err != nil {
		t.Fatalf("make the group %s: %v", name, err)
	}
	return *made.GroupId
}

// PermissionSet makes a permission set with sessions of an hour and returns the ARN.
func (d *MotoDirectory) PermissionSet(t testing.TB, name string) string {
	t.Helper()
	made, err := d.sso.CreatePermissionSet(t.Context(),
		&ssoadmin.CreatePermissionSetInput{InstanceArn: &d.Instance, Name: &name, SessionDuration: aws.String("PT1H")})
	if err != nil {
		t.Fatalf("make the permission set %s: %v", name, err)
	}
	_, err = d.sso.ProvisionPermissionSet(t.Context(), &ssoadmin.ProvisionPermissionSetInput{
		InstanceArn: &d.Instance, PermissionSetArn: made.PermissionSet.PermissionSetArn,
		TargetType: types.ProvisionTargetTypeAllProvisionedAccounts,
	})
	if err != nil {
		t.Fatalf("put the permission set %s into use: %v", name, err)
	}
	return *made.PermissionSet.PermissionSetArn
}

// Assignment lets a user or group into the account.
type Assignment struct {
	Kind types.PrincipalType
	ID   string // of the user or group
	Set  string // ARN of the permission set
}

// Assign makes an assignment as somebody at the console would.
func (d *MotoDirectory) Assign(t testing.TB, a Assignment) {
	t.Helper()
	if _, err := d.sso.CreateAccountAssignment(t.Context(), &ssoadmin.CreateAccountAssignmentInput{
		InstanceArn: &d.Instance, TargetType: types.TargetTypeAwsAccount, TargetId: &d.Account,
		PermissionSetArn: &a.Set, PrincipalType: a.Kind, PrincipalId: &a.ID,
	}); err != nil {
		t.Fatalf("assign %+v: %v", a, err)
	}
}

// Unassign removes an assignment.
func (d *MotoDirectory) Unassign(t testing.TB, a Assignment) {
	t.Helper()
	if _, err := d.sso.DeleteAccountAssignment(t.Context(), &ssoadmin.DeleteAccountAssignmentInput{
		InstanceArn: &d.Instance, TargetType: types.TargetTypeAwsAccount, TargetId: &d.Account,
		PermissionSetArn: &a.Set, PrincipalType: a.Kind, PrincipalId: &a.ID,
	}); err != nil {
		t.Fatalf("unassign %+v: %v", a, err)
	}
}

// Assignments lists the assignments of a permission set on the account in a fixed order, including copies.
func (d *MotoDirectory) Assignments(t testing.TB, set string) []Assignment {
	t.Helper()
	var all []Assignment
	pages := ssoadmin.NewListAccountAssignmentsPaginator(d.sso,
		&ssoadmin.ListAccountAssignmentsInput{InstanceArn: &d.Instance, AccountId: &d.Account, PermissionSetArn: &set})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatalf("list the assignments: %v", err)
		}
		for _, a := range page.AccountAssignments {
			all = append(all, Assignment{a.PrincipalType, *a.PrincipalId, *a.PermissionSetArn})
		}
	}
	slices.SortFunc(all, func(a, b Assignment) int { return strings.Compare(a.ID, b.ID) })
	return all
}
