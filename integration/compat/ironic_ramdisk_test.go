package compat_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"ferric/api/ironic"
	"ferric/integration/lab"
)

const rescuePassword = "correct-horse-battery"

// rescue boots the ramdisk beside the deployed system. With the password, whoever
// mends it gets a shell by SSH; with another one nobody does.
func rescue(t *testing.T, p *patient) {
	p.verb(t, ironic.ProvisionRequest{Target: ironic.VerbRescue, RescuePassword: rescuePassword}, ironic.StateRescue)
	client := p.login(t)
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	out, err := session.CombinedOutput("cat /proc/uptime && ls /sys/class/block")
	if err != nil {
		t.Fatalf("a command by SSH: %v: %s", err, out)
	}
	if disk := map[lab.DiskKind]string{lab.NVMe: "nvme0n1", lab.Virtio: "vda"}[p.machine.Config.Disks[0].Kind]; !strings.Contains(string(out), disk) {
		t.Errorf("the rescue system shows %q; want the disk %s in it", out, disk)
	}
}

// login logs in by SSH as the user whom Ironic's documentation of rescue tells of.
func (p *patient) login(t *testing.T) *ssh.Client {
	t.Helper()
	addresses, err := p.Addresses(p.machine.Config.MAC)
	if err != nil || len(addresses) != 1 {
		t.Fatalf("addresses of the machine: %q, %v; want one", addresses, err)
	}
	dial := func(password string) (*ssh.Client, error) {
		return ssh.Dial("tcp", net.JoinHostPort(addresses[0], "22"), &ssh.ClientConfig{
			User: "rescue", Auth: []ssh.AuthMethod{ssh.Password(password)},
			HostKeyCallback: ssh.InsecureIgnoreHostKey(), // made by this boot of the ramdisk
			Timeout:         loginLimit,
		})
	}
	// The ramdisk takes over from the agent in the moments after Ironic has
	// what it wanted.
	for deadline := time.Now().Add(loginLimit); ; time.Sleep(time.Second) {
		client, err := dial(rescuePassword)
		if err != nil && time.Now().Before(deadline) {
			continue
		}
		if err != nil {
			t.Fatalf("log in with the password: %v", err)
		}
		if other, err := dial(rescuePassword + "!"); err == nil {
			other.Close()
			t.Error("another password logs in, too")
		}
		return client
	}
}

// loginLimit is until the rescue system lets in.
const loginLimit = 90 * time.Second

// unrescue goes back to the deployed system.
func unrescue(t *testing.T, p *patient) {
	line := p.machine.Console.Mark()
	p.verb(t, ironic.ProvisionRequest{Target: ironic.VerbUnrescue}, ironic.StateActive)
	p.booted(t, line)
}

// service has the deployed system replaced by a step of servicing, and booted.
func service(t *testing.T, p *patient) {
	p.configDrive() // the other names that the system gets
	line := p.machine.Console.Mark()
	p.verb(t, ironic.ProvisionRequest{Target: ironic.VerbService, ServiceSteps: []ironic.Step{{
		Interface: "deploy", Step: "write_image", Args: map[string]any{
			"image_info": map[string]any{
				"id": "service", "urls": []string{p.ImageURL(p.whole.Raw.Path)}, "disk_format": "raw",
				"os_hash_algo": "sha256", "os_hash_value": p.whole.Raw.SHA256, "stream_raw_images": true,
			},
			"configdrive": volume(t, configDrive(t, p.hostname, p.nonce)),
		},
	}}}, ironic.StateActive)
	p.booted(t, line)
}

// volume makes the volume of a config drive's directory, as a client does.
func volume(t *testing.T, dir string) string {
	t.Helper()
	iso, err := exec.CommandContext(t.Context(), "genisoimage", "-quiet", "-V", "config-2", "-J", "-r", dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, err = w.Write(iso)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(packed.Bytes())
}
