package kubernetes

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Config names the cluster and the user: a context of a kubeconfig file, or a host with a token. Without either, the
// settings are resolved as kubectl does: KUBECONFIG, ~/.kube/config, and inside a pod that has neither the pod's service
// account.
type Config struct {
	// Kubeconfig is the path of a kubeconfig file; "~/" is the home directory.
	Kubeconfig string `tfsdk:"kubeconfig" json:"kubeconfig"`
	// Context is a context of that file; empty means its current one.
	Context string `tfsdk:"context" json:"context"`
	// Host is the URL of the API server, instead of a file.
	Host string `tfsdk:"host" json:"host"`
	// Token is the bearer token for Host. It is a secret.
	Token string `tfsdk:"token" json:"token"`
	// ClusterCACertificate holds the PEM certificates that Host's certificate is checked against; empty means those of
	// the system.
	ClusterCACertificate string `tfsdk:"cluster_ca_certificate" json:"cluster_ca_certificate"`
}

// check refuses settings that are malformed or contradict one another, and resolves the home directory.
func (cfg Config) check() (Config, error) {
	for _, s := range []struct{ attribute, value string }{{"kubeconfig", cfg.Kubeconfig}, {"context", cfg.Context},
		{"host", cfg.Host}} {
		if err := jit.CheckText(s.attribute, s.value); err != nil {
			return cfg, err
		}
	}
	if cfg.Host == "" {
		return cfg.checkFile()
	}
	for _, s := range []struct{ attribute, value string }{{"kubeconfig", cfg.Kubeconfig}, {"context", cfg.Context}} {
		if s.value != "" {
			return cfg, jit.Invalid(s.attribute, "leave out host, token and cluster_ca_certificate, or "+s.attribute,
				"the target has host and %s; it takes a kubeconfig file with its context, or a host with its "+
					"token", s.attribute)
		}
	}
	return cfg, cfg.checkHost()
}

// checkFile checks settings without a host.
func (cfg Config) checkFile() (Config, error) {
	for _, s := range []struct{ attribute, value string }{{"token", cfg.Token},
		{"cluster_ca_certificate", cfg.ClusterCACertificate}} {
		if s.value != "" {
			return cfg, jit.Invalid(s.attribute,
				`add host = "https://…"; with a kubeconfig file leave `+s.attribute+" out",
				"the target has %s and no host; it takes a host with its token, or a kubeconfig file", s.attribute)
		}
	}
	if rest, ok := strings.CutPrefix(cfg.Kubeconfig, "~/"); ok {
		home, err := os.UserHomeDir()
		if err != nil {
			return cfg, jit.Invalid("kubeconfig", "write the whole path", "%q cannot be resolved: %v", cfg.Kubeconfig,
				err)
		}
		cfg.Kubeconfig = filepath.Join(home, rest)
	}
	if cfg.Kubeconfig != "" && strings.TrimSpace(cfg.Kubeconfig) == "" || strings.HasSuffix(cfg.Kubeconfig, "/") {
		return cfg, jit.Invalid("kubeconfig", `write for example kubeconfig = "~/.kube/config"`,
			"%q is not the path of a file", cfg.Kubeconfig)
	}
	return cfg, nil
}

// checkHost checks settings with a host.
func (cfg Config) checkHost() error {
	_, err := jit.CheckURL("host", `write for example host = "https://k8s.example.com:6443" and the token beside it`, cfg.Host)
	switch {
	case err != nil:
		return err
	case cfg.Token == "":
		return jit.Invalid("token", `write for example token = var.cluster_token`, "the target has a host and no token")
	case strings.ContainsFunc(cfg.Token, func(r rune) bool { return r <= ' ' || r > '~' }):
		return jit.Invalid("token", "trim what the token was read from",
			"the token has a blank, a line feed or another character that no token has")
	case cfg.ClusterCACertificate != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(cfg.ClusterCACertificate)):
		return jit.Invalid("cluster_ca_certificate", "write the PEM text, decoded from base64 where it is encoded",
			"it holds no PEM certificate")
	}
	return nil
}
