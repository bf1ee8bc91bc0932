package clients_test

import "slices"

// row is a command line of the baremetal client and what has to come of it.
type row struct {
	line   string // $names stand for what earlier rows have kept
	status int
	// want is what the command has to write: JSON that its output (-f json)
	// has to hold, or another text.
	want string
	// after is an object and what the API has to say of it in the end: its
	// path, and JSON or "gone".
	after string
	keep  string // names and members of the output that they are to stand for
	newer bool   // the command or option is missing in Debian's client
}

// scene is a list of command lines, each building on those before it.
type scene struct {
	name string
	rows []row
}

// scenes are all of them, in the order in which they are run on one conductor.
var scenes = slices.Concat(inventoryScenes, portScenes, nodeScenes, lifeScenes, planScenes)
