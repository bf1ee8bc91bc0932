package stories_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ferric/api/ironic"
	"ferric/integration/lab"
	"ferric/integration/osimage"
	"ferric/integration/stories"
)

// extended builds a ramdisk with what the arguments add, whose paths are those in
// ferric's source.
func extended(t *testing.T, args ...string) (dir string) {
	t.Helper()
	ferric, _, _ := built(t)
	dir = t.TempDir()
	build := exec.Command(ferric, append([]string{"ramdisk", "build", "--profile", "virtual", "--output", dir}, args...)...)
	build.Dir = filepath.Join("..", "..")
	began := time.Now()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("ferric ramdisk build: %v\n%s", err, out)
	}
	t.Logf("%.1f s: the ramdisk is built", time.Since(began).Seconds())
	return dir
}

// TestFirmware takes the example for vendors, built into a ramdisk with the card's
// program, from version 1.0.0 of the card to 1.1.0, with an image from the image
// server and a reboot in between; and has a drive that takes no firmware refuse it.
func TestFirmware(t *testing.T) {
	if os.Getenv("FERRIC_FULL") == "" { // make test-full
		return
	}
	ramdisk := extended(t, "--with", "./hwmanager/example/acmenic", "--tool", "integration/stories/testdata/acmenic")
	config := small()
	config.Disks = append(config.Disks, lab.Disk{Kind: lab.NVMe, SizeMiB: 64, Serial: "CARD", Data: true})
	site, image := open(t, config, osimage.Options{}, stories.Options{RamdiskDir: ramdisk})
	card, err := os.OpenFile(site.Nodes[0].Config.Disks[1].File, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := card.WriteString("1.0.0 1.0.0 -\n"); err != nil {
		t.Fatal(err)
	}
	if err := card.Close(); err != nil {
		t.Fatal(err)
	}
	url, checksum := serve(t, site, image, "ACMENIC 1.1.0\n")
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	m := enrolSmall(ctx, t, site, image)

	began := time.Now()
	args := map[string]any{"url": url, "checksum": checksum, "version": "1.1.0"}
	update := ironic.ProvisionRequest{Target: ironic.VerbClean, CleanSteps: []ironic.Step{{Interface: "deploy", Step: "update_acme_nic", Args: args}}}
	if err := m.Provision(ctx, update, ironic.StateManageable); err != nil {
		t.Fatal(err)
	}
	t.Logf("%.1f s: updated", time.Since(began).Seconds())
	events, err := site.API.Events(ctx, m.Name)
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, e := range events {
		if e.Kind == "step" {
			told = append(told, strings.TrimPrefix(e.Detail, "clean step deploy.update_acme_nic "))
		}
	}
	if got := strings.Join(told, ", "); got != "started, asked for a reboot (1 of 5), started, done" {
		t.Errorf("the events of steps are %q", got)
	}
	flash := make([]byte, 12)
	if card, err = os.Open(card.Name()); err == nil {
		_, err = card.Read(flash)
		card.Close()
	}
	if err != nil || string(flash) != "1.0.0 1.1.0 " {
		t.Errorf("the card has %q (%v)", flash, err)
	}

	// QEMU's drives have the command to activate firmware, and take none.
	began = time.Now()
	args = map[string]any{"components": []any{map[string]any{"component": "nvme", "model": "QEMU NVMe*", "version": "FW20", "url": url, "checksum": checksum}}}
	flashDrive := ironic.ProvisionRequest{Target: ironic.VerbClean, CleanSteps: []ironic.Step{{Interface: "deploy", Step: "update_firmware", Args: args}}}
	if err := m.Provision(ctx, flashDrive, ironic.StateCleanFailed); err != nil {
		t.Fatal(err)
	}
	n, err := site.API.Node(ctx, m.Name)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%.1f s: refused: %v", time.Since(began).Seconds(), *n.LastError)
	if want := "update_firmware: nothing was changed: components[0] (nvme): "; !strings.Contains(*n.LastError, want) {
		t.Errorf("last_error is %q; want %q in it", *n.LastError, want)
	}

	began = time.Now()
	if err := m.Provision(ctx, ironic.ProvisionRequest{Target: ironic.VerbManage}, ironic.StateManageable); err != nil {
		t.Fatal(err)
	}
	if _, err := site.API.UpdateNode(ctx, m.Name, ironic.Patch{{Op: "add", Path: "/inspect_interface", Value: "agent"}}); err != nil {
		t.Fatal(err)
	}
	if err := m.Provision(ctx, ironic.ProvisionRequest{Target: ironic.VerbInspect}, ironic.StateManageable); err != nil {
		t.Fatal(err)
	}
	var found struct {
		Data struct {
			Firmware struct {
				Components []struct {
					Component, Name, Model string
					Serial                 string `json:"serial_number"`
					Current                string `json:"current_version"`
				}
			}
		} `json:"plugin_data"`
	}
	if err := site.API.Do(ctx, "GET", "/v1/nodes/"+m.Name+"/inventory", nil, nil, &found); err != nil {
		t.Fatal(err)
	}
	t.Logf("%.1f s: inspected: %+v", time.Since(began).Seconds(), found.Data.Firmware.Components)
	drive := false
	for _, c := range found.Data.Firmware.Components {
		drive = drive || c.Component == "nvme" && c.Serial == "CARD" && c.Current != ""
	}
	if !drive {
		t.Errorf("the inspection has not the drive's firmware: %+v", found.Data.Firmware)
	}
}

// serve has the image server offer a file with text.
func serve(t *testing.T, site *stories.Site, image *osimage.Image, text string) (url, checksum string) {
	t.Helper()
	file, err := os.CreateTemp(filepath.Dir(image.Raw.Path), "firmware-*.bin")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(file.Name()) })
	if _, err := file.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := file.Chmod(0o644); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	return site.ImageURL(osimage.File{Path: file.Name()}), fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(text)))
}
