package process_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/agent"
	"ferric/api/ironic"
	"ferric/hwmanager"
	"ferric/hwmanager/builtin"
	"ferric/hwmanager/raidctl"
)

// raidVar has a test program be an agent of a machine with a RAID controller, whose
// tool is in the directory that it names.
const raidVar = "FERRIC_RAID_TOOLS"

// serveRAIDIfAsked is what TestMain begins with, too.
func serveRAIDIfAsked() {
	if dir := os.Getenv(raidVar); dir != "" {
		managers := slices.DeleteFunc(builtin.Managers(), func(m hwmanager.Manager) bool { return m.Name() == "raidctl" })
		os.Exit(agent.Main(append(managers, raidMachine{raidctl.New(), dir})))
	}
}

// raidMachine is the built-in manager on a machine that is made up: outside of a
// ramdisk it would change no controller.
type raidMachine struct {
	*raidctl.Manager
	tools string
}

func (m raidMachine) Evaluate(ctx context.Context, h *hwmanager.Host) (hwmanager.Support, error) {
	h.Programs = m.tools
	return m.Manager.Evaluate(ctx, h)
}

// raidTool is the tool of a controller with four disks. Its volumes are files of
// STATE, each named by its number, with its name, level, MiB and slots; the kernel
// of the machine sees each at once.
const raidTool = `#!/bin/bash
cd STATE
answer() {
	echo "{\"Controllers\":[{\"Command Status\":{\"Controller\":0,\"Status\":\"$1\",\"Description\":\"$2\"},\"Response Data\":{$3}}]}"
	[ "$1" = Success ] || exit 1
	exit 0
}
disk() { # slot
	state=UGood group='"-"'
	for v in [0-9]; do
		[ -e "$v" ] || continue
		read -r name level mib slots <"$v"
		case ,$slots, in *,$1,*) state=Onln group=$v ;; esac
	done
	echo "{\"EID:Slt\":\"252:$1\",\"State\":\"$state\",\"DG\":$group,\"Size\":\"446.625 GB\",\"Intf\":\"SATA\",\"Med\":\"SSD\",\"SeSz\":\"512B\",\"Model\":\"MODEL\"}"
}
disks() { echo "$(disk 0),$(disk 1),$(disk 2),$(disk 3)"; }
volume() { # number
	read -r name level mib slots <"$1"
	echo "{\"DG/VD\":\"$1/$1\",\"TYPE\":\"RAID$level\",\"State\":\"Optl\",\"Size\":\"$((mib / 1024)).000 GB\",\"Name\":\"$name\"}"
}
volumes() { sep=; for v in [0-9]; do [ -e "$v" ] && echo "$sep$(volume "$v")" && sep=,; done; }
properties() {
	sep=
	for v in [0-9]; do
		read -r name level mib slots <"$v"
		pds=
		for s in ${slots//,/ }; do pds="$pds${pds:+,}$(disk "$s")"; done
		read -r name level mib slots <"$v"
		echo "$sep\"/c0/v$v\":[$(volume "$v")],\"PDs for VD $v\":[$pds],\"VD$v Properties\":{\"Number of Blocks\":$((mib * 2048)),\"SCSI NAA Id\":\"WWID$v\",\"OS Drive Name\":\"/dev/sd$v\"}"
		sep=,
	done
}
echo "$*" >>commands
case "$*" in
"show J") answer Success None '"Number of Controllers":1,"System Overview":[{"Ctl":0,"Model":"MegaRAID"}]' ;;
"/c0 show all J") answer Success None "\"Basics\":{\"Model\":\"MegaRAID 9361-8i\",\"Serial Number\":\"SV1\",\"PCI Address\":\"00:03:00:00\"},\"Status\":{\"Controller Status\":\"Optimal\"},\"Capabilities\":{\"RAID Level Supported\":\"RAID0, RAID1, RAID5\"},\"PD LIST\":[$(disks)],\"VD LIST\":[$(volumes)]" ;;
"/c0/eall/sall show all J") answer Success None '"Drive /c0/e252/s0 - Detailed Information":{"Drive /c0/e252/s0 State":{"Predictive Failure Count":7},"Drive /c0/e252/s0 Device attributes":{"SN":"OLD"}}' ;;
"/c0/vall show all J") answer Success None "$(properties)" ;;
"/c0 add vd r"*)
	level=${4#r} mib=457344 slots= name=
	for word in "$@"; do
		case $word in
		size=*MB) mib=${word#size=} mib=${mib%MB} ;;
		name=*) name=${word#name=} ;;
		drives=252:*) slots=${word#drives=252:} ;;
		esac
	done
	v=0
	while [ -e $v ]; do v=$((v + 1)); done
	echo "$name $level $mib $slots" >$v
	mkdir -p "SYS/devices/pci0000:00/0000:00:05.0/block/sd$v/queue" "SYS/block"
	block=SYS/devices/pci0000:00/0000:00:05.0/block/sd$v
	echo $((mib * 2048)) >"$block/size"
	echo 0 >"$block/ro"
	echo 512 | tee "$block/queue/logical_block_size" >"$block/queue/physical_block_size"
	echo "naa.WWID$v" >"$block/wwid"
	ln -sfn "../devices/pci0000:00/0000:00:05.0/block/sd$v" "SYS/block/sd$v"
	truncate -s "${mib}M" "DEV/sd$v"
	answer Success "Add VD Succeeded." ;;
"/c0/v"[0-9]" delete force J")
	v=${1#/c0/v}
	rm "$v" "SYS/block/sd$v" "DEV/sd$v" || answer Failure "Delete VD failed"
	answer Success "Delete VD succeeded" ;;
esac
answer Failure "syntax error, unexpected $1"
`

const naa = "600605b010e943702a3372bf0000000"

// TestRAID: a target RAID configuration becomes volumes by cleaning, and the node
// tells them; the next deployment takes the root volume without having been told
// of it. Inspection shows what is behind the controller.
func TestRAID(t *testing.T) {
	t.Parallel()
	c, images := newConductor(t), newShop(t)
	tools, state := t.TempDir(), t.TempDir()
	m := newMachine(t, c, spec{
		node: map[string]any{"raid_interface": "agent", "inspect_interface": "agent", "properties": map[string]any{"capabilities": "boot_mode:bios"}},
		agent: func(_ *testing.T, m *machine) *exec.Cmd {
			cmd := exec.Command(os.Args[0], append([]string{"--state-dir", m.state}, m.args...)...)
			cmd.Env = append(os.Environ(), raidVar+"="+tools)
			return cmd
		},
	})
	script := strings.NewReplacer("STATE", state, "SYS", m.host.Sys, "DEV", m.host.Dev, "WWID", naa, "MODEL", "MZ7L3480").Replace(raidTool)
	if err := os.WriteFile(filepath.Join(tools, "storcli64"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(m.host.Dev, "sd1")
	m.args = append(m.args, "--allow-devices", filepath.Join(m.host.Dev, "sd*"))
	// What was there before is in the way: it has the number of the first volume.
	if out, err := exec.Command(filepath.Join(tools, "storcli64"), "/c0", "add", "vd", "r5", "size=2048MB", "name=former", "drives=252:0,1,2", "J").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	clean := func(names ...string) {
		t.Helper()
		var list []ironic.Step
		for _, name := range names {
			list = append(list, ironic.Step{Interface: "raid", Step: name})
		}
		m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbClean, CleanSteps: list})
	}
	configure := func(disks ...map[string]any) {
		t.Helper()
		if err := c.api.SetRAIDConfig(t.Context(), m.name, map[string]any{"logical_disks": disks}); err != nil {
			t.Fatal(err)
		}
	}
	data := map[string]any{"raid_level": "0", "size_gb": 1, "volume_name": "data"}
	want := []string{"former 5 2048 0,1,2"}

	// One of the volumes cannot be made: nothing is.
	configure(data, map[string]any{"raid_level": "1", "size_gb": 4000, "is_root_volume": true})
	clean("create_configuration")
	m.fails(t, ironic.StateCleanFailed, "the RAID configuration cannot be made, nothing was changed", "MegaRAID 9361-8i c0")
	if diff := cmp.Diff(want, raidVolumes(t, state)); diff != "" {
		t.Errorf("volumes after a refusal (-want +got):\n%s", diff)
	}
	m.provision(t, ironic.VerbManage, ironic.StateManageable)
	if err := c.api.UnsetMaintenance(t.Context(), m.name); err != nil { // which a failed step asks for
		t.Fatal(err)
	}

	configure(data, map[string]any{"raid_level": "1", "size_gb": 4, "is_root_volume": true, "volume_name": "root", "disk_type": "ssd"})
	clean("delete_configuration", "create_configuration")
	n := m.wait(t, ironic.StateManageable)
	// A disk that expects to fail is not chosen.
	if diff := cmp.Diff([]string{"data 0 1024 1", "root 1 4096 2,3"}, raidVolumes(t, state)); diff != "" {
		t.Errorf("volumes (-want +got):\n%s", diff)
	}
	if n.LastError != nil || n.Properties["local_gb"] != 4.0 || n.Properties["capabilities"] != "boot_mode:bios,raid_level:1" ||
		!cmp.Equal(n.Properties["root_device"], any(map[string]any{"wwn": "0x" + naa + "1"})) {
		t.Errorf("error %v, properties %v", n.LastError, n.Properties)
	}
	var told []string
	list, _ := n.RAIDConfig["logical_disks"].([]any)
	for _, item := range list {
		l, _ := item.(map[string]any)
		told = append(told, fmt.Sprint(l["volume_name"], " ", l["raid_level"], " ", l["size_gb"], " ", l["physical_disks"], " ", l["controller"], " ", l["is_root_volume"]))
	}
	if diff := cmp.Diff([]string{"data 0 1 [252:1] MegaRAID 9361-8i c0 false", "root 1 4 [252:2 252:3] MegaRAID 9361-8i c0 true"}, told); diff != "" || n.RAIDConfig["last_updated"] == nil {
		t.Errorf("raid_config %v (-want +got):\n%s", n.RAIDConfig, diff)
	}

	m.kernelParams(t, fmt.Sprintf("ipa-inspection-callback-url=%s/v1/continue_inspection ipa-inspection-dhcp-wait-timeout=0 BOOTIF=01-%s", c.url, strings.ReplaceAll(m.mac, ":", "-")))
	m.provision(t, ironic.VerbInspect, ironic.StateManageable)
	var inventory struct {
		Inventory struct{ Disks []struct{ Name, WWN string } }
		Plugin    struct {
			RAID struct {
				Controllers []struct {
					Name    string
					Disks   []json.RawMessage `json:"physical_disks"`
					Volumes []struct{ Name, WWN string }
				}
				Warnings []string
			} `json:"raidctl"`
		} `json:"plugin_data"`
	}
	if err := c.api.Do(t.Context(), http.MethodGet, "/v1/nodes/"+m.name+"/inventory", nil, nil, &inventory); err != nil {
		t.Fatal(err)
	}
	seen := inventory.Plugin.RAID
	if len(seen.Controllers) != 1 || len(seen.Controllers[0].Disks) != 4 || len(seen.Controllers[0].Volumes) != 2 || seen.Controllers[0].Volumes[1].WWN != "0x"+naa+"1" ||
		!slices.ContainsFunc(seen.Warnings, func(w string) bool { return strings.Contains(w, "serial number OLD) expects to fail soon") }) {
		t.Errorf("inspected: %+v", seen)
	}

	m.kernelParams(t, "")
	m.disk = root
	m.provision(t, ironic.VerbProvide, ironic.StateAvailable)
	m.setGood(t, images)
	m.provision(t, ironic.VerbActive, ironic.StateActive)
	m.holds(t)
}

// raidVolumes are what the controller has, in the order of their numbers.
func raidVolumes(t *testing.T, state string) (volumes []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(state, "[0-9]"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		volumes = append(volumes, strings.TrimSpace(string(text)))
	}
	return volumes
}
