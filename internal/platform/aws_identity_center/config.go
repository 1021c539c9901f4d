package awsidentitycenter

import (
	"regexp"

	"github.com/jitaccess/terraform-provider-jit/internal/awsconfig"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Config names the instance of IAM Identity Center and the credentials.
type Config struct {
	awsconfig.Config
	// InstanceARN names the instance. Empty means the only one in the region.
	InstanceARN string `tfsdk:"instance_arn" json:"instance_arn"`
	// IdentityStoreID names the directory of users and groups. Empty means the instance's own.
	IdentityStoreID string `tfsdk:"identity_store_id" json:"identity_store_id"`
}

// The forms of the API's InstanceArn (ssoadmin) and IdentityStoreId (identitystore).
var (
	instanceForm = regexp.MustCompile(`^arn:aws(-[a-z]+)*:sso:::instance/(sso)?ins-[a-zA-Z0-9-.]{16}$`)
	storeForm    = regexp.MustCompile(
		`^(d-[0-9a-z]{10}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})$`)
)

func (cfg Config) check() error {
	const list = "; `aws sso-admin list-instances` lists them"
	if err := cfg.Check(); err != nil {
		return err
	}
	if cfg.InstanceARN != "" && !instanceForm.MatchString(cfg.InstanceARN) {
		return jit.Invalid("instance_arn",
			`write for example instance_arn = "arn:aws:sso:::instance/ssoins-0123456789abcdef"`+list,
			"%q is not the ARN of an instance of IAM Identity Center", cfg.InstanceARN)
	}
	if cfg.IdentityStoreID != "" && !storeForm.MatchString(cfg.IdentityStoreID) {
		return jit.Invalid("identity_store_id", `write for example identity_store_id = "d-0123456789"`+list,
			"%q is not the id of an identity store", cfg.IdentityStoreID)
	}
	return nil
}
