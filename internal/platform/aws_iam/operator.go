package awsiam

import _ "embed"

// OperatorPolicy is the policy with exactly what the target's credentials need, for the account 123456789012.
//
//go:embed operator.json
var OperatorPolicy string
