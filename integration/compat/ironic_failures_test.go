package compat_test

import (
	"context"
	"io"
	"testing"

	"ferric/api/ironic"
)

// cleanUnknownStep asks for a step that no hardware manager has.
func cleanUnknownStep(t *testing.T, p *patient) {
	p.fails(t, ironic.ProvisionRequest{Target: ironic.VerbClean, CleanSteps: []ironic.Step{{Interface: "deploy", Step: "polish_devices"}}},
		ironic.StateCleanFailed, "polish_devices")
	p.manageAgain(t)
}

// cleanUnknownArgument asks for an argument that the step has not got.
func cleanUnknownArgument(t *testing.T, p *patient) {
	p.fails(t, ironic.ProvisionRequest{Target: ironic.VerbClean, CleanSteps: []ironic.Step{
		{Interface: "deploy", Step: "erase_devices_metadata", Args: map[string]any{"gently": true}},
	}}, ironic.StateCleanFailed, "gently")
	p.manageAgain(t)
}

// cleanBadSkipList has the agent find out that the node's list of disks to leave alone is wrong.
func cleanBadSkipList(t *testing.T, p *patient) {
	const path = "/properties/skip_block_devices"
	p.patch(t, ironic.PatchOperation{Op: "add", Path: path, Value: []any{map[string]any{"colour": "blue"}}})
	p.fails(t, ironic.ProvisionRequest{Target: ironic.VerbClean, CleanSteps: []ironic.Step{{Interface: "deploy", Step: "erase_devices_metadata"}}},
		ironic.StateCleanFailed, "skip_block_devices", "colour")
	p.patch(t, ironic.PatchOperation{Op: "remove", Path: path})
	p.manageAgain(t)
}

// manageAgain leads a node out of a failure of cleaning.
func (p *patient) manageAgain(t *testing.T) {
	t.Helper()
	if _, err := p.try(t, ironic.ProvisionRequest{Target: ironic.VerbManage}, ironic.StateManageable); err != nil {
		t.Fatal(err)
	}
	if err := p.API.UnsetMaintenance(t.Context(), p.name); err != nil {
		t.Fatal(err)
	}
}

// deployNoDisk deploys to a disk that the machine does not have.
func deployNoDisk(t *testing.T, p *patient) {
	p.setImage(t, map[string]any{
		"image_source":       p.ImageURL(p.whole.Raw.Path),
		"image_os_hash_algo": "sha256", "image_os_hash_value": p.whole.Raw.SHA256,
		"image_disk_format": "raw", "root_device": map[string]any{"serial": "elsewhere"},
	})
	p.fails(t, ironic.ProvisionRequest{Target: ironic.VerbActive}, ironic.StateDeployFailed, "serial", "elsewhere")
}

// deployWrongChecksum deploys an image of which another checksum is told.
func deployWrongChecksum(t *testing.T, p *patient) {
	p.setImage(t, map[string]any{
		"image_source":       p.ImageURL(p.whole.Raw.Path),
		"image_os_hash_algo": "sha256", "image_os_hash_value": p.whole.QCOW2.SHA256,
		"image_disk_format": "raw",
	})
	p.fails(t, ironic.ProvisionRequest{Target: ironic.VerbActive}, ironic.StateDeployFailed, "Image failed to verify against checksum.", p.whole.QCOW2.SHA256, p.whole.Raw.SHA256)
}

// agentDies kills the agent (SIGKILL) while it writes the image. The ramdisk
// starts it again; Ironic accepts it and learns why the step has failed.
func agentDies(t *testing.T, p *patient) {
	p.setImage(t, map[string]any{
		"image_source":       p.StallingURL(p.whole.Raw.Path),
		"image_os_hash_algo": "sha256", "image_os_hash_value": p.whole.Raw.SHA256,
		"image_disk_format": "raw",
	})
	ctx, cancel := context.WithCancel(t.Context())
	killed := make(chan error, 1)
	go func() {
		select {
		case <-p.Stalled:
			killed <- p.killAgent()
		case <-ctx.Done():
			killed <- ctx.Err()
		}
	}()
	p.fails(t, ironic.ProvisionRequest{Target: ironic.VerbActive}, ironic.StateDeployFailed, "restart")
	cancel()
	if err := <-killed; err != nil {
		t.Error(err)
	}
}

// killAgent types into the debug shell that the ramdisk has on the console
// when Ironic logs for debugging (ipa-debug).
func (p *patient) killAgent() error {
	const kill = `for p in /proc/[0-9]*; do if grep -q ferric-agent $p/comm; then kill -9 ${p#/proc/}; fi; done` + "\r"
	_, err := io.WriteString(p.machine.Console, kill)
	return err
}
