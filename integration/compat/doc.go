// Package compat holds tests of the public API with clients that others made:
// the distribution's baremetal command against the real conductor, on fake
// hardware and on a machine of the virtual rack.
package compat
