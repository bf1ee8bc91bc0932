package explain

import (
	"fmt"
	"strings"
	"time"

	"ferric/conductor/event"
	"ferric/conductor/provision"
)

// Cause is a line of the table: what is the matter when the facts are so, and
// what to do about it.
type Cause struct {
	Name    string
	When    func(f *Facts) bool
	Text    func(f *Facts) string
	Actions func(f *Facts) []string
	// Doc is the sentence of the documentation.
	Doc string
}

func say(format string, args ...func(f *Facts) any) func(f *Facts) string {
	return func(f *Facts) string {
		values := make([]any, len(args))
		for i, a := range args {
			values[i] = a(f)
		}
		return fmt.Sprintf(format, values...)
	}
}

func do(list ...string) func(f *Facts) []string {
	return func(f *Facts) []string {
		out := make([]string, len(list))
		for i, text := range list {
			out[i] = strings.ReplaceAll(text, "NODE", f.label())
		}
		return out
	}
}

func (f *Facts) label() string {
	if f.Name != "" {
		return f.Name
	}
	return f.UUID
}

func lastError(f *Facts) any { return f.LastError }
func bmcFault(f *Facts) any  { return f.bmcFault() }
func stepName(f *Facts) any  { return f.Step }

func macs(f *Facts) any {
	var list []string
	for _, p := range f.Ports {
		list = append(list, p.Address)
	}
	return strings.Join(list, ", ")
}

func refusal(protocol string, reasons ...string) func(f *Facts) any {
	return func(f *Facts) any {
		s := f.refused(protocol, reasons...)
		if s == nil {
			return "a request"
		}
		return fmt.Sprintf("%s %s of %s (%s)", s.Protocol, s.Request, s.MAC, s.Reason)
	}
}

func detail(kind string, texts ...string) func(f *Facts) any {
	return func(f *Facts) any {
		if e := f.event(kind, texts...); e != nil {
			return e.Detail
		}
		return f.LastError
	}
}

func age(t time.Time, now time.Time) string { return now.Sub(t).Round(time.Second).String() }

// Times after which a silence means something: firmware takes minutes to its
// first request, a loaded system seconds to its agent.
const (
	slowFirmware = 3 * time.Minute
	slowLoader   = 20 * time.Second
	slowSystem   = 2 * time.Minute
	slowWork     = 10 * time.Minute
	freshSign    = 90 * time.Second
)

const again = "ferric node abort NODE, or wait for the timeout; then repeat the request"

// Causes is the literal table. The first that fits is the likely one. The order
// is from what keeps everything else from going on to what is merely so.
var Causes = []Cause{
	// Maintenance and faults.
	{"bmc-credentials", func(f *Facts) bool {
		return f.bmcTrouble() && containsAny(f.bmcFault(), "login refused", "password", "lacks privilege")
	}, say("The BMC refuses the login: %s", bmcFault),
		do("correct ipmi_username, ipmi_password (or ipmi_hex_kg_key, ipmi_priv_level): ferric node set NODE --driver-info ipmi_password=…", "repeat the request; a node in maintenance because of it comes back by itself"),
		"The BMC does not take user name, password or key, or the user may not do enough."},
	{"bmc-cipher", func(f *Facts) bool { return f.bmcTrouble() && containsAny(f.bmcFault(), "no common IPMI cipher suite") },
		say("The BMC and the conductor have no cipher suite in common: %s", bmcFault),
		do("set ipmi_cipher_suite of the node, or [ipmi]cipher_suite_versions", "enable suite 17 or 3 on the BMC"),
		"BMC and conductor have no cipher suite in common."},
	{"bmc-unreachable", func(f *Facts) bool {
		return f.bmcTrouble() && containsAny(f.bmcFault(), "unreachable", "deadline exceeded", "timed out", "timeout", "refused", "no route", "did not answer")
	}, say("The BMC does not answer: %s", bmcFault),
		do("check ipmi_address and ipmi_port, the BMC's cable and network, and that IPMI over LAN is enabled", "try: ferric node power on NODE; a node in maintenance because of it comes back by itself when the BMC answers"),
		"The BMC does not answer at its address and port."},
	{"bmc-lies", func(f *Facts) bool {
		return f.poweredOffYetAlive() || f.says("did not change in time", "power state did not change")
	},
		func(f *Facts) string {
			if f.poweredOffYetAlive() {
				return fmt.Sprintf("The BMC says that the machine is off, but it was heard %s ago: the BMC is wrong, or it is another machine's.", age(f.lastSign(), f.Now))
			}
			return "The BMC took the command, but what it says of the power did not follow: " + f.LastError
		}, do("look at the machine: is this its BMC?", "reset the BMC (ipmitool mc reset cold), then repeat the request"),
		"What the BMC says of the power is not true, or is another machine's."},
	{"bmc-fault", func(f *Facts) bool { return f.Fault == "power failure" },
		say("The conductor has lost the BMC and put the node into maintenance: %s", func(f *Facts) any { return f.Reason }),
		do("find out why the BMC fails; the node comes back by itself when it answers"),
		"The power failed too often, which put the node into maintenance."},
	{"agent-unreachable", func(f *Facts) bool {
		return f.says("/v1/commands", "get_clean_steps", "get_deploy_steps", "get_service_steps") && f.says("connection refused", "timeout", "no route", "deadline exceeded", "unreachable", "certificate")
	}, say("The agent was heard, but the conductor could not reach it: %s", lastError),
		do("check that the conductor reaches the agent's address and port: firewalls, routes, NAT in between", "repeat the request, after ferric node maintenance unset NODE if it is in maintenance"),
		"The agent was heard, but could not be reached, and the operation failed."},
	{"clean-fault", func(f *Facts) bool {
		return f.Fault == "clean failure" || f.State == provision.CleanFailed && f.Fault != ""
	},
		say("Cleaning failed in a way that leaves the machine in an unknown state, which is why the node is in maintenance: %s", lastError),
		do("look at the machine and mend what last_error names", "ferric node maintenance unset NODE", "ferric node manage NODE, then ferric node provide NODE"),
		"Cleaning failed and the node was put into maintenance."},
	{"rescue-fault", func(f *Facts) bool { return f.Fault == "rescue abort failure" },
		say("A rescue could not be ended properly: %s", lastError), do("ferric node maintenance unset NODE", "ferric node unrescue NODE"),
		"A rescue could not be ended."},
	{"service-fault", func(f *Facts) bool { return f.Fault != "" },
		say("The conductor found a fault (%s) and put the node into maintenance: %s", func(f *Facts) any { return f.Fault }, func(f *Facts) any { return f.Reason }),
		do("mend the fault", "ferric node maintenance unset NODE"),
		"The conductor found another fault."},
	{"maintenance", func(f *Facts) bool { return f.Maintenance },
		func(f *Facts) string {
			text := "Somebody put the node into maintenance"
			if f.Reason != "" {
				text += ": " + f.Reason
			}
			return text + ". Nothing is begun, timed out or synchronised meanwhile."
		}, do("ferric node maintenance unset NODE when the work is done"),
		"Somebody put the node into maintenance."},

	// Whoever has the lock.
	{"power-change", func(f *Facts) bool { return f.TargetPower != "" },
		say("The power is being switched to %q.", func(f *Facts) any { return f.TargetPower }), do("wait; the BMC is asked until it agrees"),
		"The power is being switched."},
	{"work-long", func(f *Facts) bool { return f.WorkSince != nil && f.Now.Sub(*f.WorkSince) > slowWork },
		func(f *Facts) string {
			return fmt.Sprintf("%q has held the node for %s.", f.Work, age(*f.WorkSince, f.Now))
		}, do("look for the node in the conductor's log", "a restart of the conductor gives the lock back and ends the work"),
		"An operation has held the node's lock for more than ten minutes."},
	{"locked", func(f *Facts) bool { return f.Reservation != "" && f.Work == "" && !f.State.Is(provision.Transient) },
		say("The node is locked by %s, but nothing is being done with it here.", func(f *Facts) any { return f.Reservation }),
		do("wait a minute; if it stays, restart the conductor, which gives its locks back"),
		"The node is locked, and nobody works on it."},
	{"workers-full", func(f *Facts) bool {
		return f.Site.Workers > 0 && f.Site.WorkersBusy >= f.Site.Workers && f.Work == "" && !f.failed()
	},
		func(f *Facts) string {
			return fmt.Sprintf("All %d workers of the conductor are busy: requests are refused with 503, and nodes wait for their heartbeats to be worked on.", f.Site.Workers)
		}, do("wait, and repeat what was refused", "raise [conductor]workers_pool_size if it lasts"),
		"All workers of the conductor are busy."},

	// What is asked of the machine cannot be done.
	{"plugin-missed", (*Facts).missed,
		func(f *Facts) string {
			return "The agent is without a plugin, which may be why this failed: " + strings.Join(f.missing(), "; ") + ". " + f.LastError
		}, do("mend what the reason names: ferric plugin list --node NODE", "repeat the request, for which an agent of a new boot fetches the plugins again"),
		"Something failed for want of a plugin that the agent has refused or set aside."},
	{"image-missing", func(f *Facts) bool {
		return f.says("status 404", "404 not found", "status 410", "status 403", "HTTP 404")
	},
		say("The image's server does not have it: %s", lastError),
		do("check instance_info/image_source (and the checksum's URL) from the machine's network: curl -I URL", "correct it and repeat the deployment"),
		"The server of the image does not have it, or does not give it."},
	{"image-digest", func(f *Facts) bool {
		return f.says("wrong digest", "checksum mismatch", "checksum verification", "image checksum")
	},
		say("The image that was downloaded is not the one of the checksum: %s", lastError),
		do("correct instance_info/image_os_hash_value (or image_checksum), or the image on its server", "repeat the deployment"),
		"What was downloaded has another digest than was given."},
	{"disk-too-small", func(f *Facts) bool {
		return f.says("too large", "larger than the disk", "does not fit", "image is larger", "too small", "not enough space")
	},
		say("The image does not fit on the disk: %s", lastError),
		do("take a smaller image, or name a larger disk: ferric node set NODE --property root_device='{\"size\": \">= …\"}'"),
		"The image is larger than the disk."},
	{"no-root-device", func(f *Facts) bool {
		return f.says("root device", "no suitable device", "root_device", "no disk", "device hints", "devicenotfound")
	},
		say("No disk of the machine is what properties/root_device asks for: %s", lastError),
		do("compare the hints with the disks: ferric node inventory save NODE", "correct properties/root_device, or remove it"),
		"No disk of the machine matches the hints."},
	{"image-unreachable", func(f *Facts) bool {
		return f.says("download failed", "truncated download", "imagedownload", "download")
	},
		say("The image could not be downloaded: %s", lastError),
		do("check that the machine's network reaches the server of instance_info/image_source", "repeat the deployment"),
		"The machine could not download the image."},
	{"boot-files", func(f *Facts) bool {
		return f.says("deploy_kernel", "deploy_ramdisk", "rescue_kernel", "rescue_ramdisk") || f.State.Is(provision.Stable) && f.State != provision.Active && containsAny(f.DeployFault, "deploy_kernel", "deploy_ramdisk")
	},
		func(f *Facts) string {
			return "The ramdisk to boot is not there or not configured: " + firstText(f.fault(), f.DeployFault)
		},
		do("set driver_info/deploy_kernel and deploy_ramdisk of the node, or [conductor]deploy_kernel and deploy_ramdisk"),
		"Kernel and ramdisk of the agent are not configured, or not readable."},
	{"agent-restarted", func(f *Facts) bool { return f.says("restarted while") },
		say("The machine rebooted in the middle of a step, so that nobody knows what the step did: %s", lastError),
		do("look for a crash or power loss: the machine's console, the BMC's event log", "repeat the request"),
		"The agent was gone in the middle of a step."},
	{"conductor-restarted", func(f *Facts) bool { return f.says("restart of the conductor") },
		say("The conductor was restarted in the middle of it: %s", lastError), do("repeat the request"),
		"The conductor was restarted in the middle of the operation."},
	{"aborted", func(f *Facts) bool { return f.says("aborted", "by request", "abort request") },
		say("It was ended by request: %s", lastError), do("repeat the request, or ferric node manage NODE"),
		"Somebody aborted the operation."},

	// The machine does not come as far as an agent.
	{"hold", func(f *Facts) bool { return f.State.Is(provision.Hold) },
		say("The step %s holds the node until somebody says to go on.", stepName), do("look at the machine, then: ferric node unhold NODE", "or ferric node abort NODE"),
		"A hold step waits for an operator."},
	{"no-ports", func(f *Facts) bool { return f.bootless() && !f.NoNetboot && len(f.Ports) == 0 },
		say("The node has no port: no request of its machine can be told to be its own."), do("ferric port create MAC --node NODE, with the address of the card that it boots from", again),
		"The node has no ports."},
	{"power-off", func(f *Facts) bool {
		return f.bootless() && (f.Probe == "power off" || f.Probe == "" && f.Power == "power off")
	},
		say("The machine is off: somebody switched it off while it was to boot, or it went off by itself."), do("ferric node power on NODE", "look at the BMC's event log"),
		"The machine is off while it is waited for."},
	{"pxe-disabled", func(f *Facts) bool {
		return f.bootless() && !f.NoNetboot && (f.allDisabled() || f.refused("", "pxe_enabled is false") != nil)
	},
		func(f *Facts) string {
			if s := f.refused("", "pxe_enabled is false"); s != nil {
				return fmt.Sprintf("The machine asks to boot at the port %s, which is not to boot from the network: %s.", s.MAC, s.Reason)
			}
			return fmt.Sprintf("None of the node's ports (%v) is to boot from the network: pxe_enabled is false.", macs(f))
		},
		do("openstack baremetal port set --pxe-enabled UUID, or have the machine boot from another card", again),
		"The ports that the machine boots from have pxe_enabled off."},
	{"mac-conflict", func(f *Facts) bool { return f.waiting() && f.event("mac-conflict") != nil },
		say("Two machines use one MAC address: %s", detail("mac-conflict")), do("find the other machine and take it off the network, or correct the address of the port"),
		"Two machines use the node's MAC address."},
	{"lookup-ambiguous", func(f *Facts) bool { return f.waiting() && f.event(event.Lookup, "several nodes") != nil },
		say("The agent's machine has addresses that belong to ports of several nodes: %s", detail(event.Lookup, "several nodes")),
		do("delete or correct the ports that are not of this machine"),
		"The machine's addresses belong to several nodes."},
	{"dhcp-exhausted", func(f *Facts) bool {
		return f.bootless() && f.refused("", "no free address", "range is exhausted") != nil
	},
		say("There is no address left for the machine: %s", refusal("", "no free address", "range is exhausted")),
		do("enlarge [netboot]range_begin and range_end, or shorten lease_time", "machines that are no node's take addresses with [netboot]answer_unknown"),
		"The range of the DHCP server has no free address."},
	{"dhcp-declined", func(f *Facts) bool { return f.bootless() && f.event("dhcp-decline") != nil },
		say("Another host uses the address that the machine was given: %s", detail("dhcp-decline")), do("find the host, or take its address out of the range"),
		"The address that the machine was given is in use."},
	{"other-dhcp", func(f *Facts) bool {
		return f.bootless() && f.refused("", "offer of another server", "asks another server") != nil && f.answered("tftp", "http") == nil
	},
		say("Another DHCP server answers the machine: %s", refusal("", "offer of another server", "asks another server")),
		do("switch the other server off for this network, or run with [netboot]dhcp = proxy beside it"),
		"Another DHCP server answers the machine."},
	{"no-loader", func(f *Facts) bool {
		return f.bootless() && f.refused("", "architecture type", "boot loader not found", "no boot loader", "no loader") != nil
	},
		say("There is no boot loader for the machine's firmware: %s", refusal("", "architecture type", "boot loader not found", "no boot loader", "no loader")),
		do("install the loader that the reason names, or set [netboot]loader_dirs", "or switch the machine's firmware between BIOS and UEFI"),
		"There is no boot loader for the architecture of the firmware."},
	{"wrong-network", func(f *Facts) bool {
		return f.bootless() && f.refused("", "it is in the network of", "no range is configured") != nil
	},
		say("The machine is in a network for which there are no addresses: %s", refusal("", "it is in the network of", "no range is configured")),
		do("add the network to [netboot]subnets, or move the cable"), "The machine is in a network without a range of addresses."},
	{"file-missing", func(f *Facts) bool {
		return f.bootless() && (f.refused("http") != nil || f.refused("tftp") != nil) && f.noneServed()
	},
		func(f *Facts) string {
			s := f.refused("http")
			if s == nil {
				s = f.refused("tftp")
			}
			return fmt.Sprintf("What the machine asked for could not be served: %s %s: %s", s.Protocol, s.Request, s.Reason)
		}, do("check driver_info/deploy_kernel and deploy_ramdisk of the node: the files must be there and readable by the conductor", again),
		"A file that the machine boots could not be served."},
	{"dhcp-refused", func(f *Facts) bool {
		return f.bootless() && f.refused("dhcp") != nil && f.answered("dhcp", "tftp", "http") == nil
	},
		say("The machine asks for an address, but is not answered: %s", refusal("dhcp")), do("do what the reason says", again),
		"The DHCP server does not answer the machine, for a reason that it tells."},
	{"api-unreachable", func(f *Facts) bool {
		return f.bootless() && !f.LookedUp && f.ramdiskSent() != nil && f.Now.Sub(f.ramdiskSent().Time) > slowSystem && len(f.RefusedLookups) == 0
	}, func(f *Facts) string {
		return fmt.Sprintf("The machine has loaded the ramdisk %s ago, but its agent has not called: it cannot reach the API at %s, or the ramdisk does not start.", age(f.ramdiskSent().Time, f.Now), f.Site.APIURL)
	}, do("check from the machine's network that the address of the API answers; [service_catalog]endpoint_override changes what agents are told", "look at the machine's console", again),
		"The ramdisk was loaded, but no agent has called: the API cannot be reached from the machine."},
	{"lookup-refused", func(f *Facts) bool { return f.waiting() && !f.LookedUp && len(f.RefusedLookups) > 0 },
		func(f *Facts) string {
			e := f.RefusedLookups[len(f.RefusedLookups)-1]
			return fmt.Sprintf("An agent asks which node it runs on and is refused: %s", e.Detail)
		}, do("compare the machine's addresses with the node's ports: ferric port list --node NODE", "create or correct the port"),
		"The agent asks for its node and is refused."},
	{"heartbeat-refused", func(f *Facts) bool {
		return f.waiting() && f.event(event.Heartbeat, "refused") != nil && f.AgentURL == ""
	},
		say("The agent's heartbeats are refused: %s", detail(event.Heartbeat, "refused")),
		do("do what the reason says: an agent of http needs [agent]require_tls = false; a stale agent needs its machine to be rebooted"),
		"The heartbeats of the agent are refused."},
	{"wrong-mac", func(f *Facts) bool { return f.bootless() && !f.NoNetboot && len(f.seen()) == 0 && f.stranger() != nil },
		func(f *Facts) string {
			s := f.stranger()
			return fmt.Sprintf("Nothing was asked under the node's addresses (%v), but %s, which is no node's, asked %s ago (%s): it may be this machine, under a wrong address.", macs(f), s.MAC, age(s.Time, f.Now), s.Request)
		}, func(f *Facts) []string {
			return []string{"compare the label of the machine's card with the port", fmt.Sprintf("if it is %s: openstack baremetal port set --address %s UUID", f.stranger().MAC, f.stranger().MAC), strings.ReplaceAll(again, "NODE", f.label())}
		}, "A machine that is no node's asks, and none under the node's addresses."},
	{"no-dhcp-here", func(f *Facts) bool {
		return f.bootless() && !f.NoNetboot && len(f.seen()) == 0 && f.Site.DHCP == "off" && f.waited() > slowLoader
	},
		func(f *Facts) string {
			return fmt.Sprintf("Nothing was heard of the machine for %s. Addresses are another server's business ([netboot]dhcp = off): it must send the machine to this conductor's boot loader.", f.waited().Round(time.Second))
		}, do("check the other DHCP server's next-server and file name for "+"the node's addresses", "look at the machine's console"),
		"Nothing was heard of the machine, and another server gives the addresses."},
	{"boots-elsewhere", func(f *Facts) bool {
		return f.bootless() && !f.NoNetboot && len(f.seen()) == 0 && f.waited() > slowFirmware
	},
		func(f *Facts) string {
			return fmt.Sprintf("The machine was switched on %s ago and has asked for nothing under %v: it boots from its disk, is on another network, or hangs in its firmware.", f.waited().Round(time.Second), macs(f))
		}, do("look at the machine's console", "check the boot order: network first, on the card of the port", "check cable, VLAN and that broadcasts reach the conductor's interface", again),
		"The machine asked for nothing: it boots from its disk, or is on another network."},
	{"loader-lost", func(f *Facts) bool {
		s := f.answered("dhcp", "dhcpv6")
		return f.bootless() && s != nil && f.answered("tftp", "http") == nil && f.refused("tftp") == nil && f.Now.Sub(s.Time) > slowLoader
	}, func(f *Facts) string {
		s := f.answered("dhcp", "dhcpv6")
		return fmt.Sprintf("The machine was told what to load (%s) %s ago, but has not asked for it: TFTP or HTTP of the conductor cannot be reached, or another server's offer was taken.", s.Answer, age(s.Time, f.Now))
	}, do("check firewalls for UDP 69 and the port of [netboot]http_listen", "check [netboot]tftp_server and http_url: they must be addresses that the machine reaches"),
		"The machine was given an address, but never asked for its boot loader."},
	{"kernel-lost", func(f *Facts) bool {
		s := f.answered("tftp", "http")
		return f.bootless() && s != nil && f.ramdiskSent() == nil && f.Now.Sub(s.Time) > slowSystem && !f.LookedUp
	}, func(f *Facts) string {
		s := f.answered("tftp", "http")
		return fmt.Sprintf("The machine's last request was %s %s, %s ago; it has not loaded the whole ramdisk.", s.Protocol, s.Request, age(s.Time, f.Now))
	}, do("look at the machine's console: memory, Secure Boot and broken transfers stop here", again),
		"The machine began to load, and stopped."},
	{"agent-silent", func(f *Facts) bool {
		return f.waiting() && f.AgentURL != "" && f.LastHeartbeat != nil && f.Site.HeartbeatTimeout > 0 && f.Now.Sub(*f.LastHeartbeat) > f.Site.HeartbeatTimeout
	}, func(f *Facts) string {
		return fmt.Sprintf("The agent was heard %s ago and should be heard each %s: it has died, its machine is off, or its network is gone.", age(*f.LastHeartbeat, f.Now), f.Site.HeartbeatTimeout)
	}, do("look at the machine's console and power", again), "The agent is no longer heard."},
	{"agent-deaf", func(f *Facts) bool { return f.waiting() && f.event(event.Error, "cannot be asked") != nil },
		say("The agent is heard but cannot be asked: %s", detail(event.Error, "cannot be asked")),
		do("check that the conductor reaches the agent's address and port 9999: firewalls, routes", "check the clock: certificates are not valid yet in the past"),
		"The agent sends heartbeats, but the conductor does not reach it."},
	{"timeout", func(f *Facts) bool { return f.timedOut() },
		say("Nobody was heard in time: %s", lastError), do("look at the machine's console", "repeat the request"),
		"The wait for the agent timed out, and nothing says why."},
	{"transfer", func(f *Facts) bool { return f.Progress != nil && !f.Progress.Finished && f.Progress.Done > 0 },
		func(f *Facts) string { return "All is well: an image is being written. " + f.rate() }, do("wait"),
		"An image is being written."},
	{"step-runs", func(f *Facts) bool { return f.State.Is(provision.Waiting) && f.Step != "" && f.AgentURL != "" },
		func(f *Facts) string { return "All is well: the agent runs the step " + f.stepText() + "." }, do("wait"),
		"The agent runs a step."},
	{"plugin-refused", func(f *Facts) bool { return len(f.missing()) > 0 && f.State.Is(provision.Waiting, provision.Transient) },
		func(f *Facts) string {
			return "The agent goes on without a plugin: " + strings.Join(f.missing(), "; ") + "."
		}, do("ferric plugin list --node NODE"),
		"The agent has refused or set aside a plugin, and goes on without."},
	{"boots", func(f *Facts) bool { return f.State.Is(provision.Waiting) },
		func(f *Facts) string {
			text := "nothing was heard of it yet"
			if list := f.seen(); len(list) > 0 {
				s := list[len(list)-1]
				text = fmt.Sprintf("the last that was heard of it is %s %s, %s ago", s.Protocol, s.Request, age(s.Time, f.Now))
			}
			return fmt.Sprintf("The machine boots since %s: %s.", f.waited().Round(time.Second), text)
		}, do("wait"), "The machine boots, and it is not late yet."},
	{"works", func(f *Facts) bool { return f.State.Is(provision.Transient) && (f.Reservation != "" || f.Work != "") },
		func(f *Facts) string {
			if f.Step != "" {
				return fmt.Sprintf("The conductor works on it: %s, step %s.", f.State, f.stepText())
			}
			return fmt.Sprintf("The conductor works on it: %s.", f.State)
		}, do("wait"), "The conductor works on the node."},
	{"forgotten", func(f *Facts) bool { return f.State.Is(provision.Transient) },
		say("The state is one of work, but nobody works on it: the next check ([conductor]check_provision_state_interval) ends it."), do("wait a minute; then repeat the request"),
		"A working state that nobody works on."},

	// It failed, for a reason that only the error tells.
	{"validation", func(f *Facts) bool {
		return f.says("failed to validate", "missing the following", "missing driver_info", "invalid parameter")
	},
		say("Something that the operation needs is not set: %s", lastError), do("ferric node validate NODE", "set what it names, and repeat the request"),
		"Fields that the operation needs are missing or wrong."},
	{"step-failed", func(f *Facts) bool { return f.says("failed clean step", "failed deploy step", "failed service step") },
		say("A step failed: %s", lastError), do("ferric node timeline NODE", "look at the agent's logs, mend what the step names, and repeat the request"),
		"A step failed."},
	{"failed", func(f *Facts) bool { return f.failed() },
		say("The last operation failed: %s", lastError), do("ferric node timeline NODE and ferric node history list NODE", "mend what last_error names, and repeat the request"),
		"The last operation failed."},

	// Nobody has asked for more.
	{"no-resource-class", func(f *Facts) bool {
		return f.State == provision.Available && f.Instance == "" && f.ResourceClass == ""
	},
		say("The node is available, but has no resource_class: no allocation can choose it."), do("ferric node set NODE --resource-class CLASS"),
		"An available node without a resource class is never allocated."},
	{"retired", func(f *Facts) bool { return f.Retired },
		say("The node is retired: it is not deployed any more."), do("ferric node unset NODE --retired, if it is to come back"),
		"The node is retired."},
	{"protected", func(f *Facts) bool { return f.Protected },
		say("The node is protected: it can be neither undeployed nor rebuilt."), do("ferric node unset NODE --protected, if that is wanted"),
		"The node is protected from being undeployed or rebuilt."},
	{"not-deployable", func(f *Facts) bool {
		return (f.State == provision.Available || f.State == provision.Manageable) && f.DeployFault != ""
	},
		say("The node rests, but could not be deployed or cleaned: %s", func(f *Facts) any { return f.DeployFault }), do("ferric node validate NODE", "set what it names"),
		"A node that rests lacks something that a deployment needs."},
	{"not-cleaned", func(f *Facts) bool { return f.State == provision.Available && !f.CleansItself },
		say("The node is available. Automated cleaning is off for it: what the last instance left is still on its disks."), do("ferric node deploy NODE", "to clean it: ferric node manage NODE, then ferric node clean NODE"),
		"Available without having been cleaned: automated cleaning is off."},
	{"enrolled", func(f *Facts) bool { return f.State == provision.Enroll }, say("The node was enrolled, and nobody has asked for more."), do("ferric node manage NODE, which verifies its BMC"),
		"A node that was enrolled only."},
	{"manageable", func(f *Facts) bool { return f.State == provision.Manageable }, say("The node can be managed, but is not offered to anybody."), do("ferric node inspect NODE, if its hardware is not known", "ferric node provide NODE, which cleans it and makes it available"),
		"A node that can be managed, and is not offered."},
	{"available", func(f *Facts) bool { return f.State == provision.Available }, say("The node is available."), do("ferric node deploy NODE, or an allocation"),
		"A node that can be deployed."},
	{"active", func(f *Facts) bool { return f.State == provision.Active }, say("The machine runs its instance."), do("nothing"),
		"A node that runs its instance."},
	{"rescue", func(f *Facts) bool { return f.State == provision.Rescue }, say("The machine runs the rescue system."), do("ferric node unrescue NODE when it is mended"),
		"A machine in rescue."},
	{"unknown", func(*Facts) bool { return true }, say("Nothing that is known explains more than the state itself."), do("ferric events NODE"),
		"Nothing explains it."},
}

func firstText(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

func (f *Facts) fault() string {
	if f.failed() {
		return f.LastError
	}
	return ""
}

// bmcTrouble is true when the BMC is what keeps the node where it is.
func (f *Facts) bmcTrouble() bool {
	if f.bmcFault() == "" {
		return false
	}
	return f.Fault == "power failure" || f.ProbeError != "" || f.BMC != nil && !f.BMC.OK || f.failed() && containsAny(f.LastError, "BMC", "IPMI")
}

// lastSign is when the machine itself was heard last.
func (f *Facts) lastSign() (at time.Time) {
	for _, p := range f.Ports {
		for _, s := range p.Sightings {
			if s.Time.After(at) {
				at = s.Time
			}
		}
	}
	if f.LastHeartbeat != nil && f.LastHeartbeat.After(at) {
		at = *f.LastHeartbeat
	}
	return at
}

// poweredOffYetAlive: the BMC says now that the machine is off, and the machine
// was heard since it was switched on, a moment ago.
func (f *Facts) poweredOffYetAlive() bool {
	sign := f.lastSign()
	return f.Probe == "power off" && !sign.IsZero() && f.Now.Sub(sign) < freshSign && sign.After(f.since()) && f.waiting()
}

func (f *Facts) allDisabled() bool {
	for _, p := range f.Ports {
		if p.PXEEnabled {
			return false
		}
	}
	return len(f.Ports) > 0
}

// noneServed: no ramdisk was served whole in this boot.
func (f *Facts) noneServed() bool { return f.ramdiskSent() == nil }

func (f *Facts) ramdiskSent() *Event { return f.event("ramdisk-sent") }

func (f *Facts) stepText() string {
	text := f.Step
	if f.Steps > 0 {
		text += fmt.Sprintf(" (%d of %d)", f.StepNumber, f.Steps)
	}
	if f.StepSince != nil {
		text += ", since " + age(*f.StepSince, f.Now)
	}
	return text
}

func (f *Facts) rate() string {
	p := f.Progress
	text := fmt.Sprintf("%d", p.Done>>20)
	if p.Total > 0 {
		text += fmt.Sprintf(" of %d", p.Total>>20)
	}
	text += fmt.Sprintf(" MiB at %.1f MiB/s", p.BytesPerSec/(1<<20))
	if p.SecondsLeft >= 0 {
		text += ", " + (time.Duration(p.SecondsLeft) * time.Second).String() + " left"
	}
	return text + "."
}

// Finding is what the facts come to.
type Finding struct {
	Name    string   `json:"name"`
	Text    string   `json:"text"`
	Actions []string `json:"actions"`
}

// Explanation of a node.
type Explanation struct {
	Cause Finding `json:"cause"`
	// Also are other causes that fit, less likely ones.
	Also  []Finding `json:"also"`
	Facts *Facts    `json:"facts"`
}

// maxAlso bounds the further causes, which are there for diagnosis only.
const maxAlso = 3

// Explain looks the facts up in the table.
func Explain(f *Facts) Explanation {
	out := Explanation{Facts: f, Also: []Finding{}}
	for _, c := range Causes {
		if !c.When(f) {
			continue
		}
		finding := Finding{c.Name, c.Text(f), c.Actions(f)}
		if out.Cause.Name == "" {
			out.Cause = finding
		} else if len(out.Also) < maxAlso && c.Name != "unknown" {
			out.Also = append(out.Also, finding)
		}
	}
	return out
}
