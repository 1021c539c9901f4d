package status

import (
	"fmt"
	"regexp"
)

// part is a part of a text; its Link is empty unless the part is a link.
type part struct{ Text, Link string }

const (
	hostForm    = `[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[0-9]{1,5})?`
	segmentForm = `[A-Za-z0-9_~%+-][A-Za-z0-9_.~%+-]*` // neither . nor ..
	pathForm    = segmentForm + `(?:/` + segmentForm + `)*`
)

var (
	// ciRun matches the run at the end of a change, in the forms that the known CI systems give: see [jit.Actor].
	ciRun = regexp.MustCompile(`^((?:.*, )?run )(https://` + hostForm + `/(?:` +
		pathForm + `/actions/runs/[0-9]+|` +
		pathForm + `/-/(?:jobs|pipelines|merge_requests)/[0-9]+|` +
		pathForm + `/(?:pull|pull-requests|builds)/[0-9]+|` +
		`(?:gh|bb|github|bitbucket)/` + pathForm + `/[0-9]+|` +
		`(?:` + pathForm + `/)?job/` + pathForm + `/[0-9]+/?))$`)
	forgeHost  = regexp.MustCompile(`^` + hostForm + `$`)
	repository = regexp.MustCompile(`^` + pathForm + `$`)
	number     = regexp.MustCompile(`^[1-9][0-9]{0,9}$`)
)

// changeParts returns the change that an event names. The address of a CI run is a link if it has the form of a known
// CI system; any other address is text.
func changeParts(change string) []part {
	if m := ciRun.FindStringSubmatch(change); m != nil {
		return []part{{Text: m[1]}, {Text: m[2], Link: m[2]}}
	}
	return []part{{Text: change}}
}

// pullRequest names the pull request of a review, with its link if the details have the form of a known forge.
func pullRequest(d map[string]string) part {
	if d["number"] == "" {
		return part{}
	}
	p := part{Text: fmt.Sprintf("%s#%s on %s", d["repository"], d["number"], d["host"])}
	path := map[string]string{"github": "/pull/", "gitlab": "/-/merge_requests/"}[d["forge"]]
	if path != "" && forgeHost.MatchString(d["host"]) && repository.MatchString(d["repository"]) &&
		number.MatchString(d["number"]) {
		p.Link = "https://" + d["host"] + "/" + d["repository"] + path + d["number"]
	}
	return p
}
