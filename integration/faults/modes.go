// Package faults has the table of what can go wrong, and what becomes of it:
// docs/failure-modes.md is rendered from it, and every row has tests that show
// it. The faulty networks that they use are in faults/proxy.
package faults

// Mode is something that goes wrong.
type Mode struct {
	// ID names it, for ever.
	ID string
	// Area is its part of the page.
	Area string
	// Wrong is what goes wrong, Does what ferric does then, Sees what the
	// operator sees of it, and Do what there is to do.
	Wrong, Does, Sees, Do string
	// Tests show it: the package's directory, a dot, the function.
	Tests []string
}

// Areas are the parts of the page, in its order.
const (
	bmcs      = "BMCs and power"
	agents    = "Agents and heartbeats"
	images    = "Images"
	booting   = "Booting from the network"
	conductor = "The conductor and its database"
	operators = "Requests and enrolment"
)
