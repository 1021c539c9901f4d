package kubernetes

import _ "embed"

// OperatorRole is the manifest of the ClusterRole with exactly what the target's user needs; which roles may be granted
// is a list in it.
//
//go:embed operator.yaml
var OperatorRole string
