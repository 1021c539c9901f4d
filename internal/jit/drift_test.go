package jit

import (
	"os"
	"regexp"
	"slices"
	"testing"
)

func TestDriftKindsAreAll(t *testing.T) {
	source, err := os.ReadFile("drift.go")
	if err != nil {
		t.Fatal(err)
	}
	var want []DriftKind
	for _, m := range regexp.MustCompile(`\bDriftKind += "(\w+)"`).FindAllSubmatch(source, -1) {
		want = append(want, DriftKind(m[1]))
	}
	got := DriftKinds()
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("DriftKinds() = %q, the constants are %q", got, want)
	}
}
