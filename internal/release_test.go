package internal_test

import (
	"encoding/json"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// releases is what these tests read of .goreleaser.yml.
type releases struct {
	Builds []struct {
		ID, Binary                        string
		Goos, Goarch, Flags, Ldflags, Env []string
		ModTimestamp                      string `json:"mod_timestamp"`
	}
	Archives []struct {
		ID           string
		IDs          []string
		NameTemplate string `json:"name_template"`
		Files        []struct{ Src string }
	}
	Dockers []struct {
		IDs, Images []string
		ExtraFiles  []string `json:"extra_files"`
	} `json:"dockers_v2"`
}

func readReleases(t *testing.T) releases {
	t.Helper()
	var r releases
	if err := yaml.Unmarshal([]byte(read(t, "../.goreleaser.yml")), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// The provider and the command are one program: they differ in their names only. Both come with the licences.
func TestReleaseArchives(t *testing.T) {
	r := readReleases(t)
	if len(r.Builds) != 2 || len(r.Archives) != 2 {
		t.Fatalf("%d builds and %d archives, want one each for the provider and the command", len(r.Builds), len(r.Archives))
	}
	provider, command := r.Builds[0], r.Builds[1]
	provider.ID, provider.Binary = command.ID, command.Binary
	if a, b := encoded(t, provider), encoded(t, command); a != b {
		t.Errorf("the programs differ:\n%s\n%s", a, b)
	}
	for i, want := range []string{"{{ .ProjectName }}_{{ .Version }}_{{ .Os }}_{{ .Arch }}",
		"jit_{{ .Version }}_{{ .Os }}_{{ .Arch }}"} {
		a := r.Archives[i]
		var files []string
		for _, f := range a.Files {
			files = append(files, f.Src)
		}
		if a.NameTemplate != want || !slices.Equal(a.IDs, []string{r.Builds[i].ID}) ||
			!slices.Equal(files, []string{"LICENSE", "NOTICES.txt"}) {
			t.Errorf("the archive of %s is %+v", r.Builds[i].ID, a)
		}
	}
}

func encoded(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The manifests run the image of the release. It sweeps, as the user that they ask for.
func TestImages(t *testing.T) {
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "../go.mod"))[1]
	if source := read(t, deployments+"kubernetes/Dockerfile"); !strings.Contains(source,
		"\nFROM golang:"+version+" AS build\n") {
		t.Errorf("the image from source is not built with Go %s:\n%s", version, source)
	}
	image := read(t, "../Dockerfile")
	var command []string
	if m := regexp.MustCompile(`(?m)^CMD (.+)$`).FindStringSubmatch(image); m == nil {
		t.Errorf("no command in\n%s", image)
	} else if err := json.Unmarshal([]byte(m[1]), &command); err != nil {
		t.Error(err)
	}
	parses(t, "the image", command)
	docker := readReleases(t).Dockers[0]
	for _, file := range append(docker.ExtraFiles, "${TARGETPLATFORM}/"+docker.IDs[0]) {
		if !regexp.MustCompile(`(?m)^COPY .*` + regexp.QuoteMeta(file) + `\b`).MatchString(image) {
			t.Errorf("%s is not copied in\n%s", file, image)
		}
	}
	k := readKube(t)
	for name, pod := range map[string]string{"deployment.yaml": k.daemon.Spec.Containers[0].Image,
		"cronjob.yaml": k.pass.Spec.Containers[0].Image} {
		if at, _, _ := strings.Cut(pod, ":"); at != docker.Images[0] {
			t.Errorf("%s runs %s, the release makes %s", name, pod, docker.Images[0])
		}
	}
	if user := "USER 65532:65532"; !strings.Contains(image, user) || *k.daemon.Spec.SecurityContext.RunAsUser != 65532 {
		t.Errorf("the image or the pod does not run as %s", user)
	}
}

// Each action of our workflows is named by the digest of a commit, and its version stands beside it.
func TestWorkflowsArePinned(t *testing.T) {
	files, err := filepath.Glob("../.github/workflows/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%q: %v", files, err)
	}
	digests := map[string]map[string]bool{}
	for _, file := range files {
		for _, m := range regexp.MustCompile(`(?m)uses: (.+)$`).FindAllStringSubmatch(read(t, file), -1) {
			if strings.HasPrefix(m[1], "./") {
				continue
			}
			pinned := regexp.MustCompile(`^([\w./-]+)@[0-9a-f]{40} # v\d+\.\d+\.\d+$`).FindStringSubmatch(m[1])
			if pinned == nil {
				t.Errorf("%s: %s is not pinned", file, m[1])
				continue
			}
			if digests[pinned[1]] == nil {
				digests[pinned[1]] = map[string]bool{}
			}
			digests[pinned[1]][m[1]] = true
		}
	}
	for action, all := range digests {
		if len(all) != 1 {
			t.Errorf("%s has several versions: %q", action, slices.Sorted(maps.Keys(all)))
		}
	}
}
