// Package approval proves who decided on a request: the statement that an approver reads and signs, its SSH signature,
// the files that hold both, and the count of the people whose decision meets a policy.
//
// Nothing in a statement is trusted. Its text is built again from the request as it is applied and must agree to the
// byte with the text that was signed.
package approval
