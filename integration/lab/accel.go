package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// probeTime is how long a guest under KVM may take to boot a kernel. With working KVM it takes about a second.
const probeTime = 10 * time.Second

// chooseAccel returns "kvm" if a guest really boots under it, else "tcg". Nested virtualisation often opens /dev/kvm,
// runs firmware and boot sectors, and then hangs in the kernel, so the probe boots a kernel: without a root it panics,
// and panic=-1 with -no-reboot makes QEMU end. The answer is kept in the rack's directory until the host restarts.
func chooseAccel(ctx context.Context, dir string) (string, error) {
	if unix.Access("/dev/kvm", unix.R_OK|unix.W_OK) != nil {
		return "tcg", nil
	}
	kernels, err := filepath.Glob("/boot/vmlinuz-*")
	if err != nil || len(kernels) == 0 {
		return "tcg", nil
	}
	kernel := kernels[len(kernels)-1]
	if unix.Access(kernel, unix.R_OK) != nil {
		return "tcg", nil // Ubuntu's kernels are for root only
	}
	bootID, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("probe KVM: %w", err)
	}
	cache := filepath.Join(dir, "accel")
	if saved, err := os.ReadFile(cache); err == nil {
		id, accel, _ := strings.Cut(strings.TrimSpace(string(saved)), " ")
		if id == strings.TrimSpace(string(bootID)) && (accel == "tcg" || accel == "kvm") {
			return accel, nil
		}
	}
	probe, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	cmd := exec.CommandContext(probe, "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none",
		"-machine", "q35", "-accel", "kvm", "-cpu", "host", "-m", "256", "-no-reboot", "-kernel", kernel, "-append", "panic=-1")
	accel := "kvm"
	if err := cmd.Run(); err != nil {
		accel = "tcg"
	}
	if ctx.Err() != nil {
		return "", fmt.Errorf("probe KVM: %w", ctx.Err())
	}
	if err := os.WriteFile(cache, []byte(strings.TrimSpace(string(bootID))+" "+accel+"\n"), 0o644); err != nil {
		return "", fmt.Errorf("probe KVM: %w", err)
	}
	return accel, nil
}
