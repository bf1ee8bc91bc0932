package raidctl

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/hwmanager"
	"ferric/hwmanager/hwmtest"
)

// machines are made-up machines whose tools answer as the real ones are documented
// to; all numbers and names are made up.
func machines() []string {
	return []string{
		// Broadcom, "12Gb/s MegaRAID SAS Software User Guide" (DB15-001199), chapter 6
		// "StorCLI", controller, drive and virtual drive "show all" with J; a failed
		// drive as under "Detailed Status".
		"9361",
		// Broadcom, "12Gb/s MegaRAID Tri-Mode Software User Guide" (MR-TM-SW-UG), chapter
		// "StorCLI": NVMe drives, JBOD, foreign drives (DG "F").
		"9460",
		// Dell, "PowerEdge RAID Controller CLI Reference Guide" for PERC 9 and 10,
		// section "Show commands"; with a line before the JSON.
		"h730",
		// The same, of two controllers.
		"h740p",
		// Dell, "PERC 11 CLI Reference Guide": a backplane without enclosure (EID " ").
		"h755",
		// Broadcom, "StorCLI2 User Guide" (StorCLI2-UG), chapter "Drive and virtual drive
		// commands": sizes in GiB, two words for the state of a drive.
		"9660",
		// HPE, "Smart Storage Administrator User Guide" (765468), chapter "SSA CLI",
		// "show config detail", of a Gen10 controller.
		"p408i",
		// The same of hpssacli, with a failed disk, a spare, and a second controller in
		// HBA mode.
		"p440ar",
	}
}

var update = flag.Bool("update", false, "write the golden files")

// describe is what was read, for people to compare.
func describe(all []*Controller) string {
	var b strings.Builder
	for _, c := range all {
		fmt.Fprintf(&b, "%s: model %q serial %s firmware %s driver %q pci %s status %q mode %q cache %q battery %q levels %s jbod %v ref %s\n",
			c.Name, c.Model, c.Serial, c.Firmware, c.Driver, c.PCI, c.Status, c.Mode, c.Cache, c.Battery, strings.Join(c.Levels, " "), c.jbod, c.ref)
		for _, d := range c.Disks {
			fmt.Fprintf(&b, "  disk %s %s (%s) %d %s %s model %q serial %s firmware %s wwn %s predictive %v errors %d group %q spare %q\n",
				d.ID, d.State, d.Status, d.Size, d.Media, d.Interface, d.Model, d.Serial, d.Firmware, d.WWN, d.Predictive, d.Errors, d.group, d.spare)
		}
		for _, v := range c.Volumes {
			fmt.Fprintf(&b, "  volume %s %q raid %s %d %s wwn %s device %s of %s group %q bad %v\n",
				v.ID, v.Name, v.Level, v.Size, v.Status, v.WWN, v.Device, strings.Join(v.Disks, ","), v.group, v.bad)
		}
		for _, w := range c.warnings() {
			fmt.Fprintf(&b, "  ! %s\n", w)
		}
	}
	return b.String()
}

// TestRead: what the tools of several generations tell is understood.
func TestRead(t *testing.T) {
	t.Parallel()
	for _, name := range machines() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fake := hwmtest.New(t, filepath.Join("testdata", name))
			m := New()
			if level, err := m.Evaluate(t.Context(), fake.Host); err != nil || level != hwmanager.Mainline {
				t.Errorf("level %v, error %v", level, err)
			}
			all, err := m.controllers(t.Context(), fake.Host)
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(golden, []byte(describe(all)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), describe(all)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			// And as inspection tells it.
			collected, err := m.Collect(t.Context(), fake.Host)
			if err != nil {
				t.Fatal(err)
			}
			data, err := json.Marshal(collected)
			if err != nil {
				t.Fatal(err)
			}
			var back struct {
				Controllers []struct {
					Disks   []struct{ ID, State string } `json:"physical_disks"`
					Volumes []struct{ WWN string }       `json:"volumes"`
				}
				Warnings []string
			}
			if err := json.Unmarshal(data, &back); err != nil {
				t.Fatal(err)
			}
			if len(back.Controllers) != len(all) || len(back.Controllers[0].Disks) != len(all[0].Disks) || back.Warnings == nil {
				t.Errorf("collected: %s", data)
			}
		})
	}
}

// TestEvaluate: the manager is for machines with a controller and a tool for it.
func TestEvaluate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		host string
		want hwmanager.Support
	}{
		{"tools without controllers", "testdata/none", hwmanager.None},
		{"a controller without tools", "", hwmanager.None},
		{"a controller by its PCI class", "testdata/9361", hwmanager.Mainline},
		{"one that only the tool knows", "testdata/p408i", hwmanager.Mainline},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			fake := hwmtest.New(t, c.host)
			if c.host == "" {
				if err := os.RemoveAll(filepath.Join(fake.Programs, "storcli64")); err != nil {
					t.Fatal(err)
				}
			}
			level, err := New().Evaluate(t.Context(), fake.Host)
			if err != nil || level != c.want {
				t.Errorf("level %v, error %v; want %v", level, err, c.want)
			}
			if c.want == hwmanager.None {
				_, err := New().runClean(t, fake.Host, "delete_configuration", hwmanager.Node{}, nil)
				if err != hwmanager.ErrNotHandled {
					t.Errorf("delete_configuration: %v", err)
				}
			}
		})
	}
	t.Run("a tool that only fails", func(t *testing.T) {
		t.Parallel()
		h, m, _ := modelHost(t, map[string]*modelState{"storcli64": {ReadBad: "Segmentation fault\n"}})
		level, err := m.Evaluate(t.Context(), h)
		if err != nil || level != hwmanager.None {
			t.Errorf("level %v, error %v", level, err)
		}
	})
}

// TestBadAnswers: an answer that is none is an error that says what came, never a
// machine without volumes.
func TestBadAnswers(t *testing.T) {
	t.Parallel()
	good, err := os.ReadFile("testdata/9361/show.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, tool, answer, wrong string
	}{
		{"nothing", "storcli64", "", "exit status 1"},
		{"words", "storcli64", "sh: syntax error, unexpected TOKEN_J\n", "unexpected TOKEN_J"},
		{"cut off", "storcli64", string(good[:len(good)/2]), "exit status 1"},
		{"un-supported", "storcli64", `{"Controllers":[{"Command Status":{"Controller":0,"Status":"Failure","Description":"Un-supported"}}]}`, "Un-supported"},
		{"an error code", "storcli64", `{"Controllers":[{"Command Status":{"Status":"Failure","Description":"None","Detailed Status":[{"Status":"Failed","ErrCd":46,"ErrMsg":"-"}]}}]}`, "error code 46"},
		{"the banner alone", "ssacli", "Smart Storage Administrator CLI 5.30.6.0\nDetecting Controllers...Done.\n", "exit status 1"},
		{"an error", "ssacli", "\nError: This operation is not supported with the current configuration.\n       Use the \"show\" command.\n\n", `not supported with the current configuration. Use the "show" command.`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h, m, _ := modelHost(t, map[string]*modelState{c.tool: {ReadBad: c.answer}})
			if c.answer == "" {
				h.Run = &failing{h.Run, "show"}
				c.wrong = "the tool is gone"
			}
			node := hwmanager.Node{"target_raid_config": configOf(t, `{"raid_level": "1", "size_gb": 1}`)}
			_, err := m.runClean(t, h, "delete_configuration", node, nil)
			if err == nil || !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("error = %v; want %q", err, c.wrong)
			}
		})
	}
	// Success of the program does not make an answer of it.
	for _, answer := range []string{string(good[:len(good)/2]), "{}", `{"Controllers": null}`, "[]", `{"Controllers":[{"Command Status":{}}]}`} {
		s := &storcli{tool{&hwmanager.Host{Run: answers(answer)}, "storcli64"}}
		if n, err := s.count(t.Context()); err == nil {
			t.Errorf("%q: %d controllers", answer, n)
		}
	}
	for _, answer := range []string{"", "HPE Smart Array", "   Slot: 1\n"} {
		s := &ssacli{tool{&hwmanager.Host{Run: answers(answer)}, "ssacli"}}
		if n, err := s.count(t.Context()); err == nil {
			t.Errorf("%q: %d controllers", answer, n)
		}
	}
}

// answers is a runner whose programs all write one text.
type answers string

func (a answers) Run(context.Context, string, ...string) ([]byte, error) { return []byte(a), nil }

func TestParseSize(t *testing.T) {
	for _, c := range []struct {
		text     string
		thousand int64
		want     int64
	}{
		{"558.406 GB", 1024, 599583876972}, {"1.000 TB", 1024, 1 << 40}, {"1 TB", 1000, 1e12}, {"893.137 GiB", 1000, 958998551461}, {"2 TiB", 1000, 2 << 40},
		{"1,745 TB", 1024, 1918647790469}, {"1.234,5 GB", 1000, 1234500000000}, {"1,234.5 GB", 1000, 1234500000000}, {"1,234,567 MB", 1000, 1234567000000},
		{"100GB", 1024, 100 << 30}, {"512B", 1024, 512}, {"0 KB", 1024, 0}, {"480 GB (extra)", 1000, 480e9},
		{"", 1024, -1}, {"GB", 1024, -1}, {"-1 GB", 1024, -1}, {"1 XB", 1024, -1}, {"NaN GB", 1024, -1}, {"Inf GB", 1024, -1}, {"1e400 TB", 1024, -1}, {"99999 PB", 1024, -1}, {"0x10 GB", 1024, -1}, {"12", 1024, -1},
	} {
		got, err := parseSize(c.text, c.thousand)
		if c.want < 0 {
			if err == nil {
				t.Errorf("%q is %d", c.text, got)
			}
			continue
		}
		if err != nil || got != c.want {
			t.Errorf("%q is %d, %v; want %d", c.text, got, err, c.want)
		}
	}
}

func FuzzStorcli(f *testing.F) {
	files, err := filepath.Glob("testdata/*/*.json")
	if err != nil || len(files) == 0 {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		replies, err := parseStorcli(data)
		if err != nil {
			return
		}
		for _, r := range replies {
			_ = r.err()
			c := storcliController(r.data)
			if c == nil {
				continue
			}
			c.detail(r.data)
			c.properties(r.data)
			checkRead(t, c)
		}
	})
}

func FuzzSSACLI(f *testing.F) {
	files, err := filepath.Glob("testdata/*/*.txt")
	if err != nil || len(files) == 0 {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		_ = ssacliError(data)
		all, err := parseSSACLI(data)
		if err != nil {
			return
		}
		if len(all) == 0 {
			t.Error("no controller and no error")
		}
		for _, c := range all {
			checkRead(t, c)
		}
	})
}

// checkRead is what holds of whatever was read, and that plans can be made of it.
func checkRead(t *testing.T, c *Controller) {
	for _, d := range c.Disks {
		if d.Size < 0 || d.Size > maxSize || d.State == "" {
			t.Errorf("disk %+v", d)
		}
	}
	for _, v := range c.Volumes {
		if v.Size < 0 || v.Size > maxSize {
			t.Errorf("volume %+v", v)
		}
	}
	_ = c.warnings()
	for _, name := range []string{"0", "1", "5", "6", "1+0", "5+0", "6+0", "JBOD"} {
		p := &planner{controllers: []*Controller{c}}
		volumes := p.plan([]*logicalDisk{{level: name, share: true}, {level: name, size: 1 << 30}})
		for _, v := range volumes {
			if v.spans < 1 || len(v.disks) == 0 {
				t.Errorf("planned %+v", v)
			}
		}
	}
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(`{"logical_disks": [{"raid_level": "5+0", "size_gb": "MAX", "number_of_physical_disks": 9}, {"controller": "software"}]}`))
	f.Add([]byte(`{"logical_disks": [{"raid_level": "1", "size_gb": 5, "physical_disks": ["252:0", "/c0/e252/s1"], "share_physical_disks": true}]}`))
	f.Add([]byte(`{"logical_disks": 3}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var config map[string]any
		if json.Unmarshal(data, &config) != nil {
			return
		}
		hardware, software := split(config)
		logical, problems := parseConfig(hardware)
		_ = softwareProblems(software, logical)
		c := &Controller{Name: "card", ref: "/c0", rules: rules{maxDisks: 32, maxSpans: 8, nameLength: 15}}
		for slot := range 16 {
			c.Disks = append(c.Disks, &Disk{ID: fmt.Sprintf("252:%d", slot), State: stateGood, Size: 1 << 40, Media: "hdd", Interface: "sas"})
		}
		p := &planner{controllers: []*Controller{c}, problems: problems}
		plan := p.plan(logical)
		if len(p.problems) > 0 {
			return
		}
		if len(plan) != len(logical) {
			t.Fatalf("%d planned of %d, and no problem", len(plan), len(logical))
		}
		used := map[string]*plannedVolume{}
		for _, v := range plan {
			for _, d := range v.disks {
				if other := used[d]; other != nil && !(v.logical.share && other.logical.share) {
					t.Errorf("disk %s is in two volumes", d)
				}
				used[d] = v
			}
		}
	})
}

// TestSameVolume: a volume whose name is not told once is not taken for a new one,
// which would be removed after a failure.
func TestSameVolume(t *testing.T) {
	for _, c := range []struct {
		a, b Volume
		want bool
	}{
		{Volume{ID: "1", WWN: "0x6"}, Volume{ID: "1", WWN: "0x6"}, true},
		{Volume{ID: "1", WWN: "0x6"}, Volume{ID: "1", WWN: "0x7"}, false},
		{Volume{ID: "1", WWN: "0x6"}, Volume{ID: "2", WWN: "0x6"}, false},
		{Volume{ID: "1"}, Volume{ID: "1", WWN: "0x7"}, true},
	} {
		if c.a.same(&c.b) != c.want || c.b.same(&c.a) != c.want {
			t.Errorf("%v and %v: want %v", c.a, c.b, c.want)
		}
	}
}
