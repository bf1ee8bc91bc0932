package compat_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"ferric/integration/lab"
	"ferric/integration/osimage"
	"ferric/integration/stories"
)

// Of a machine: three boots, of less than a minute each on a quiet host
// (lab notes, section 3), and how long one change of state may take, in seconds.
const (
	lifeLimit   = 12 * time.Minute
	vmPatience  = 300
	bootedLimit = 4 * time.Minute
)

// TestMachine takes a machine with BIOS and a BMC from bare to deployed and
// back with the client alone.
func TestMachine(t *testing.T) {
	site, image := openSite(t)
	machine := site.Nodes[0]
	bmc := machine.Config.BMC
	n := &node{
		cli:  newCLI(t, fmt.Sprintf("http://%s:%d", lab.Address, lab.APIPort)),
		name: machine.Config.Name, driver: "ipmi", mac: machine.Config.MAC, patience: vmPatience, waits: true,
		driverInfo: []string{"ipmi_address=" + bmc.Address, "ipmi_username=" + bmc.User, "ipmi_password=" + bmc.Password},
	}
	begin := time.Now() // the lock is held
	n.enrol()
	n.verb("manage", "manageable", "power off")
	for _, power := range []string{"on", "off"} {
		n.do("node", "power", power, n.name, "--power-timeout", "60")
		n.rests("manageable", "power "+power)
		if on := machine.Powered(); on != (power == "on") {
			t.Fatalf("the client shows power %s, the machine is on: %v", power, on)
		}
	}
	// ipmi_sim marks the flags that it is asked for as not valid, so the client
	// shows no device; the machine's selector tells.
	n.do("node", "boot", "device", "set", n.name, "pxe")
	if got := machine.Selector(); got != lab.SelectPXE {
		t.Errorf("the BMC boots from %q; want %q", got, lab.SelectPXE)
	}
	var supported struct {
		Devices string `json:"supported_boot_devices"`
	}
	n.ask(&supported, "node", "boot", "device", "show", n.name, "--supported")
	if want := "bios, cdrom, disk, pxe, safe"; supported.Devices != want {
		t.Errorf("supported boot devices are %q; want %q", supported.Devices, want)
	}
	n.verb("provide", "available", "power off")
	n.validate("deploy")
	n.refused("Missing are: ['image_source']", "node", "deploy", n.name)
	n.setImage("image_source="+site.ImageURL(image.QCOW2), "image_disk_format=qcow2",
		"image_os_hash_algo=sha256", "image_os_hash_value="+image.QCOW2.SHA256)
	n.validate()

	nonce := rand.Text()
	line := machine.Console.Mark()
	n.verb("deploy", "active", "power on", "--config-drive", configDrive(t, "deployed-by-cli", nonce))
	ctx, cancel := context.WithTimeout(t.Context(), bootedLimit)
	defer cancel()
	for _, want := range []string{"hostname=deployed-by-cli", "nonce=" + nonce, "disk-serial=" + machine.Config.Disks[0].Serial, "firmware=bios"} {
		if _, err := machine.Console.WaitFor(ctx, line, regexp.MustCompile(`ferric-os: `+regexp.QuoteMeta(want)+`\s*$`)); err != nil {
			t.Fatalf("the deployed system: %v", err)
		}
	}
	t.Logf("the deployed system is up %.0f s after the first command", time.Since(begin).Seconds())

	n.undeploy()
	if machine.Powered() {
		t.Error("the machine is on after undeploy")
	}
	n.delete()
	if took := time.Since(begin); took > lifeLimit {
		t.Errorf("all took %s; want at most %s", took, lifeLimit)
	}
}

// configDrive writes the directory of a config drive, of which the client
// makes the volume (with genisoimage).
func configDrive(t *testing.T, hostname, nonce string) string {
	t.Helper()
	dir := t.TempDir()
	latest := filepath.Join(dir, "openstack", "latest")
	if err := os.MkdirAll(latest, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"meta_data.json": fmt.Sprintf(`{"uuid": "5b1f8a0e-6f0c-4d6c-9c1e-2f8d6f1c7a10", "hostname": %q}`, hostname),
		"user_data":      osimage.UserData(nonce, false),
	} {
		if err := os.WriteFile(filepath.Join(latest, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// openSite starts a rack of one machine with a conductor. Other virtual
// machines of this host wait meanwhile.
func openSite(t *testing.T) (*stories.Site, *osimage.Image) {
	t.Helper()
	bin, ramdisk, images := os.Getenv("FERRIC_BIN"), os.Getenv("FERRIC_RAMDISK"), os.Getenv("FERRIC_IMAGES")
	if bin == "" || ramdisk == "" || images == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("FERRIC_BIN, FERRIC_RAMDISK and FERRIC_IMAGES are not set; run `make test`")
		}
		t.Skip("needs the programs, the ramdisk and a place for images; run `make test`")
	}
	image, err := osimage.Build(t.Context(), osimage.Options{CacheDir: images})
	if err != nil {
		t.Fatal(err)
	}
	lab.Alone(t)
	// The sockets of a rack need a short path.
	dir, err := os.MkdirTemp("", "rack")
	if err != nil {
		t.Fatal(err)
	}
	rack, err := lab.Up(t.Context(), lab.Config{Dir: dir, Accel: "tcg", Nodes: []lab.NodeConfig{{Name: "machine", Firmware: lab.BIOS}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := rack.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			tail(t, filepath.Join(dir, "conductor.log"))
			tail(t, rack.Nodes[0].Console.Path())
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	site, err := stories.Open(t.Context(), rack, stories.Options{Ferric: filepath.Join(bin, "ferric"), RamdiskDir: ramdisk, Image: image})
	if err != nil {
		t.Fatal(err)
	}
	return site, image
}

// tail logs the end of a file.
func tail(t *testing.T, path string) {
	t.Helper()
	const most = 6000
	text, err := os.ReadFile(path)
	if err != nil {
		t.Log(err)
		return
	}
	t.Logf("%s ends with:\n%s", filepath.Base(path), text[max(0, len(text)-most):])
}
