package jit_test

import (
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Every spelling of the same conditions has one form, which reads as itself.
func TestNamedConditionsHaveOneForm(t *testing.T) {
	text := func(written string) string {
		all, err := jit.ParseConditions(written)
		if err != nil {
			t.Errorf("%q: %v", written, err)
		}
		texts := make([]string, len(all))
		for i, c := range all {
			texts[i] = c.String()
		}
		return strings.Join(texts, jit.And)
	}
	for written, want := range map[string]string{
		"mfa":                                              "mfa",
		" MFA and mfa":                                     "mfa",
		"source_ip=203.0.113.7 AND Mfa":                    "mfa and source-ip=203.0.113.7/32",
		"source-ip=203.0.113.9/24":                         "source-ip=203.0.113.0/24",
		"source-ip=10.0.0.0/9, 10.128.0.0/9":               "source-ip=10.0.0.0/8",
		"source-ip=10.0.0.4/32,10.0.0.5,10.0.0.6/31":       "source-ip=10.0.0.4/30",
		"source-ip=10.0.0.1,10.0.0.2":                      "source-ip=10.0.0.1/32,10.0.0.2/32",
		"source-ip=2001:DB8:0::/32,10.1.0.0/16,10.0.0.0/8": "source-ip=10.0.0.0/8,2001:db8::/32",
		"source-ip=10.0.0.1 and source-identity=Alice+x=@": "source-identity=Alice+x=@ and source-ip=10.0.0.1/32",
	} {
		if got := text(written); got != want || text(got) != want {
			t.Errorf("%q is %q and that is %q, want %q", written, got, text(got), want)
		}
	}
	for written, says := range map[string]string{
		"":                          `"mfa", "source-identity=alice", "source-ip=203.0.113.0/24"`,
		"vpn":                       `"vpn" is not a condition`,
		"mfa and":                   "is not a condition",
		"mfa or source-ip=10.0.0.1": "is not a condition",
		"mfa=true":                  "takes no value",
		"source-ip":                 "is not a network",
		"source-ip=10.0.0.1,":       "is not a network",
		"source-ip=fe80::1%eth0":    "is not a network",
		"source-ip=::ffff:10.0.0.1": "IPv4 written as IPv6",
		"source-ip=0.0.0.0/0":       "every address",
		"source-ip=0.0.0.0/1,128.0.0.0/2,192.0.0.0/2": "every address",
		"source-ip=10.0.0.1,::/0":                     "every address",
		"source-identity=alice,bob":                   "has a comma",
		"source-identity=*":                           "is not a source identity",
		"source-identity=${aws:username}":             "is not a source identity",
		"source-identity=al and source-identity=bo":   "two conditions of one name",
	} {
		if _, err := jit.ParseConditions(written); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", written, err, says)
		}
	}
}
