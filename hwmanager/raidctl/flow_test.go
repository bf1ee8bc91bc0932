package raidctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

const tb = int64(1e12) / 512 // sectors

// megaCard is a card of Broadcom's with disks: four SAS disks, four SSDs.
func megaCard(id int) *modelController {
	c := &modelController{
		ID: id, Model: "AVAGO MegaRAID SAS 9361-8i", Serial: fmt.Sprintf("SK9000000%d", id), Firmware: "24.21.0-0148", PCI: fmt.Sprintf("00:%02d:00:00", 3+id),
		Levels: "RAID0, RAID1(2 or more drives), RAID5, RAID6, RAID10(2 or more drives per span), RAID50, RAID60", JBOD: true,
	}
	for slot := range 8 {
		d := &modelDisk{Enclosure: 252, Slot: slot, State: "UGood", Sectors: 1171062784, Interface: "SAS", Media: "HDD", Model: "ST600MM0069",
			Serial: fmt.Sprintf("W4%d%05d", id, slot), WWN: fmt.Sprintf("5000c5%02x%08x", id, slot)}
		if slot >= 4 {
			d.Sectors, d.Interface, d.Media, d.Model = 936640512, "SATA", "SSD", "MZ7LH480HAHQ"
		}
		c.Disks = append(c.Disks, d)
	}
	return c
}

// smartCard is one of HPE's.
func smartCard() *modelController {
	c := &modelController{ID: 0, Model: "HPE Smart Array P408i-a SR Gen10", Serial: "PEYHC0AAA000X1", Firmware: "5.00", PCI: "0000:5C:00.0", Mode: "Mixed", Levels: "Enabled"}
	for bay := range 8 {
		d := &modelDisk{Port: fmt.Sprintf("%dI:1:%d", 1+bay/4, 1+bay%4), State: "UGood", Sectors: 300 * tb / 1000, Interface: "SAS", Media: "HDD", Model: "EG000300JWSJP",
			Serial: fmt.Sprintf("S0K3%04d", bay), WWN: fmt.Sprintf("5000c500%08x", bay)}
		if bay >= 4 {
			d.Sectors, d.Interface, d.Media, d.Model = 480*tb/1000, "SATA", "SSD", "VK000480GWTTT"
		}
		c.Disks = append(c.Disks, d)
	}
	return c
}

func configOf(t *testing.T, text string) map[string]any {
	t.Helper()
	var config map[string]any
	if err := json.Unmarshal([]byte(`{"logical_disks": [`+text+`]}`), &config); err != nil {
		t.Fatal(err)
	}
	return config
}

func call(node hwmanager.Node) hwmanager.StepCall {
	return hwmanager.StepCall{Node: node, Args: map[string]any{}, Progress: func(ipa.Progress) {}}
}

func (m *Manager) runClean(t *testing.T, h *hwmanager.Host, name string, node hwmanager.Node, args map[string]any) (any, error) {
	t.Helper()
	return m.runPhase(t, h, hwmanager.Clean, name, node, args)
}

func (m *Manager) runPhase(t *testing.T, h *hwmanager.Host, phase hwmanager.Phase, name string, node hwmanager.Node, args map[string]any) (any, error) {
	t.Helper()
	steps, err := m.CleanSteps(t.Context(), h, node)
	if phase == hwmanager.Deploy {
		steps, err = m.DeploySteps(t.Context(), h, node)
	}
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(steps, func(s hwmanager.Step) bool { return s.Declaration.Step == name })
	if at < 0 {
		t.Fatalf("no step %s", name)
	}
	c := call(node)
	if args != nil {
		c.Args = args
	}
	return steps[at].Run(t.Context(), h, c)
}

// brief is a result in one line per logical disk.
func brief(t *testing.T, result any) []string {
	t.Helper()
	data, err := json.Marshal(result)
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		LogicalDisks []struct {
			Controller string            `json:"controller"`
			Level      string            `json:"raid_level"`
			Size       int               `json:"size_gb"`
			Name       string            `json:"volume_name"`
			Root       bool              `json:"is_root_volume"`
			Disks      []string          `json:"physical_disks"`
			Number     int               `json:"number_of_physical_disks"`
			Hint       map[string]string `json:"root_device_hint"`
		} `json:"logical_disks"`
	}
	if err := json.Unmarshal(data, &config); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, l := range config.LogicalDisks {
		if l.Number != len(l.Disks) {
			t.Errorf("%s: number_of_physical_disks is %d for %v", l.Name, l.Number, l.Disks)
		}
		if len(l.Hint["wwn"]) < 18 {
			t.Errorf("%s: the hint is %v", l.Name, l.Hint)
		}
		root := ""
		if l.Root {
			root = " root"
		}
		lines = append(lines, fmt.Sprintf("%s raid %s %d GiB of %s%s", l.Name, l.Level, l.Size, strings.Join(l.Disks, ","), root))
	}
	return lines
}

// TestCreate: what Ironic's schema can say becomes volumes, on each kind of tools.
func TestCreate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		config string
		mega   []string // of the result
		smart  []string
	}{
		{"mirror", `{"raid_level": "1", "size_gb": 100, "is_root_volume": true, "volume_name": "root"}`,
			[]string{"root raid 1 100 GiB of 252:4,252:5 root"}, []string{"root raid 1 100 GiB of 1I:1:1,1I:1:2 root"}},
		{"by type", `{"raid_level": "1", "size_gb": 100, "disk_type": "hdd", "volume_name": "root"}`,
			[]string{"root raid 1 100 GiB of 252:0,252:1"}, []string{"root raid 1 100 GiB of 1I:1:1,1I:1:2"}},
		{"by interface", `{"raid_level": "1", "size_gb": 100, "interface_type": "sata", "volume_name": "root"}`,
			[]string{"root raid 1 100 GiB of 252:4,252:5"}, []string{"root raid 1 100 GiB of 2I:1:1,2I:1:2"}},
		{"all that is left", `{"raid_level": "5", "size_gb": "MAX", "number_of_physical_disks": 4, "volume_name": "data"}`,
			[]string{"data raid 5 1675 GiB of 252:0,252:1,252:2,252:3"}, []string{"data raid 5 1341 GiB of 2I:1:1,2I:1:2,2I:1:3,2I:1:4"}},
		{"spans", `{"raid_level": "1+0", "size_gb": 500, "number_of_physical_disks": 4, "disk_type": "hdd", "volume_name": "data"}`,
			[]string{"data raid 1+0 500 GiB of 252:0,252:1,252:2,252:3"}, []string{"data raid 1+0 500 GiB of 1I:1:1,1I:1:2,1I:1:3,1I:1:4"}},
		{"one disk", `{"raid_level": "0", "size_gb": "MAX", "disk_type": "ssd", "volume_name": "x"}`,
			[]string{"x raid 0 446 GiB of 252:4"}, []string{"x raid 0 447 GiB of 2I:1:1"}},
		{"six", `{"raid_level": "6", "size_gb": 10, "disk_type": "ssd", "volume_name": "x"}`,
			[]string{"x raid 6 10 GiB of 252:4,252:5,252:6,252:7"}, []string{"x raid 6 10 GiB of 2I:1:1,2I:1:2,2I:1:3,2I:1:4"}},
		{"several, with names made up", `{"raid_level": "1", "size_gb": "MAX", "disk_type": "ssd", "is_root_volume": true}, {"raid_level": "5", "size_gb": "MAX", "disk_type": "hdd"}`,
			[]string{"volume-0 raid 1 446 GiB of 252:4,252:5 root", "volume-1 raid 5 1116 GiB of 252:0,252:1,252:2"},
			[]string{"volume-0 raid 1 447 GiB of 2I:1:1,2I:1:2 root", "volume-1 raid 5 558 GiB of 1I:1:1,1I:1:2,1I:1:3"}},
		{"shared", `{"raid_level": "5", "size_gb": "MAX", "disk_type": "hdd", "share_physical_disks": true, "volume_name": "rest"},
			{"raid_level": "5", "size_gb": 50, "share_physical_disks": true, "disk_type": "hdd", "volume_name": "root", "is_root_volume": true}`,
			[]string{"rest raid 5 1066 GiB of 252:0,252:1,252:2", "root raid 5 50 GiB of 252:0,252:1,252:2 root"},
			[]string{"rest raid 5 508 GiB of 1I:1:1,1I:1:2,1I:1:3", "root raid 5 50 GiB of 1I:1:1,1I:1:2,1I:1:3 root"}},
		{"a name is taken by hand", `{"raid_level": "0", "size_gb": 1, "volume_name": "volume-0"}, {"raid_level": "0", "size_gb": 1}`,
			[]string{"volume-0 raid 0 1 GiB of 252:4", "volume-1 raid 0 1 GiB of 252:5"}, []string{"volume-0 raid 0 1 GiB of 1I:1:1", "volume-1 raid 0 1 GiB of 1I:1:2"}},
	} {
		for tool, model := range map[string]*modelController{"storcli64": megaCard(0), "storcli2": megaCard(0), "ssacli": smartCard()} {
			t.Run(tool+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				h, m, dir := modelHost(t, map[string]*modelState{tool: {Controllers: []*modelController{model}}})
				if c.name == "shared" { // once by real processes
					h.Run = hwmanager.Exec{}
				}
				want := c.mega
				if tool == "ssacli" {
					want = c.smart
				}
				config := configOf(t, c.config)
				result, err := m.runClean(t, h, "create_configuration", hwmanager.Node{"target_raid_config": config}, nil)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, brief(t, result)); diff != "" {
					t.Errorf("result (-want +got):\n%s", diff)
				}
				if got := len(loadModel(t, dir, tool).Controllers[0].Volumes); got != len(want) {
					t.Errorf("the controller has %d volumes", got)
				}
				// And deleted again.
				if _, err := m.runClean(t, h, "delete_configuration", hwmanager.Node{"raid_config": result}, nil); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff([]string(nil), loadModel(t, dir, tool).summary()); diff != "" {
					t.Errorf("left (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// TestCreateElsewhere: what only some controllers have.
func TestCreateElsewhere(t *testing.T) {
	t.Parallel()
	big := megaCard(0)
	for slot := 8; slot < 24; slot++ {
		d := *big.Disks[0]
		d.Slot, d.Serial, d.WWN = slot, fmt.Sprintf("W5%d", slot), fmt.Sprintf("5000c5ff%08x", slot)
		big.Disks = append(big.Disks, &d)
	}
	wide := smartCard()
	for bay := range 10 {
		d := *wide.Disks[0]
		d.Port, d.Serial, d.WWN = fmt.Sprintf("3I:1:%d", bay), fmt.Sprint("S1K", bay), fmt.Sprintf("5000c501%08x", bay)
		wide.Disks = append(wide.Disks, &d)
	}
	direct := megaCard(0)
	for _, d := range direct.Disks {
		d.Enclosure = -1
	}
	shown := megaCard(0)
	shown.Disks[0].State, shown.Disks[1].State = "JBOD", "JBOD"
	perc := megaCard(0)
	perc.Model = "PERC H730P Mini"
	for _, c := range []struct {
		name   string
		tools  map[string][]*modelController
		config string
		want   []string
	}{
		{"fifty", map[string][]*modelController{"storcli64": {big}}, `{"raid_level": "5+0", "size_gb": 2000, "number_of_physical_disks": 9, "disk_type": "hdd", "volume_name": "v"}`,
			[]string{"v raid 5+0 2000 GiB of 252:0,252:1,252:2,252:3,252:8,252:9,252:10,252:11,252:12"}},
		{"sixty", map[string][]*modelController{"storcli64": {big}}, `{"raid_level": "6+0", "size_gb": 2000, "disk_type": "hdd", "volume_name": "v"}`,
			[]string{"v raid 6+0 2000 GiB of 252:0,252:1,252:2,252:3,252:8,252:9,252:10,252:11"}},
		{"more mirrors than spans", map[string][]*modelController{"storcli64": {big}}, `{"raid_level": "1+0", "size_gb": 100, "disk_type": "hdd", "number_of_physical_disks": 20, "volume_name": "v"}`,
			[]string{"v raid 1+0 100 GiB of 252:0,252:1,252:2,252:3,252:8,252:9,252:10,252:11,252:12,252:13,252:14,252:15,252:16,252:17,252:18,252:19,252:20,252:21,252:22,252:23"}},
		{"without enclosures", map[string][]*modelController{"storcli64": {direct}}, `{"raid_level": "1", "size_gb": 9, "controller": "/c0", "physical_disks": [" :2", "1"], "volume_name": "v"}`,
			[]string{"v raid 1 9 GiB of 1,2"}},
		{"JBOD", map[string][]*modelController{"storcli64": {megaCard(0)}}, `{"raid_level": "JBOD", "size_gb": "MAX", "disk_type": "ssd", "is_root_volume": true}`,
			[]string{" raid JBOD 446 GiB of 252:4 root"}},
		{"JBOD of the second generation", map[string][]*modelController{"storcli2": {megaCard(0)}}, `{"raid_level": "JBOD", "size_gb": "MAX", "disk_type": "ssd", "is_root_volume": true}`,
			[]string{" raid JBOD 446 GiB of 252:4 root"}},
		{"fifty of HPE", map[string][]*modelController{"ssacli": {wide}}, `{"raid_level": "5+0", "size_gb": 1000, "number_of_physical_disks": 8, "volume_name": "v"}, {"raid_level": "1+0", "size_gb": 300, "number_of_physical_disks": 6, "volume_name": "w"}`,
			[]string{"v raid 5+0 1000 GiB of 1I:1:1,1I:1:2,1I:1:3,1I:1:4,3I:1:0,3I:1:1,3I:1:2,3I:1:3", "w raid 1+0 300 GiB of 3I:1:4,3I:1:5,3I:1:6,3I:1:7,3I:1:8,3I:1:9"}},
		{"a disk that is shown as it is", map[string][]*modelController{"storcli64": {shown}}, `{"raid_level": "1", "size_gb": 9, "controller": "0", "physical_disks": ["252:0", "/c0/e252/s1"], "volume_name": "v"}`,
			[]string{"v raid 1 9 GiB of 252:0,252:1"}},
		{"disks by serial number, on the second controller", map[string][]*modelController{"storcli64": {megaCard(0), megaCard(1)}},
			`{"raid_level": "1", "size_gb": 9, "physical_disks": ["W4100001", "W4100000"], "volume_name": "v"}`, []string{"v raid 1 9 GiB of 252:0,252:1"}},
		{"the same controller by two tools", map[string][]*modelController{"storcli64": {perc}, "perccli64": {perc}}, `{"raid_level": "1", "size_gb": 9, "disk_type": "hdd", "volume_name": "v"}`,
			[]string{"v raid 1 9 GiB of 252:0,252:1"}},
		{"the controller that has room", map[string][]*modelController{"storcli64": {megaCard(0)}, "ssacli": {smartCard()}},
			`{"raid_level": "1", "size_gb": 440, "disk_type": "ssd", "volume_name": "v", "controller": "Smart Array P408i-a SR Gen10 in Slot 0"}`, []string{"v raid 1 440 GiB of 2I:1:1,2I:1:2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			tools := map[string]*modelState{}
			for name, cards := range c.tools {
				tools[name] = &modelState{Controllers: cards}
			}
			h, m, dir := modelHost(t, tools)
			if c.tools["perccli64"] != nil { // one controller has one state
				linkModels(t, dir, "storcli64", "perccli64")
			}
			result, err := m.runClean(t, h, "create_configuration", hwmanager.Node{"target_raid_config": configOf(t, c.config)}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, brief(t, result)); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
			if _, err := m.runClean(t, h, "delete_configuration", hwmanager.Node{"raid_config": result}, nil); err != nil {
				t.Fatal(err)
			}
			for name := range c.tools {
				if left := loadModel(t, dir, name).summary(); len(left) > 0 && c.name != "a disk that is shown as it is" {
					t.Errorf("left: %v", left)
				}
			}
		})
	}
}

// TestRefused: everything that is wrong is in one error, and nothing is touched.
func TestRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		tool   string
		config string
		spoil  func(*modelController)
		wrong  []string
	}{
		{"everything at once", "storcli64", `{"raid_level": "7", "size_gb": 1}, {"raid_level": "2", "size_gb": 1}, {"raid_level": "1", "size_gb": "all", "volume_name": "a b"},
			{"raid_level": "1", "size_gb": 1, "number_of_physical_disks": 3}, {"raid_level": "5", "size_gb": 99999}, {"size_gb": 1.5, "raid_level": "0", "colour": "red"}, {"raid_level": "0"}`, nil,
			[]string{`logical disk 0: RAID level "7" is none of`, "logical disk 1: RAID level 2 is made by none", `logical disk 2 (a b): size_gb is "all"`, "other characters",
				"logical disk 3: RAID level 1 needs an even number of disks, not 3", "logical disk 4: ", "do not fit", `"colour" is nothing`, "size_gb is 1.5", "logical disk 6: size_gb is missing"}},
		{"two roots", "storcli64", `{"raid_level": "0", "size_gb": 1, "is_root_volume": true}, {"raid_level": "0", "size_gb": 1, "is_root_volume": true}`, nil, []string{"2 logical disks are root volumes"}},
		{"no such disk", "storcli64", `{"raid_level": "1", "size_gb": 1, "controller": "c0", "physical_disks": ["252:0", "252:77"]}`, nil, []string{`has no disk "252:77"; it has 252:0`}},
		{"no such controller", "storcli64", `{"raid_level": "1", "size_gb": 1, "controller": "RAID.Integrated.1-1"}`, nil, []string{`there is no controller "RAID.Integrated.1-1"; there are AVAGO MegaRAID SAS 9361-8i c0`}},
		{"a disk twice", "storcli64", `{"raid_level": "1", "size_gb": 1, "controller": "c0", "physical_disks": ["252:0", "252:0"]}`, nil, []string{"has 252:0 twice"}},
		{"one disk for two", "storcli64", `{"raid_level": "1", "size_gb": 1, "controller": "c0", "physical_disks": ["252:0", "252:1"]}, {"raid_level": "1", "size_gb": 1, "controller": "c0", "physical_disks": ["252:1", "252:2"]}`, nil,
			[]string{"disk 252:1 is taken by another logical disk"}},
		{"types mixed", "storcli64", `{"raid_level": "1", "size_gb": 1, "controller": "c0", "physical_disks": ["252:0", "252:4"]}`, nil, []string{"are not of one type"}},
		{"other type", "storcli64", `{"raid_level": "1", "size_gb": 1, "controller": "c0", "disk_type": "ssd", "physical_disks": ["252:0", "252:1"]}`, nil, []string{"disk 252:0 is of type hdd, not ssd"}},
		{"a spare, a bad and a foreign disk", "storcli64", `{"raid_level": "5", "size_gb": 1, "controller": "c0", "physical_disks": ["252:0", "252:1", "252:2"]}`,
			func(c *modelController) {
				c.Disks[0].State, c.Disks[1].State, c.Disks[2].State = "GHS", "UBad", "Foreign"
			},
			[]string{"disk 252:0 is a spare", "disk 252:1 is not fit (UBad)", "disk 252:2 has a foreign configuration"}},
		{"too few are fit", "storcli64", `{"raid_level": "1", "size_gb": 1, "disk_type": "hdd"}`,
			func(c *modelController) {
				c.Disks[0].State, c.Disks[1].State, c.Disks[2].Predictive = "UBad", "Missing", 3
			}, []string{"RAID level 1 needs 2 hdd disks of one kind, 1 are free"}},
		{"a level that the controller lacks", "storcli64", `{"raid_level": "6", "size_gb": 1}`, func(c *modelController) { c.Levels = "RAID0, RAID1, RAID5" }, []string{"does not make RAID level 6, only 0, 1, 5"}},
		{"host adapter", "storcli64", `{"raid_level": "1", "size_gb": 1}`, func(c *modelController) { c.Mode = "HBA-Mode" }, []string{"in mode HBA-Mode, which makes no volumes"}},
		{"mode HBA", "ssacli", `{"raid_level": "1", "size_gb": 1}`, func(c *modelController) { c.Mode = "HBA" }, []string{"in mode HBA"}},
		{"no RAID 6", "ssacli", `{"raid_level": "6", "size_gb": 1}`, func(c *modelController) { c.Levels = "Disabled" }, []string{"does not make RAID level 6"}},
		{"mirror of four", "ssacli", `{"raid_level": "1", "size_gb": 1, "number_of_physical_disks": 4}`, nil, []string{"use 1+0"}},
		{"JBOD", "ssacli", `{"raid_level": "JBOD", "size_gb": "MAX"}`, nil, []string{"does not show disks as they are"}},
		{"JBOD is switched off", "storcli64", `{"raid_level": "JBOD", "size_gb": "MAX"}`, func(c *modelController) { c.JBOD = false }, []string{"does not show disks as they are"}},
		{"long name", "storcli64", `{"raid_level": "0", "size_gb": 1, "volume_name": "a-name-of-sixteen"}`, nil, []string{"longer than the 15 characters"}},
		{"three parity groups", "ssacli", `{"raid_level": "5+0", "size_gb": 1, "number_of_physical_disks": 9}`, nil, []string{"RAID level 5+0 cannot be made of 9 disks"}},
		{"names twice", "storcli64", `{"raid_level": "0", "size_gb": 1, "volume_name": "a"}, {"raid_level": "0", "size_gb": 1, "volume_name": "a"}`, nil, []string{"volume_name a is not unique"}},
		{"22 mirrors", "storcli64", `{"raid_level": "1+0", "size_gb": 1, "number_of_physical_disks": 22}`, nil, []string{"RAID level 1+0 cannot be made of 22 disks"}},
		{"shared beyond what there is", "storcli64", `{"raid_level": "1", "size_gb": 500, "share_physical_disks": true, "controller": "c0", "physical_disks": ["252:0", "252:1"]},
			{"raid_level": "1", "size_gb": 100, "share_physical_disks": true, "controller": "c0", "physical_disks": ["252:0", "252:1"]}`, nil, []string{"logical disk 1"}},
		{"software without disks beside it", "storcli64", `{"raid_level": "1", "size_gb": 1}, {"raid_level": "1", "size_gb": 1, "controller": "software"}`, nil, []string{"software logical disk 0 needs physical_disks"}},
		{"numbers that are none", "storcli64", `{"raid_level": 1, "size_gb": 0}, {"raid_level": "1", "size_gb": -5}, {"raid_level": "1", "size_gb": 1e300}, {"raid_level": "1", "size_gb": "max"}, {"raid_level": "0", "size_gb": 1, "number_of_physical_disks": 0}, {"raid_level": "0", "size_gb": 1, "is_root_volume": "yes"}`, nil,
			[]string{"logical disk 0: raid_level must be a text", "logical disk 0: size_gb is 0", "logical disk 1: size_gb is -5", "logical disk 2: size_gb is 1e+300", `logical disk 3: size_gb is "max"`, "logical disk 4: number_of_physical_disks", "logical disk 5: is_root_volume must be a boolean"}},
		{"all that is left, twice", "storcli64", `{"raid_level": "1", "size_gb": "MAX", "share_physical_disks": true, "controller": "/c0", "physical_disks": ["252:0", "252:1"]},
			{"raid_level": "1", "size_gb": "MAX", "share_physical_disks": true, "controller": "0", "physical_disks": ["252:0", "252:1"]}`, nil, []string{"logical disk 1: disk 252:0 is taken"}},
		{"no object", "storcli64", `3`, nil, []string{"logical disk 0 is not an object"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			card := megaCard(0)
			if c.tool == "ssacli" {
				card = smartCard()
			}
			if c.spoil != nil {
				c.spoil(card)
			}
			h, m, dir := modelHost(t, map[string]*modelState{c.tool: {Controllers: []*modelController{card}}})
			for _, step := range []string{"create_configuration", "apply_configuration"} {
				phase, args, node := hwmanager.Clean, map[string]any(nil), hwmanager.Node{"target_raid_config": configOf(t, c.config)}
				if step == "apply_configuration" {
					phase, args, node = hwmanager.Deploy, map[string]any{"raid_config": configOf(t, c.config)}, hwmanager.Node{}
				}
				if step == "apply_configuration" && strings.Contains(c.name, "foreign") {
					continue // which deletes the configuration
				}
				result, err := m.runPhase(t, h, phase, step, node, args)
				if err == nil {
					t.Fatalf("%s made %v", step, result)
				}
				for _, w := range c.wrong {
					if !strings.Contains(err.Error(), w) {
						t.Errorf("%s: error %q does not say %q", step, err, w)
					}
				}
				if n := loadModel(t, dir, c.tool).Changes; n != 0 {
					t.Errorf("%s: %d changes", step, n)
				}
			}
		})
	}
}

// TestEveryChangeFails: whichever change of a step fails, and however, nothing half
// made is left, or the error says what is.
func TestEveryChangeFails(t *testing.T) {
	t.Parallel()
	const config = `{"raid_level": "1", "size_gb": 100, "disk_type": "hdd", "is_root_volume": true, "volume_name": "root"}, {"raid_level": "1", "size_gb": "MAX", "disk_type": "ssd", "volume_name": "data"}, {"raid_level": "0", "size_gb": 10, "volume_name": "more"}`
	for tool, card := range map[string]func() *modelController{"storcli64": func() *modelController { return megaCard(0) }, "ssacli": smartCard} {
		for _, how := range []string{"status", "exit", "done", "cut", "silent", "other"} {
			if tool == "ssacli" && how == "cut" {
				continue // its answer to a change is empty
			}
			for at := 1; at <= 4; at++ {
				if at == 4 && how != "exit" { // none fails
					continue
				}
				t.Run(fmt.Sprintf("%s/%s/%d", tool, how, at), func(t *testing.T) {
					t.Parallel()
					h, m, dir := modelHost(t, map[string]*modelState{tool: {Controllers: []*modelController{card()}, FailAt: at, FailHow: how}})
					_, err := m.runClean(t, h, "create_configuration", hwmanager.Node{"target_raid_config": configOf(t, config)}, nil)
					left := loadModel(t, dir, tool).summary()
					if at == 4 {
						if err != nil || len(left) != 3 {
							t.Fatalf("error %v, made %v", err, left)
						}
						return
					}
					if err == nil {
						t.Fatal("no error")
					}
					if len(left) > 0 {
						t.Errorf("left: %v after %v", left, err)
					}
					if !strings.Contains(err.Error(), "logical disk") || !strings.Contains(err.Error(), "removed again") && !strings.Contains(err.Error(), "nothing was made") {
						t.Errorf("error %q does not say what is left", err)
					}
				})
			}
		}
	}
}

// TestUndoFails: what cannot be removed is named.
func TestUndoFails(t *testing.T) {
	t.Parallel()
	const config = `{"raid_level": "1", "size_gb": 100, "disk_type": "hdd", "volume_name": "root"}, {"raid_level": "1", "size_gb": "MAX", "disk_type": "ssd", "volume_name": "data"}`
	h, m, dir := modelHost(t, map[string]*modelState{"storcli64": {Controllers: []*modelController{megaCard(0)}, FailAt: 2, FailHow: "exit"}})
	h.Run = &failing{h.Run, "delete force"}
	_, err := m.runClean(t, h, "create_configuration", hwmanager.Node{"target_raid_config": configOf(t, config)}, nil)
	if err == nil || !strings.Contains(err.Error(), "volume 0 (root, RAID 1, 100 GiB) on AVAGO MegaRAID SAS 9361-8i c0 is left") {
		t.Errorf("error = %v", err)
	}
	if got := loadModel(t, dir, "storcli64").summary(); len(got) != 1 {
		t.Errorf("left: %v", got)
	}
}

// TestWorkstation: outside of the ramdisk nothing is changed.
func TestWorkstation(t *testing.T) {
	t.Parallel()
	h, m, dir := modelHost(t, map[string]*modelState{"storcli64": {Controllers: []*modelController{megaCard(0)}}})
	t.Run("guard", func(t *testing.T) {
		other := hwmanager.Host{Programs: h.Programs}
		if err := mayChange(&other); err != nil {
			t.Error(err)
		}
		other.Programs = ""
		if err := mayChange(&other); !ipa.ProtectedDevice.Is(err) {
			t.Errorf("error = %v", err)
		}
		other.Guard.InRamdisk = true
		if err := mayChange(&other); err != nil {
			t.Error(err)
		}
	})
	_, err := m.runClean(t, h, "create_configuration", hwmanager.Node{}, nil)
	if !errors.Is(err, hwmanager.ErrNotHandled) {
		t.Errorf("no configuration: %v", err)
	}
	if n := loadModel(t, dir, "storcli64").Changes; n != 0 {
		t.Errorf("%d changes", n)
	}
}

// cancelling is a runner that ends the context with a command, which it lets pass.
type cancelling struct {
	hwmanager.Runner
	text string
	end  context.CancelFunc
}

func (c *cancelling) Run(ctx context.Context, name string, args ...string) ([]byte, error) {
	out, err := c.Runner.Run(ctx, name, args...)
	if strings.Contains(strings.Join(args, " "), c.text) {
		c.end()
	}
	return out, err
}

// TestAborted: a step that is aborted in the middle removes what it has made.
func TestAborted(t *testing.T) {
	t.Parallel()
	h, m, dir := modelHost(t, map[string]*modelState{"storcli64": {Controllers: []*modelController{megaCard(0)}}})
	ctx, end := context.WithCancel(t.Context())
	defer end()
	h.Run = &cancelling{h.Run, "name=second", end}
	config := configOf(t, `{"raid_level": "1", "size_gb": 1, "volume_name": "first"}, {"raid_level": "1", "size_gb": 1, "volume_name": "second"}`)
	_, err := m.configure(ctx, h, hwmanager.Clean, call(hwmanager.Node{}), config, createArgs{Root: true, Others: true})
	if err == nil || !strings.Contains(err.Error(), "removed again") {
		t.Errorf("error = %v", err)
	}
	state := loadModel(t, dir, "storcli64")
	if left := state.summary(); len(left) > 0 || state.Changes != 4 {
		t.Errorf("left: %v after %d changes", left, state.Changes)
	}
}
