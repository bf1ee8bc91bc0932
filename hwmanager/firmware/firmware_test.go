package firmware

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/hwmanager/hwmtest"
	"ferric/hwmanager/nvme"
	"ferric/hwmanager/nvme/nvmemodel"
)

const (
	class = "12345678-1234-1234-1234-123456789abc"
	other = "87654321-4321-4321-4321-cba987654321"
)

// rig is a machine with models of drives, and a server of images.
type rig struct {
	t       *testing.T
	host    *hwmanager.Host
	manager *Manager
	drives  map[string]*nvmemodel.Drive // by name
	server  *httptest.Server
	images  map[string][]byte
	fetched []string
	opened  int
	ctx     context.Context // of the step; nil for the test's
	warm    bool            // the last reboot was to leave the power on
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, host: hwmtest.Machine(t, "testdata/server.machine"), drives: map[string]*nvmemodel.Drive{}, images: map[string][]byte{}}
	for name, serial := range map[string]string{"nvme0": "A1", "nvme1": "B2"} {
		r.drives[name] = &nvmemodel.Drive{Serial: serial, Firmware: &nvmemodel.Firmware{FRMW: 3 << 1, Active: 1, Slots: [7]string{"FW10"}}}
	}
	r.manager = &Manager{
		open: func(path string) (controller, error) {
			d := r.drives[filepath.Base(path)]
			if d == nil {
				return nil, fmt.Errorf("open %s: no such device", path)
			}
			r.opened++
			return model{d.Transport(0), &r.opened}, nil
		},
		reset: func(_ context.Context, dir string) error {
			r.drives[filepath.Base(dir)].ResetController()
			return nil
		},
	}
	r.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		image, found := r.images[req.URL.Path]
		if !found {
			http.NotFound(w, req)
			return
		}
		if req.Method == http.MethodGet {
			r.fetched = append(r.fetched, req.URL.Path)
		}
		http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(image))
	}))
	t.Cleanup(r.server.Close)
	t.Cleanup(func() {
		if r.opened != 0 {
			t.Errorf("%d controllers are left open", r.opened)
		}
	})
	return r
}

// model is an open controller of a model.
type model struct {
	nvme.Transport
	open *int
}

func (m model) Close() error { *m.open--; return nil }

// nvme and uefi are components with an image on the server.
func (r *rig) nvme(image []byte, more map[string]any) map[string]any {
	return r.component("nvme", image, map[string]any{"model": "model of*", "version": "FW20"}, more)
}

func (r *rig) uefi(image []byte, more map[string]any) map[string]any {
	return r.component("uefi", image, nil, more)
}

func (r *rig) component(kind string, image []byte, usual, more map[string]any) map[string]any {
	path := fmt.Sprintf("/%s-%d", kind, len(r.images))
	r.images[path] = image
	c := map[string]any{"component": kind, "url": r.server.URL + path, "checksum": fmt.Sprintf("sha256:%x", sha256.Sum256(image))}
	for _, extra := range []map[string]any{usual, more} {
		for key, value := range extra {
			c[key] = value
		}
	}
	return c
}

// run runs the step. A reboot that it asks for is returned as the state it left.
func (r *rig) run(resume json.RawMessage, components ...map[string]any) (map[string]any, json.RawMessage, error) {
	r.t.Helper()
	steps, err := r.manager.CleanSteps(r.t.Context(), r.host, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	var list []any
	for _, c := range components {
		list = append(list, c)
	}
	ctx := r.ctx
	if ctx == nil {
		ctx = r.t.Context()
	}
	answer, err := steps[0].Run(ctx, r.host, hwmanager.StepCall{
		Node: hwmanager.Node{}, Args: map[string]any{"components": list}, Resume: resume, Progress: func(ipa.Progress) {},
	})
	var reboot *hwmanager.Reboot
	if errors.As(err, &reboot) {
		r.warm = reboot.Warm
		state, err := json.Marshal(reboot.State)
		if err != nil {
			r.t.Fatal(err)
		}
		return nil, state, nil
	}
	if err != nil {
		return nil, nil, err
	}
	encoded, err := json.Marshal(answer)
	if err != nil {
		r.t.Fatal(err)
	}
	var result map[string]any
	if err := json.Unmarshal(encoded, &result); err != nil {
		r.t.Fatal(err)
	}
	return result, nil, nil
}

// set changes a file of the machine.
func (r *rig) set(path, text string) {
	r.t.Helper()
	full := filepath.Join(filepath.Dir(r.host.Sys), path)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// reboot is another boot, with power cycled drives.
func (r *rig) reboot() {
	r.set("proc/sys/kernel/random/boot_id", "22222222-2222-2222-2222-222222222222\n")
	for _, d := range r.drives {
		d.Reboot()
	}
}

func (r *rig) esrt(version, lastVersion, lastStatus int) {
	for file, n := range map[string]int{"fw_version": version, "last_attempt_version": lastVersion, "last_attempt_status": lastStatus} {
		r.set("sys/firmware/efi/esrt/entries/entry0/"+file, fmt.Sprintln(n))
	}
}

func (r *rig) loaded() []byte {
	b, err := os.ReadFile(filepath.Join(r.host.Dev, "efi_capsule_loader"))
	if err != nil {
		r.t.Fatal(err)
	}
	return b
}

func capsuleFile(t *testing.T, name string) []byte {
	b, err := os.ReadFile(filepath.Join("../capsule/testdata", name+".cap"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func fails(t *testing.T, err error, want ...string) {
	t.Helper()
	for _, w := range want {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("error %v\nwant %q", err, w)
		}
	}
}

// TestDrives: all drives of the model get the image, fetched once; run again, the
// step finds them updated and changes nothing.
func TestDrives(t *testing.T) {
	r := newRig(t)
	image := nvmemodel.Image("FW20", 64<<10)
	c := r.nvme(image, nil)
	got, _, err := r.run(nil, c)
	if err != nil {
		t.Fatal(err)
	}
	want := []any{
		map[string]any{"component": "nvme", "name": "nvme0", "model": "Model of a drive", "serial_number": "A1", "initial_version": "FW10", "current_version": "FW20", "last_version_flashed": "FW20", "slot": 2.0},
		map[string]any{"component": "nvme", "name": "nvme1", "model": "Model of a drive", "serial_number": "B2", "initial_version": "FW10", "current_version": "FW20", "last_version_flashed": "FW20", "slot": 2.0},
	}
	if diff := cmp.Diff(want, got["components"]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got["message"] != "firmware: nvme nvme0 from FW10 to FW20; nvme nvme1 from FW10 to FW20" || len(r.fetched) != 1 {
		t.Errorf("%v, fetched %v", got["message"], r.fetched)
	}
	got, _, err = r.run(nil, c)
	if err != nil || got["message"] != "firmware: nvme nvme0 is at FW20 already; nvme nvme1 is at FW20 already" || len(r.fetched) != 1 {
		t.Errorf("again: %v, %v, fetched %v", got, err, r.fetched)
	}
	for name, d := range r.drives {
		if len(d.Commits()) != 1 {
			t.Errorf("%s: commits %x", name, d.Commits())
		}
	}
}

// TestNothingIsFlashed: what is wrong with any component is found before the first
// is flashed, and told of all of them.
func TestNothingIsFlashed(t *testing.T) {
	t.Parallel()
	good := nvmemodel.Image("FW20", 8<<10)
	for name, tc := range map[string]struct {
		prepare    func(r *rig)
		components func(r *rig) []map[string]any
		err        []string
	}{
		"digest": {
			components: func(r *rig) []map[string]any {
				return []map[string]any{r.nvme(good, nil), r.uefi([]byte("x"), map[string]any{"checksum": "sha256:" + strings.Repeat("0", 64)})}
			},
			err: []string{"nothing was changed", "components[1] (uefi)", "sha256 of http"},
		},
		"not there": {
			components: func(r *rig) []map[string]any {
				return []map[string]any{r.nvme(good, nil), r.nvme(good, map[string]any{"model": "Another drive", "url": r.server.URL + "/nothing"})}
			},
			prepare: func(r *rig) {
				r.drives["nvme10"] = &nvmemodel.Drive{Serial: "D4", Firmware: &nvmemodel.Firmware{FRMW: 2, Active: 1, Slots: [7]string{"OLD1"}}}
			},
			err: []string{"components[1] (nvme): nvme10 (Another drive, serial D4): it says that it is Model of a drive, serial D4"},
		},
		"no drive": {
			components: func(r *rig) []map[string]any {
				return []map[string]any{r.nvme(good, map[string]any{"model": "ACME*"}), r.nvme(good, map[string]any{"serial": "Z9"}), r.nvme(good, map[string]any{"device": "/dev/nvme2"})}
			},
			err: []string{`components[0] (nvme): no NVMe drive has model "ACME*": there are nvme0 (Model of a drive, serial A1), nvme1 (Model of a drive, serial B2), nvme10 (Another drive, serial D4)`,
				`components[1] (nvme): no NVMe drive has model "model of*", serial "Z9"`, `components[2] (nvme)`},
		},
		"mounted": {
			prepare: func(r *rig) {
				r.set("proc/self/mountinfo", "30 1 9:0 / /mnt/data rw - ext4 /dev/md0 rw\n")
			},
			components: func(r *rig) []map[string]any { return []map[string]any{r.nvme(good, nil)} },
			err:        []string{"nvme0 (Model of a drive, serial A1): it is in use: md0 is mounted at /mnt/data"},
		},
		"swap": {
			prepare: func(r *rig) {
				r.set("proc/swaps", "Filename Type Size Used Priority\n/dev/nvme1n1 partition 1 0 -2\n")
			},
			components: func(r *rig) []map[string]any { return []map[string]any{r.nvme(good, nil)} },
			err:        []string{"nvme1 (Model of a drive, serial B2): it is in use: nvme1n1 is swapped to"},
		},
		"shared": {
			prepare: func(r *rig) {
				r.drives["nvme0"].CMIC, r.drives["nvme0"].Controllers = nvme.CMICControllers, []uint16{1, 2}
			},
			components: func(r *rig) []map[string]any { return []map[string]any{r.nvme(good, nil)} },
			err:        []string{"the drive has 2 controllers, of which this machine has 1: another machine may be using it (allow_shared takes the risk)"},
		},
		"guarded": {
			prepare:    func(r *rig) { r.host.Guard = hwmanager.DeviceGuard{} },
			components: func(r *rig) []map[string]any { return []map[string]any{r.nvme(good, nil)} },
			err:        []string{"not running in a ramdisk"},
		},
		"no commands": {
			prepare:    func(r *rig) { r.drives["nvme1"].Firmware = nil },
			components: func(r *rig) []map[string]any { return []map[string]any{r.nvme(good, nil)} },
			err:        []string{"nvme1 (Model of a drive, serial B2): the drive has no commands for new firmware"},
		},
		"archive": {
			components: func(r *rig) []map[string]any {
				return []map[string]any{r.nvme(append([]byte("PK\x03\x04"), make([]byte, 8188)...), nil)}
			},
			err: []string{"the image is an archive, no firmware of an NVMe drive"},
		},
		"capsule for a drive": {
			components: func(r *rig) []map[string]any { return []map[string]any{r.nvme(capsuleFile(r.t, "plain"), nil)} },
			err:        []string{"the image is a UEFI capsule"},
		},
		"odd size": {
			components: func(r *rig) []map[string]any { return []map[string]any{r.nvme(good[:8001], nil)} },
			err:        []string{"not whole double words"},
		},
		"twice": {
			components: func(r *rig) []map[string]any {
				return []map[string]any{r.nvme(good, nil), r.nvme(good, map[string]any{"serial": "A1"})}
			},
			err: []string{"components[1] (nvme): nvme0 (Model of a drive, serial A1) is to get firmware twice"},
		},
		"capsule for others": {
			prepare: func(r *rig) {
				r.set("sys/firmware/efi/esrt/entries/entry0/fw_class", strings.Replace(class, "1", "2", 1))
			},
			components: func(r *rig) []map[string]any {
				return []map[string]any{r.nvme(good, nil), r.uefi(capsuleFile(r.t, "plain"), nil)}
			},
			err: []string{"the capsule has firmware for " + class + ", which this machine does not have: there are 22345678", other + " (device firmware, version 5 (0x5))"},
		},
		"no table": {
			prepare:    func(r *rig) { os.RemoveAll(filepath.Join(r.host.Sys, "firmware")) },
			components: func(r *rig) []map[string]any { return []map[string]any{r.uefi(capsuleFile(r.t, "plain"), nil)} },
			err:        []string{"no EFI System Resource Table"},
		},
		"cabinet": {
			components: func(r *rig) []map[string]any {
				return []map[string]any{r.uefi(append([]byte("MSCF"), make([]byte, 99)...), nil)}
			},
			err: []string{"not a valid UEFI capsule: it is a cabinet archive"},
		},
		"another class": {
			components: func(r *rig) []map[string]any {
				return []map[string]any{r.uefi(capsuleFile(r.t, "plain"), map[string]any{"guid": other})}
			},
			err: []string{"the capsule is for " + class + ", not for " + other},
		},
		"another version": {
			components: func(r *rig) []map[string]any {
				return []map[string]any{r.uefi(capsuleFile(r.t, "plain"), map[string]any{"version": "0x20004"})}
			},
			err: []string{"the capsule has version 131075 (0x20003), not 131076 (0x20004)"},
		},
		"below the lowest": {
			prepare: func(r *rig) {
				r.set("sys/firmware/efi/esrt/entries/entry0/lowest_supported_fw_version", "131076\n")
			},
			components: func(r *rig) []map[string]any { return []map[string]any{r.uefi(capsuleFile(r.t, "plain"), nil)} },
			err:        []string{"the capsule has version 131075 (0x20003), which is older than 131076 (0x20004), the oldest that"},
		},
		"downgrade": {
			prepare:    func(r *rig) { r.esrt(131080, 0, 0) },
			components: func(r *rig) []map[string]any { return []map[string]any{r.uefi(capsuleFile(r.t, "plain"), nil)} },
			err:        []string{"give version if that is meant"},
		},
		"dependencies": {
			prepare: func(r *rig) { r.set("sys/firmware/efi/esrt/entries/entry1/fw_version", "4\n") },
			components: func(r *rig) []map[string]any {
				return []map[string]any{r.uefi(capsuleFile(r.t, "signed"), map[string]any{"guid": class})}
			},
			err: []string{"depends on firmware of other versions"},
		},
		"two payloads": {
			components: func(r *rig) []map[string]any { return []map[string]any{r.uefi(capsuleFile(r.t, "signed"), nil)} },
			err:        []string{"give guid, that of the one whose version is to be verified"},
		},
		"no driver": {
			prepare:    func(r *rig) { os.Remove(filepath.Join(r.host.Dev, "efi_capsule_loader")) },
			components: func(r *rig) []map[string]any { return []map[string]any{r.uefi(capsuleFile(r.t, "plain"), nil)} },
			err:        []string{"the kernel has no capsule-loader", "the firmware does not look for capsules on disk"},
		},
		"on disk, cannot": {
			components: func(r *rig) []map[string]any {
				return []map[string]any{r.uefi(capsuleFile(r.t, "plain"), map[string]any{"delivery": "disk"})}
			},
			err: []string{"the capsule cannot be delivered on disk: the firmware does not look for capsules on disk"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			if tc.prepare != nil {
				tc.prepare(r)
			}
			_, state, err := r.run(nil, tc.components(r)...)
			fails(t, err, append(tc.err, "nothing was changed")...)
			if state != nil || !ipa.CommandExecution.Is(err) {
				t.Errorf("state %s, %v", state, err)
			}
			for name, d := range r.drives {
				if d.Firmware != nil && (d.Sent() != 0 || d.Resets() != 0) {
					t.Errorf("%s was written to", name)
				}
			}
			if _, err := os.Stat(filepath.Join(r.host.Dev, "efi_capsule_loader")); err == nil && len(r.loaded()) != 0 {
				t.Error("a capsule was handed over")
			}
			if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "ferric-download-*")); len(left) > 0 && os.Getenv("CI") == "" {
				t.Logf("downloads of somebody: %v", left)
			}
		})
	}
}

// TestShared: the operator may take the risk; both controllers of a drive of this
// machine are no risk.
func TestShared(t *testing.T) {
	r := newRig(t)
	r.drives["nvme0"].CMIC, r.drives["nvme0"].Controllers = nvme.CMICControllers, []uint16{1, 2}
	image := nvmemodel.Image("FW20", 8<<10)
	if _, _, err := r.run(nil, r.nvme(image, map[string]any{"serial": "A1", "allow_shared": true})); err != nil {
		t.Error(err)
	}
	r = newRig(t)
	r.drives["nvme0"].CMIC, r.drives["nvme0"].Controllers = nvme.CMICControllers, []uint16{1, 2}
	r.set("sys/class/nvme/nvme1/serial", "A1\n")
	r.set("sys/class/nvme/nvme1/subsysnqn", "nqn.2026-11.example:a1\n")
	got, _, err := r.run(nil, r.nvme(image, nil))
	if err != nil || len(got["components"].([]any)) != 1 || r.drives["nvme1"].Resets() != 1 || len(r.drives["nvme1"].Commits()) != 0 {
		t.Errorf("%v, %v", got, err)
	}
}

// TestStopsAtTheFirst: a drive that refuses keeps the others from being flashed,
// and the error says how far it came.
func TestStopsAtTheFirst(t *testing.T) {
	r := newRig(t)
	r.drives["nvme1"].Firmware.Prohibited = []string{"FW20"}
	_, _, err := r.run(nil, r.nvme(nvmemodel.Image("FW20", 8<<10), nil), r.uefi(capsuleFile(t, "plain"), nil))
	fails(t, err, "update_firmware: nvme1 (Model of a drive, serial B2): the drive goes on with its former firmware", "firmware activation prohibited",
		"done before: nvme nvme0 from FW10 to FW20", "not begun: "+class)
	if len(r.loaded()) != 0 {
		t.Error("the capsule was handed over")
	}
}

// TestRebootForDrives: what a reset does not activate the reboot does; the drive
// may have another name then.
func TestRebootForDrives(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		after func(r *rig)
		err   string
	}{
		"activated": {after: func(r *rig) { r.reboot() }},
		"renamed": {after: func(r *rig) {
			r.reboot()
			r.drives["nvme0"], r.drives["nvme1"] = r.drives["nvme1"], r.drives["nvme0"]
			r.set("sys/class/nvme/nvme0/serial", "B2\n")
			r.set("sys/class/nvme/nvme1/serial", "A1\n")
		}},
		"not rebooted": {after: func(r *rig) {}, err: "the machine was not rebooted: nvme0 waits for FW20"},
		"not activated": {after: func(r *rig) {
			r.set("proc/sys/kernel/random/boot_id", "2\n")
		}, err: "nvme nvme0: it still runs FW10, though it holds FW20: some drives run new firmware only after their power was off"},
		"gone": {after: func(r *rig) {
			r.reboot()
			os.RemoveAll(filepath.Join(r.host.Sys, "class/nvme/nvme0"))
			ctx, cancel := context.WithTimeoutCause(r.t.Context(), time.Second, errors.New("nobody waits any longer"))
			r.t.Cleanup(cancel)
			r.ctx = ctx
		}, err: "nvme nvme0: nobody waits any longer"},
		"late": {after: func(r *rig) {
			r.reboot()
			dir := filepath.Join(r.host.Sys, "class/nvme/nvme0")
			if err := os.Rename(dir, dir+".later"); err != nil {
				r.t.Fatal(err)
			}
			time.AfterFunc(time.Second, func() { os.Rename(dir+".later", dir) })
		}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.drives["nvme0"].Firmware.Needs = nvme.NeedsConventionalReset
			c := r.nvme(nvmemodel.Image("FW20", 8<<10), nil)
			_, state, err := r.run(nil, c)
			if err != nil || state == nil || r.warm {
				t.Fatal(state, r.warm, err)
			}
			if got := r.drives["nvme0"].Running(); got != "FW10" {
				t.Errorf("it runs %s", got)
			}
			tc.after(r)
			got, again, err := r.run(state, c)
			if tc.err != "" {
				fails(t, err, tc.err)
				return
			}
			if err != nil || again != nil {
				t.Fatal(again, err)
			}
			if text := fmt.Sprint(got["message"]); !strings.Contains(text, "from FW10 to FW20; nvme nvme") || len(r.fetched) != 1 {
				t.Errorf("%s, fetched %v", text, r.fetched)
			}
			// A conductor that does not resume runs it again.
			if got, _, err = r.run(nil, c); err != nil || !strings.Contains(fmt.Sprint(got["message"]), "is at FW20 already") {
				t.Errorf("again: %v, %v", got, err)
			}
		})
	}
}

// TestCapsule: handed over before the reboot, and verified after it.
func TestCapsule(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		after func(r *rig)
		err   string
		notes string
	}{
		"taken": {after: func(r *rig) { r.esrt(0x20003, 0x20003, 0) }},
		"taken, and told": {after: func(r *rig) {
			r.esrt(0x20003, 0x20003, 0)
			b := make([]byte, 4+48)
			b[4] = 48
			copy(b[12:], []byte{0x78, 0x56, 0x34, 0x12, 0x34, 0x12, 0x34, 0x12, 0x12, 0x34, 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc})
			r.set("sys/firmware/efi/efivars/Capsule0000-39b68c46-f7fb-441b-b6ec-16b0f69821f3", string(b))
		}, notes: "Capsule0000: success"},
		"refused":        {after: func(r *rig) { r.esrt(0x20000, 0x20003, 5) }, err: "the firmware has not taken version 131075 (0x20003): authentication error: the signature is missing or not one that the machine trusts; it has 131072 (0x20000)"},
		"lost":           {after: func(r *rig) {}, err: "the firmware has not seen the capsule, and has version 131072 (0x20000): it lay in memory, which a power cycle loses"},
		"something else": {after: func(r *rig) { r.esrt(0x20001, 0x20001, 0) }, err: "shows version 131073 (0x20001), not 131075 (0x20003)"},
		"no longer": {after: func(r *rig) {
			os.RemoveAll(filepath.Join(r.host.Sys, "firmware/efi/esrt/entries/entry0"))
		}, err: "does not list it any more"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			plain := capsuleFile(t, "plain")
			c := r.uefi(plain, nil)
			drives := r.nvme(nvmemodel.Image("FW20", 8<<10), nil)
			_, state, err := r.run(nil, drives, c)
			if err != nil || state == nil || !r.warm {
				t.Fatal(state, r.warm, err)
			}
			if got := r.loaded(); len(got) != len(plain) || got[22] != 1 || !bytes.Equal(got[28:], plain[28:]) {
				t.Errorf("the firmware got %x", got)
			}
			r.reboot()
			tc.after(r)
			got, again, err := r.run(state, drives, c)
			if tc.err != "" {
				fails(t, err, "update_firmware: uefi "+class+": ", tc.err, "done before: nvme nvme0 from FW10 to FW20, nvme nvme1 from FW10 to FW20")
				return
			}
			if err != nil || again != nil {
				t.Fatal(again, err)
			}
			if text := fmt.Sprint(got["message"]); !strings.Contains(text, "uefi "+class+" from 131072 to 131075") || !strings.Contains(fmt.Sprint(got["components"]), tc.notes) {
				t.Errorf("%v", got)
			}
			if got, _, err = r.run(nil, drives, c); err != nil || !strings.Contains(fmt.Sprint(got["message"]), "uefi "+class+" is at 131075 already") {
				t.Errorf("again: %v, %v", got, err)
			}
		})
	}
}

// TestBothReboots: a capsule in memory and a drive that wants its power off have a
// reboot each, the capsule's first.
func TestBothReboots(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.drives["nvme0"].Firmware.Needs = nvme.NeedsSubsystemReset
	components := []map[string]any{r.nvme(nvmemodel.Image("FW20", 8<<10), map[string]any{"device": "nvme0"}), r.uefi(capsuleFile(t, "plain"), nil)}
	_, state, err := r.run(nil, components...)
	if err != nil || state == nil || !r.warm {
		t.Fatalf("%s, warm %v, %v; want a warm reboot", state, r.warm, err)
	}
	r.set("proc/sys/kernel/random/boot_id", "11111111-1111-1111-1111-111111111112\n")
	r.esrt(0x20003, 0x20003, 0)
	_, state, err = r.run(state, components...)
	if err != nil || state == nil || r.warm {
		t.Fatalf("%s, warm %v, %v; want a reboot that is not warm", state, r.warm, err)
	}
	if _, _, err := r.run(state, components...); err == nil || !strings.Contains(err.Error(), "the machine was not rebooted: nvme0 waits for FW20") {
		t.Errorf("without the second reboot: %v", err)
	}
	r.reboot()
	got, again, err := r.run(state, components...)
	if err != nil || again != nil {
		t.Fatal(again, err)
	}
	if text := fmt.Sprint(got["message"]); !strings.Contains(text, "from FW10 to FW20") || !strings.Contains(text, "uefi "+class+" from 131072 to 131075") {
		t.Error(text)
	}
}
