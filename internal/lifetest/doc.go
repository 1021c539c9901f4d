// Package lifetest holds tests that follow grants from the first plan to long after their end
// with the real command line and the released program: the access itself is tried, other people's
// access is compared byte for byte, and the program is killed at every step.
package lifetest
