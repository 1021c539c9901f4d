// Package jit holds the words and the rules of temporary access: bindings,
// grants with a window, policies, markers, events, and the two seams behind
// which everything else lives, [Platform] and [Ledger].
//
// It imports the standard library only, makes no call and reads no clock: every
// function that depends on time takes it as an argument.
package jit
