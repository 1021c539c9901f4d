package catalog

import (
	"fmt"
	"testing"
)

// BenchmarkOf judges 1,000 resources: all the cases in turn, as often as needed.
func BenchmarkOf(b *testing.B) {
	all := readCases(b)
	b.ReportAllocs()
	for b.Loop() {
		for i := range 1000 {
			c := &all[i%len(all)]
			Of(now, "registry.terraform.io/x/x", c.Type, c.object())
		}
	}
}

// BenchmarkConditions judges 1,000 conditions, all of them different.
func BenchmarkConditions(b *testing.B) {
	for b.Loop() {
		for i := range 1000 {
			conditionEnd(fmt.Sprintf("request.time < timestamp('2026-11-23T18:00:00Z') && resource.name == 'b%d'", i))
		}
	}
}

// BenchmarkParse reads the data file.
func BenchmarkParse(b *testing.B) {
	for b.Loop() {
		if _, err := parse(data); err != nil {
			b.Fatal(err)
		}
	}
}
