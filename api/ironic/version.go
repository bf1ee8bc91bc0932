package ironic

import (
	"fmt"
	"strconv"
	"strings"
)

// Version is the minor number of an API microversion 1.N.
type Version int

// Microversions at which something appeared that code here asks for (REST
// contract, section 10).
const (
	VersionMin                Version = 1  // also what a request without header gets
	VersionAvailable          Version = 2  // state available shown by its name
	VersionManage             Version = 4  // verbs manage and provide
	VersionNodeName           Version = 5  // logical node names
	VersionFields             Version = 8  // fields=
	VersionEnroll             Version = 11 // new nodes start in enroll
	VersionAbort              Version = 13
	VersionManualClean        Version = 15
	VersionPortPXE            Version = 19 // pxe_enabled, local_link_connection
	VersionLookupHeartbeat    Version = 22
	VersionSoftPower          Version = 27 // soft power verbs, timeout
	VersionDynamicDriver      Version = 30
	VersionInterfaces         Version = 31 // *_interface of a node
	VersionHeartbeatVersion   Version = 36 // agent_version
	VersionDetail             Version = 43 // detail= on lists
	VersionConductors         Version = 49
	VersionConfigDriveJSON    Version = 56 // configdrive as an object
	VersionAgentToken         Version = 62
	VersionAgentVerifyCA      Version = 68
	VersionDeploySteps        Version = 69
	VersionAgentStatus        Version = 72
	VersionDeployVerbs        Version = 73 // deploy and undeploy
	VersionBootMode           Version = 75
	VersionHistory            Version = 78
	VersionInventory          Version = 81
	VersionContinueInspection Version = 84
	VersionLatest             Version = 115 // the newest of the contract
)

func (v Version) String() string { return "1." + strconv.Itoa(int(v)) }

// ParseVersion reads "1.N".
func ParseVersion(text string) (Version, error) {
	minor, ok := strings.CutPrefix(text, "1.")
	n, err := strconv.ParseUint(minor, 10, 16)
	if !ok || err != nil || n < uint64(VersionMin) {
		return 0, fmt.Errorf("version %q is not of the form 1.N", text)
	}
	return Version(n), nil
}
