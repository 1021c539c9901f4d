package cache

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDir(t *testing.T) {
	for _, test := range []struct{ own, xdg, home, want string }{
		{own: "/own", xdg: "/xdg", home: "/home/a", want: "/own"},
		{xdg: "/xdg", home: "/home/a", want: "/xdg/terraform-provider-jit"},
		{xdg: "relative", home: "/home/a", want: "/home/a/.cache/terraform-provider-jit"},
		{home: "/home/a", want: "/home/a/.cache/terraform-provider-jit"},
		{want: ""},
	} {
		t.Setenv(EnvDir, test.own)
		t.Setenv("XDG_CACHE_HOME", test.xdg)
		t.Setenv("HOME", test.home)
		got, err := Dir()
		if got != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%+v: got %q, %v", test, got, err)
		}
		if err != nil && !strings.Contains(err.Error(), EnvDir) {
			t.Errorf("the error does not name the way out: %v", err)
		}
	}
}

func TestLookup(t *testing.T) {
	t.Setenv(EnvDir, t.TempDir())
	_, err := Tofu().Lookup()
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "make testenv") {
		t.Errorf("not built: got %v, want one that wraps fs.ErrNotExist and names make testenv", err)
	}
	path, err := Tofu().Path()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if got, err := Tofu().Lookup(); got != path || err != nil {
		t.Errorf("built: got %q, %v, want %q", got, err, path)
	}

	t.Chdir(t.TempDir())
	if _, err := Tofu().Path(); err == nil || !strings.Contains(err.Error(), "source tree") {
		t.Errorf("outside the source tree: got %v", err)
	}
}

func TestLookupOfMoto(t *testing.T) {
	t.Setenv(EnvDir, t.TempDir())
	bin := t.TempDir()
	t.Setenv("PATH", bin)
	if _, err := Moto().Lookup(); err == nil || !strings.Contains(err.Error(), "no python3") {
		t.Errorf("without Python: got %v", err)
	}
	if err := os.WriteFile(filepath.Join(bin, "python3"), []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Moto().Lookup(); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "make testenv") {
		t.Errorf("not installed: got %v, want one that wraps fs.ErrNotExist and names make testenv", err)
	}
	if _, err := Moto().Build(t.Context(), t.Output()); err == nil ||
		!strings.Contains(err.Error(), "install moto: venv") {
		t.Errorf("a Python that fails: got %v", err)
	}
	left, err := os.ReadDir(os.Getenv(EnvDir))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range left {
		if entry.IsDir() {
			t.Errorf("a failed installation leaves %s", entry.Name())
		}
	}
}

func TestHashFollowsTheFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module m\n")
	write("go.sum", "")
	write("main.go", "package main\n")
	hash := func(p Program) string {
		t.Helper()
		key, err := p.hash(dir)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	seen := map[string]string{hash(Program{}): "the files as they were"}
	if first, second := hash(Program{}), hash(Program{}); first != second {
		t.Error("the same files have two keys")
	}
	check := func(what, key string) {
		t.Helper()
		if other, ok := seen[key]; ok {
			t.Errorf("%s: same key as %s", what, other)
		}
		seen[key] = what
	}
	check("other linker flags", hash(Program{ldflags: "-X a=b"}))
	write("main.go", "package main // changed\n")
	check("another source", hash(Program{}))
	write("go.sum", "changed\n")
	check("another go.sum", hash(Program{}))
}
