package notice

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const guide = "../../templates/guides/notices.md"

// block returns the block of the guide in a language.
func block(t *testing.T, language string) string {
	t.Helper()
	text, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)```" + language + "\n(.*?)```").FindSubmatch(text)
	if found == nil {
		t.Fatalf("the guide has no %s", language)
	}
	return string(found[1])
}

// trial is a received notice.
type trial struct {
	Secret string            `json:"secret"`
	Header map[string]string `json:"header"`
	Body   string            `json:"body"`
}

// The guide's code accepts genuine notices and rejects altered and old ones.
func TestGuideVerifies(t *testing.T) {
	python := block(t, "python") + `
import json, sys
for t in json.load(sys.stdin):
    print(genuine(t["secret"], t["header"], t["body"].encode()))
`
	program := `package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

` + block(t, "go") + `
func main() {
	var trials []struct {
		Secret, Body string
		Header       map[string]string
	}
	if err := json.NewDecoder(os.Stdin).Decode(&trials); err != nil {
		panic(err)
	}
	for _, t := range trials {
		header := http.Header{}
		for name, value := range t.Header {
			header.Set(name, value)
		}
		if genuine(t.Secret, header, []byte(t.Body)) {
			fmt.Println("True")
		} else {
			fmt.Println("False")
		}
	}
}
`
	input, want := trials(t)
	run := func(t *testing.T, name string, args ...string) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Stdin, cmd.Stderr = strings.NewReader(input), os.Stderr
		out, err := cmd.Output()
		if err != nil || strings.Join(strings.Fields(string(out)), " ") != want {
			t.Errorf("the program prints %q, %v; want %s", out, err, want)
		}
	}
	t.Run("go", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "main.go")
		if err := os.WriteFile(file, []byte(program), 0o600); err != nil {
			t.Fatal(err)
		}
		run(t, "go", "run", file)
	})
	t.Run("python", func(t *testing.T) {
		if _, err := exec.LookPath("python3"); err != nil {
			t.Skip("there is no python3")
		}
		run(t, "python3", "-c", python)
	})
}

// trials returns genuine notices with secrets of both forms, forgeries, and the expected verdicts.
func trials(t *testing.T) (input, want string) {
	t.Helper()
	var all []trial
	var verdicts []string
	add := func(verdict string, is trial) { all, verdicts = append(all, is), append(verdicts, verdict) }
	for _, secret := range []string{secret, "0123456789abcdef is no base64"} {
		is := trial{Secret: secret, Header: map[string]string{}}
		hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			is.Body = string(body)
			for _, name := range []string{"webhook-id", "webhook-timestamp", "webhook-signature"} {
				is.Header[name] = r.Header.Get(name)
			}
		}))
		defer hook.Close()
		for _, sent := range []struct {
			verdict string
			at      time.Time
		}{
			{"True", time.Now()},
			{"False", time.Now().Add(-6 * time.Minute)},
			{"False", time.Now().Add(8 * time.Minute)}, // the program may start minutes later
		} {
			r, err := NewReceiver("ops", Config{URL: hook.URL, Secret: secret})
			if err != nil {
				t.Fatal(err)
			}
			is.Header = map[string]string{}
			s := &Sender{Now: func() time.Time { return sent.at },
				LedgerID: func(context.Context) (string, error) { return "the-ledger", nil }}
			if err := s.Test(t.Context(), r, jit.Actor{Name: "naïve 日本"}); err != nil {
				t.Fatal(err)
			}
			add(sent.verdict, is)
		}
		genuine := all[len(all)-3]
		altered := genuine
		altered.Body += " "
		add("False", altered)
		altered = genuine
		altered.Secret = strings.Replace(altered.Secret, "3", "4", 1)
		altered.Secret = strings.Replace(altered.Secret, "MDE", "MDF", 1)
		add("False", altered)
		for _, name := range []string{"webhook-id", "webhook-signature"} {
			altered = genuine
			altered.Header = maps.Clone(genuine.Header)
			altered.Header[name] = "v1,AAAA"
			add("False", altered)
		}
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return string(text), strings.Join(verdicts, " ")
}
