package ironic

import (
	"fmt"
	"strconv"
	"strings"
)

// Version is the minor number of an API microversion 1.N.
type Version int

// The microversions (REST contract, section 10): the one table of what appeared,
// or disappeared, when. Routes, fields and arguments name their microversion by
// it.
const (
	VersionMin                  Version = 1   // also what a request without header gets
	VersionAvailable            Version = 2   // available is shown by its name, not as null
	VersionDriverInternalInfo   Version = 3   // driver_internal_info of a node
	VersionManage               Version = 4   // state manageable; verbs manage and provide
	VersionNodeName             Version = 5   // names of nodes
	VersionInspect              Version = 6   // verb inspect, inspection_started_at, inspection_finished_at
	VersionCleanStep            Version = 7   // clean_step of a node
	VersionFields               Version = 8   // fields= of lists and objects
	VersionProvisionStateFilter Version = 9   // provision_state= of the list of nodes
	VersionAnyNodeName          Version = 10  // names of nodes need not be fit for hosts
	VersionEnroll               Version = 11  // new nodes start in enroll
	VersionRAID                 Version = 12  // raid_config, target_raid_config, states/raid
	VersionAbort                Version = 13  // verb abort
	VersionLinks                Version = 14  // links to the states of a node and the properties of a driver
	VersionManualClean          Version = 15  // verb clean
	VersionDriverFilter         Version = 16  // driver= of the list of nodes
	VersionAdopt                Version = 17  // verb adopt
	VersionPortInternalInfo     Version = 18  // internal_info of a port
	VersionPortPXE              Version = 19  // pxe_enabled and local_link_connection of a port
	VersionNetworkInterface     Version = 20  // network_interface of a node
	VersionResourceClass        Version = 21  // resource_class of a node
	VersionLookupHeartbeat      Version = 22  // lookup and heartbeat
	VersionPortgroups           Version = 23  // portgroups
	VersionPortgroupPorts       Version = 24  // portgroups of nodes, ports of portgroups
	VersionUnsetChassis         Version = 25  // chassis_uuid of a node can be removed
	VersionPortgroupMode        Version = 26  // mode and properties of a portgroup
	VersionSoftPower            Version = 27  // soft power targets, timeout
	VersionVIFs                 Version = 28  // vifs of a node
	VersionInjectNMI            Version = 29  // management/inject_nmi
	VersionDynamicDriver        Version = 30  // hardware types in the list of drivers
	VersionInterfaces           Version = 31  // interfaces of a node
	VersionVolumes              Version = 32  // volume connectors and targets
	VersionStorageInterface     Version = 33  // storage_interface of a node
	VersionPhysicalNetwork      Version = 34  // physical_network of a port
	VersionRebuildConfigDrive   Version = 35  // configdrive with the verb rebuild
	VersionHeartbeatVersion     Version = 36  // agent_version of a heartbeat
	VersionTraits               Version = 37  // traits of a node
	VersionRescue               Version = 38  // verbs rescue and unrescue, rescue_interface
	VersionInspectWait          Version = 39  // inspect wait is shown; no updates while inspecting
	VersionBIOS                 Version = 40  // BIOS settings, bios_interface
	VersionAbortInspect         Version = 41  // abort in inspect wait
	VersionFault                Version = 42  // fault of a node
	VersionDetail               Version = 43  // detail= of lists
	VersionDeployStep           Version = 44  // deploy_step of a node
	VersionResetInterfaces      Version = 45  // reset_interfaces=
	VersionConductorGroup       Version = 46  // conductor_group of a node
	VersionAutomatedClean       Version = 47  // automated_clean of a node
	VersionProtected            Version = 48  // protected, protected_reason of a node
	VersionConductors           Version = 49  // conductors, conductor of a node
	VersionOwner                Version = 50  // owner of a node
	VersionDescription          Version = 51  // description of a node
	VersionAllocations          Version = 52  // allocations
	VersionSmartNIC             Version = 53  // is_smartnic of a port
	VersionEvents               Version = 54  // external events
	VersionDeployTemplates      Version = 55  // deploy templates
	VersionConfigDriveJSON      Version = 56  // configdrive as an object
	VersionAllocationPatch      Version = 57  // allocations can be updated
	VersionBackfill             Version = 58  // allocations of nodes that are in use
	VersionVendorData           Version = 59  // vendor_data in a configdrive
	VersionAllocationOwner      Version = 60  // owner of an allocation
	VersionRetired              Version = 61  // retired, retired_reason of a node
	VersionAgentToken           Version = 62  // token of the agent
	VersionIndicators           Version = 63  // indicators
	VersionUnmanagedPort        Version = 64  // network_type unmanaged of a port
	VersionLessee               Version = 65  // lessee of a node
	VersionNetworkData          Version = 66  // network_data of a node
	VersionVIFPort              Version = 67  // a VIF's port or portgroup can be chosen
	VersionAgentVerifyCA        Version = 68  // certificate of the agent
	VersionDeploySteps          Version = 69  // steps with the verbs active and rebuild
	VersionCleanNoRamdisk       Version = 70  // disable_ramdisk with the verb clean
	VersionScopes               Version = 71  // scopes of tokens are honoured
	VersionAgentStatus          Version = 72  // agent_status of a heartbeat
	VersionDeployVerbs          Version = 73  // verbs deploy and undeploy
	VersionBIOSRegistry         Version = 74  // what a BIOS setting may be
	VersionBootMode             Version = 75  // boot_mode and secure_boot of a node
	VersionSetBootMode          Version = 76  // … can be set
	VersionDriverFields         Version = 77  // fields= and detail= of drivers
	VersionHistory              Version = 78  // history of a node
	VersionAllocationName       Version = 79  // a node with the allocation's name goes before others
	VersionOwnNodes             Version = 80  // administrators of projects create and delete nodes
	VersionInventory            Version = 81  // inventory of a node
	VersionShards               Version = 82  // shards
	VersionParentNode           Version = 83  // parent_node, children of a node
	VersionContinueInspection   Version = 84  // continue_inspection
	VersionUnhold               Version = 85  // verb unhold
	VersionFirmware             Version = 86  // firmware components, firmware_interface
	VersionService              Version = 87  // verb service, service_step
	VersionPortName             Version = 88  // name of a port
	VersionVirtualMedia         Version = 89  // virtual media are attached and detached
	VersionVTEP                 Version = 90  // VTEP in the local_link_connection of a port
	VersionNoJSONSuffix         Version = 91  // .json at the end of a path is part of a name
	VersionRunbooks             Version = 92  // runbooks
	VersionVirtualMediaList     Version = 93  // virtual media are listed
	VersionPortNodeIdent        Version = 94  // a port's node can be given by name
	VersionDisablePowerOff      Version = 95  // disable_power_off of a node
	VersionInspectionRules      Version = 96  // inspection rules
	VersionPortDescription      Version = 97  // description of a port
	VersionPatchEscapes         Version = 98  // ~0 and ~1 in the paths of patches
	VersionPortConductorGroups  Version = 99  // conductor_groups= of ports and portgroups
	VersionPortVendor           Version = 100 // vendor of a port
	VersionPortCategory         Version = 101 // category of a port
	VersionPortgroupNetwork     Version = 102 // physical_network of a portgroup
	VersionPortgroupCategory    Version = 103 // category of a portgroup
	VersionInstanceName         Version = 104 // instance_name of a node
	VersionNoVTEP               Version = 105 // no VTEP in the local_link_connection of a port
	VersionPortgroupShard       Version = 106 // shard= of portgroups
	VersionRequestID            Version = 107 // id of the request in the answer
	VersionServiceNoRamdisk     Version = 108 // disable_ramdisk with the verb service
	VersionHealth               Version = 109 // health of a node
	VersionAbortDeploy          Version = 110 // abort in wait call-back
	VersionDynamicPortgroups    Version = 111 // dynamic portgroups
	VersionRunbookTraits        Version = 112 // traits and description of a runbook
	VersionHistoryProject       Version = 113 // project of an entry of the history
	VersionFirmwareIdentity     Version = 114 // vendor, model, serial_number of a firmware component
	VersionHistoryDuration      Version = 115 // state, target and duration of an entry of the history

	VersionLatest = VersionHistoryDuration
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
