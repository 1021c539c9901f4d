package jit

import (
	"errors"
	"strings"
	"testing"
)

func TestCheckURL(t *testing.T) {
	for text, says := range map[string]string{
		"https://example.com":           "",
		"https://example.com:8443/path": "",
		"http://localhost:8080":         "",
		"http://127.0.0.1":              "",
		"http://[::1]:80/":              "",
		"":                              "not the URL of a server",
		"example.com":                   "not the URL of a server",
		"ftp://example.com":             "not the URL of a server",
		"https://s3cret:s3cret\x7f@":    "not the URL of a server",
		"https://s3cret@example.com":    "a user in it",
		"https://example.com?a=s3cret":  "a query or a fragment",
		"https://example.com#s3cret":    "a query or a fragment",
		"http://example.com":            "unencrypted",
		"http://127.0.0.1.example.com":  "unencrypted",
	} {
		u, err := CheckURL("url", "write another one", text)
		if says == "" {
			if err != nil || u.String() != text {
				t.Errorf("CheckURL(%q) = %v, %v", text, u, err)
			}
			continue
		}
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(),
			"s3cret") {
			t.Errorf("CheckURL(%q) = %v, want a refusal that says %q and quotes nothing", text, err, says)
		}
	}
}
