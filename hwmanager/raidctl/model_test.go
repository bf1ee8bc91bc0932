package raidctl

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ferric/hwmanager"
	"ferric/hwmanager/hwmtest"
)

// The models are the tools of imaginary controllers: this test binary, called by
// a tool's name or as if it were, keeps what the controllers have in a file, enforces their rules,
// and answers in the tool's format.

// modelState is what the controllers of a model have.
type modelState struct {
	Controllers []*modelController
	Next        int // for world-wide names
	Changes     int // commands that were to change something, so far
	// FailAt is the change that fails, 0 for none, and FailHow the way: "status"
	// reports it and ends with status 0, "exit" reports it and ends with another,
	// "done" does it before, "cut" does it and cuts the answer off, "silent" reports
	// success without doing it, "other" makes something else.
	FailAt  int
	FailHow string
	Busy    int // changes that are refused first
	Linger  int // looks at a controller for which what was deleted is still shown
	ReadBad string
}

type modelController struct {
	ID                                 int
	Model, Serial, Firmware, PCI, Mode string
	Levels                             string
	JBOD                               bool
	Disks                              []*modelDisk
	Volumes                            []*modelVolume
	Ghosts                             []*modelVolume
}

type modelDisk struct {
	Enclosure, Slot         int // no enclosure is -1
	Port                    string
	State                   string // UGood, Onln, JBOD, GHS, UBad, Foreign, Missing
	Group                   string
	Sectors                 int64 // of 512 bytes
	Interface, Media, Model string
	Serial, WWN, Device     string
	Predictive, MediaErrors int
}

type modelVolume struct {
	ID      int
	Group   string
	Level   string
	Name    string
	Sectors int64
	Disks   []string
	NAA     string
	State   string
	Device  string
}

func (d *modelDisk) id() string {
	switch {
	case d.Port != "":
		return d.Port
	case d.Enclosure < 0:
		return fmt.Sprint(d.Slot)
	}
	return fmt.Sprintf("%d:%d", d.Enclosure, d.Slot)
}

func TestMain(m *testing.M) {
	switch name := filepath.Base(os.Args[0]); name {
	case "storcli64", "perccli64", "storcli2":
		os.Exit(runModel(modelOf(name), os.Args, os.Stdout))
	case "ssacli":
		os.Exit(runModel(modelOf(name), os.Args, os.Stdout))
	}
	os.Exit(m.Run())
}

func modelOf(name string) modelTool {
	if name == "ssacli" {
		return smartModel{}
	}
	return megaModel{second: name == "storcli2", name: name}
}

// models is a runner that has the models answer without a process for each command,
// and runs all other programs.
type models struct{ hwmanager.Exec }

func (m models) Run(ctx context.Context, name string, args ...string) ([]byte, error) {
	if !slices.Contains([]string{"storcli64", "perccli64", "storcli2", "ssacli"}, filepath.Base(name)) {
		return m.Exec.Run(ctx, name, args...)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if status := runModel(modelOf(filepath.Base(name)), append([]string{name}, args...), &out); status != 0 {
		return out.Bytes(), fmt.Errorf("%s: exit status %d", name, status)
	}
	return out.Bytes(), nil
}

// dialect is what a model has of one kind of tools.
type modelTool interface {
	// run does a command; change reports whether it is one that changes
	// something, before it is done.
	change(args []string) bool
	run(s *modelState, args []string) (string, bool)
	refuse(args []string, words string) string
}

func runModel(t modelTool, argv []string, stdout io.Writer) int {
	file := filepath.Join(filepath.Dir(argv[0]), "..", "state-"+filepath.Base(argv[0])+".json")
	data, err := os.ReadFile(file)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 9
	}
	s := &modelState{}
	if err := json.Unmarshal(data, s); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 9
	}
	args := argv[1:]
	out, ok := "", true
	fails := false
	if t.change(args) {
		if s.Busy > 0 {
			s.Busy--
			out, ok = t.refuse(args, "the controller is busy"), false
		} else {
			s.Changes++
			fails = s.Changes == s.FailAt
		}
	}
	switch {
	case !ok:
	case fails && (s.FailHow == "status" || s.FailHow == "exit"):
		out, ok = t.refuse(args, "Configuration failed"), false
	case fails && s.FailHow == "silent":
		before, _ := json.Marshal(s.Controllers)
		out, ok = t.run(s, args)
		s.Controllers = nil
		_ = json.Unmarshal(before, &s.Controllers)
	case fails && s.FailHow == "other":
		out, ok = t.run(s, args)
		for _, c := range s.Controllers {
			for _, v := range c.Volumes {
				v.Sectors /= 2
			}
		}
	default:
		out, ok = t.run(s, args)
	}
	if fails && s.FailHow == "done" {
		out, ok = t.refuse(args, "Configuration failed"), false
	}
	if fails && s.FailHow == "cut" {
		out = out[:len(out)/2]
		ok = false
	}
	if data, err = json.MarshalIndent(s, "", " "); err == nil {
		err = os.WriteFile(file, data, 0o600)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 9
	}
	if _, err := io.WriteString(stdout, out); err != nil {
		return 9
	}
	if !ok && s.FailHow != "status" {
		return 1
	}
	return 0
}

// modelHost is a machine with the tools of models, which answer without processes
// unless Host.Run is replaced.
func modelHost(t *testing.T, tools map[string]*modelState) (*hwmanager.Host, *Manager, string) {
	t.Helper()
	fake, err := hwmtest.Empty()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = fake.Close() })
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, s := range tools {
		// A symbolic link would be one program under several names.
		if err := os.Link(self, filepath.Join(bin, name)); err != nil {
			script := fmt.Sprintf("#!/bin/bash\nexec -a %s %s \"$@\"\n", filepath.Join(bin, name), self)
			if err := os.WriteFile(filepath.Join(bin, name), []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		saveModel(t, dir, name, s)
	}
	h := fake.Host
	h.Programs, h.Run = bin, models{}
	return h, &Manager{patience: 20e6, poll: 1e6}, dir
}

func saveModel(t *testing.T, dir, tool string, s *modelState) {
	t.Helper()
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "state-"+tool+".json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func loadModel(t *testing.T, dir, tool string) *modelState {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "state-"+tool+".json"))
	if err != nil {
		t.Fatal(err)
	}
	s := &modelState{}
	if err := json.Unmarshal(data, s); err != nil {
		t.Fatal(err)
	}
	return s
}

// summary is what a model has, for comparisons.
func (s *modelState) summary() []string {
	var lines []string
	for _, c := range s.Controllers {
		for _, v := range c.Volumes {
			lines = append(lines, fmt.Sprintf("c%d %s raid %s of %s", c.ID, v.Name, v.Level, strings.Join(v.Disks, ",")))
		}
		for _, d := range c.Disks {
			if d.State != "UGood" && d.State != "Onln" {
				lines = append(lines, fmt.Sprintf("c%d disk %s %s", c.ID, d.id(), d.State))
			}
		}
	}
	return lines
}

// Rules that all models have.

// modelLevels are the fewest disks of a level, and what it has of n for data with s
// spans.
func modelData(level string, n, s int) (int, string) {
	switch level {
	case "0":
		return n, ""
	case "1":
		if n < 2 || n%2 != 0 {
			return 0, "RAID 1 needs an even number of drives"
		}
		return n / 2, ""
	case "5":
		if n < 3 {
			return 0, "RAID 5 needs at least 3 drives"
		}
		return n - 1, ""
	case "6":
		if n < 3 {
			return 0, "RAID 6 needs at least 3 drives"
		}
		return n - 2, ""
	case "10":
		if s < 2 || n%s != 0 || n/s%2 != 0 {
			return 0, "operation not possible for current RAID level, Cannot create configuration with 1 span"
		}
		return n / 2, ""
	case "50":
		if s < 2 || n%s != 0 || n/s < 3 {
			return 0, "operation not possible for current RAID level"
		}
		return n - s, ""
	case "60":
		if s < 2 || n%s != 0 || n/s < 3 {
			return 0, "operation not possible for current RAID level"
		}
		return n - 2*s, ""
	}
	return 0, "invalid RAID level"
}

// add makes a volume by the rules of controllers: the disks are free, or all those of
// one group with volumes of the same level; of one type; and there is room.
func (c *modelController) add(s *modelState, level, name string, ids []string, spans int, sectors int64) string {
	var disks []*modelDisk
	for _, id := range ids {
		at := slices.IndexFunc(c.Disks, func(d *modelDisk) bool { return d.id() == id })
		if at < 0 {
			return "Drive " + id + " not found"
		}
		disks = append(disks, c.Disks[at])
	}
	group := disks[0].Group
	smallest := disks[0].Sectors
	for _, d := range disks {
		if d.Group != group || d.State != "UGood" && (d.State != "Onln" || group == "") {
			return "The specified physical disk does not have the appropriate attributes to complete the requested command."
		}
		if d.Media != disks[0].Media {
			return "Mixing of HDD and SSD is not allowed"
		}
		smallest = min(smallest, d.Sectors)
	}
	data, wrong := modelData(level, len(disks), spans)
	if wrong != "" {
		return wrong
	}
	room := smallest * int64(data)
	for _, v := range c.Volumes {
		if v.Group != group || group == "" {
			continue
		}
		if v.Level != level || len(v.Disks) != len(ids) {
			return "The array has volumes of another RAID level"
		}
		room -= v.Sectors
	}
	if sectors == 0 {
		sectors = room
	}
	if sectors > room || sectors <= 0 {
		return "The requested size is not available"
	}
	sectors -= sectors % (512 * int64(data)) // whole strips
	if group == "" {
		used := map[string]bool{}
		for _, d := range c.Disks {
			used[d.Group] = true
		}
		for i := 0; group == "" || used[group]; i++ {
			group = fmt.Sprint(i)
			if disks[0].Port != "" {
				group = string(rune('A' + i))
			}
		}
	}
	id := 0
	if disks[0].Port != "" {
		id = 1
	}
	for slices.ContainsFunc(c.Volumes, func(v *modelVolume) bool { return v.ID == id }) {
		id++
	}
	for _, d := range disks {
		d.State, d.Group = "Onln", group
	}
	s.Next++
	c.Volumes = append(c.Volumes, &modelVolume{
		ID: id, Group: group, Level: level, Name: name, Sectors: sectors, Disks: ids, State: "Optl",
		NAA: fmt.Sprintf("6%07x%08x%016x", 0x00605b0+c.ID, 0x10e94370, 0x2a3372bf00000000+s.Next),
	})
	return ""
}

// drop deletes a volume, and the group with its last one.
func (c *modelController) drop(s *modelState, id int) string {
	at := slices.IndexFunc(c.Volumes, func(v *modelVolume) bool { return v.ID == id })
	if at < 0 {
		return "VD doesn't exist"
	}
	gone := c.Volumes[at]
	c.Volumes = slices.Delete(c.Volumes, at, at+1)
	if s.Linger > 0 {
		c.Ghosts = append(c.Ghosts, gone)
	}
	if slices.ContainsFunc(c.Volumes, func(v *modelVolume) bool { return v.Group == gone.Group }) {
		return ""
	}
	for _, d := range c.Disks {
		if d.Group == gone.Group {
			d.State, d.Group = "UGood", ""
		}
	}
	return ""
}

// shown are the volumes, with those that are still shown for a while.
func (c *modelController) shown(s *modelState) []*modelVolume {
	if len(c.Ghosts) == 0 {
		return c.Volumes
	}
	if s.Linger--; s.Linger < 0 {
		c.Ghosts = nil
	}
	return append(slices.Clone(c.Volumes), c.Ghosts...)
}

// linkModels gives two tools one state.
func linkModels(t *testing.T, dir, tool, other string) {
	t.Helper()
	file := filepath.Join(dir, "state-"+other+".json")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "state-"+tool+".json"), file); err != nil {
		t.Fatal(err)
	}
}

// failing is a runner on which commands with a text fail.
type failing struct {
	hwmanager.Runner
	text string
}

func (f *failing) Run(ctx context.Context, name string, args ...string) ([]byte, error) {
	if strings.Contains(strings.Join(args, " "), f.text) {
		return nil, errors.New("the tool is gone")
	}
	return f.Runner.Run(ctx, name, args...)
}
