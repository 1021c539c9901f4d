package kubernetes

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// restConfig resolves the settings; it reads files and makes no call. It returns the context that it used; empty if
// there is none. pod returns the settings of the pod that this program runs in.
func (cfg Config) restConfig(pod func() (*rest.Config, error)) (config *rest.Config, context string, err error) {
	if cfg.Host != "" {
		return &rest.Config{
			Host: cfg.Host, BearerToken: cfg.Token,
			TLSClientConfig: rest.TLSClientConfig{CAData: []byte(cfg.ClusterCACertificate)},
		}, "", nil
	}
	if !cfg.namesFile() {
		if config, err := pod(); !errors.Is(err, rest.ErrNotInCluster) {
			return config, "", cfg.notFound(err)
		}
	}
	rules := cfg.rules()
	raw, err := rules.Load()
	if err != nil {
		return nil, "", cfg.notFound(err)
	}
	if context = cfg.Context; context == "" {
		context = raw.CurrentContext
	}
	if context == "" {
		err := errors.New("there is no kubeconfig file")
		if cfg.namesFile() {
			err = fmt.Errorf("%s has no current context", strings.Join(rules.GetLoadingPrecedence(), " and "))
		}
		return nil, "", cfg.notFound(err)
	}
	config, err = clientcmd.NewNonInteractiveClientConfig(*raw, context, nil, rules).ClientConfig()
	return config, context, cfg.notFound(err)
}

// rules says where a kubeconfig is looked for.
func (cfg Config) rules() *clientcmd.ClientConfigLoadingRules {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.WarnIfAllMissing = false
	rules.ExplicitPath = cfg.Kubeconfig
	return rules
}

// namesFile reports whether somebody means a kubeconfig file, so that the pod's own cluster must not stand in for it.
func (cfg Config) namesFile() bool {
	if cfg.Kubeconfig != "" || cfg.Context != "" || os.Getenv(clientcmd.RecommendedConfigPathEnvVar) != "" {
		return true
	}
	return len(cfg.version()) > 0
}

// version identifies the present content of the kubeconfig files; empty if there are none.
func (cfg Config) version() string {
	var all strings.Builder
	for _, path := range cfg.rules().GetLoadingPrecedence() {
		if file, err := os.Stat(path); err == nil {
			fmt.Fprintf(&all, "%s %d %d\n", path, file.Size(), file.ModTime().UnixNano())
		}
	}
	return all.String()
}

// notFound describes why there are no settings; nil stays nil.
func (cfg Config) notFound(err error) error {
	if err == nil {
		return nil
	}
	attribute := "kubeconfig"
	if _, missing := os.Stat(cfg.Kubeconfig); cfg.Context != "" && (cfg.Kubeconfig == "" || missing == nil) {
		attribute = "context"
	}
	return &jit.Error{
		Attribute: attribute, Problem: "cannot find the cluster: " + jit.Said(err.Error()),
		Hint: `write for example kubeconfig = "~/.kube/config" and context = "prod"; ` + "`kubectl config " +
			"get-contexts` lists them", Err: err,
	}
}
