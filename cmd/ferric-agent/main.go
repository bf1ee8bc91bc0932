// Command ferric-agent is the agent with the built-in hardware managers. The
// ramdisk builder generates a main like this one with more of them.
package main

import (
	"os"

	"ferric/agent"
	"ferric/hwmanager/builtin"
)

func main() {
	os.Exit(agent.Main(builtin.Managers()))
}
