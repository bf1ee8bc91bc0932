package agent_test

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/api/ipa"
)

// fakePodman puts a program in front of PATH that notes its arguments, line by
// line, and the credentials it is given; instead of a container it writes a
// partition table with sgdisk. It fails where a file named like its first
// argument lies beside it, and is an older one where "old" does.
func fakePodman(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	script := fmt.Sprintf(`#!/bin/sh
cd %q
echo "podman $*" >>calls
for last; do :; done
for a; do case $a in
--authfile=*) cat "${a#*=}" >>calls; echo >>calls ;;
--root-ssh-authorized-keys=*) cat "${a#*=}" >>calls ;;
esac; done
if [ -e old ]; then case "$*" in *--retry-delay*) echo "Error: unknown flag: --retry-delay" >&2; exit 125; esac; fi
if [ -e "$1" ]; then echo "no such registry" >&2; exit 125; fi
if [ "$1" = run ]; then sgdisk -o -n 1:2048:+24M "$last" >/dev/null; fi
`, dir)
	if err := os.WriteFile(filepath.Join(dir, "podman"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return dir
}

func TestBootc(t *testing.T) {
	h, disk := machine(t)
	if err := os.Truncate(disk, 2<<30); err != nil {
		t.Fatal(err)
	}
	// What bootc is told of the size comes from sysfs.
	agent, etc := serving(t, h, newConductor(t), newProbe())
	request := object{"image_source": "oci://registry.test/os:1", "configdrive": nil, "oci_pull_secret": ""}
	deploy := func(args object, instance object) ipa.Result {
		n := node()
		n["instance_info"] = instance
		return agent.run(t, "deploy.execute_deploy_step", object{"node": n, "ports": []any{}, "step": step("execute_bootc_install", args)})
	}
	t.Setenv("PATH", t.TempDir()) // no programs at all
	if got := deploy(request, nil); got.Status != ipa.StatusFailed || got.Error.Type != "ImageDownloadError" || !strings.Contains(got.Error.Details, "podman is not installed") {
		t.Fatalf("without podman: %s %+v; want ImageDownloadError", got.Status, got.Error)
	}
	t.Setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
	dir := fakePodman(t)
	calls := func() string {
		data, err := os.ReadFile(filepath.Join(dir, "calls"))
		if err != nil {
			t.Fatal(err)
		}
		os.Remove(filepath.Join(dir, "calls"))
		var lines []string
		for line := range strings.Lines(string(data)) {
			fields := strings.Fields(line)
			for i, f := range fields {
				for _, prefix := range []string{"--authfile=", "--root-ssh-authorized-keys="} {
					if path, ok := strings.CutPrefix(f, prefix); ok {
						if _, err := os.Stat(path); err == nil {
							t.Errorf("%s was left behind", path)
						}
						fields[i] = prefix + "FILE"
					}
				}
				switch f {
				case disk:
					fields[i] = "DISK"
				case os.TempDir() + ":" + os.TempDir():
					fields[i] = "TMP:TMP"
				case "--disable-selinux": // as the machine of the test is
					fields[i] = ""
				}
			}
			lines = append(lines, strings.Join(strings.Fields(strings.Join(fields, " ")), " "))
		}
		return strings.Join(lines, "\n")
	}
	secret := base64.StdEncoding.EncodeToString([]byte("dXNlcjpwYXNz"))
	got := agent.run(t, "standby.execute_bootc_install", object{
		"image_source": "oci://registry.test/os:1", "pull_secret": secret,
		"instance_info": object{"bootc_tpm2_luks": "true", "bootc_authorized_keys": "ssh-ed25519 AAAA me\n"},
	})
	want := `{"result":"execute_bootc_install: Container image (oci://registry.test/os:1) written to device /dev/nvme0n1"}`
	if got.Status != ipa.StatusSucceeded || string(got.Result) != want {
		t.Fatalf("%s %+v %s; want %s", got.Status, got.Error, got.Result, want)
	}
	if diff := cmp.Diff(strings.Join([]string{
		"podman pull --authfile=FILE --retry-delay=5s registry.test/os:1",
		`{"auths":{"registry.test":{"auth":"dXNlcjpwYXNz"}}}`,
		"podman run --rm --privileged --pid=host --pull=never -v /var/lib/containers:/var/lib/containers -v /dev:/dev -v TMP:TMP registry.test/os:1" +
			" bootc install to-disk --wipe --skip-fetch-check --root-size=" + rootSize(t, h.Sys) + "M --block-setup=tpm2-luks --root-ssh-authorized-keys=FILE DISK",
		"ssh-ed25519 AAAA me",
	}, "\n"), calls()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	if conf, err := os.ReadFile(filepath.Join(etc, "containers/containers.conf.d/01-ipa.conf")); err != nil || !strings.Contains(string(conf), "no_pivot_root = true") {
		t.Errorf("configuration of podman: %q, %v", conf, err)
	}

	if got := deploy(request, object{}); got.Status != ipa.StatusSucceeded || !strings.Contains(string(got.Result), "written to device /dev/nvme0n1") {
		t.Errorf("as a step: %s %+v %s", got.Status, got.Error, got.Result)
	}
	if got := calls(); !strings.Contains(got, "podman pull --retry-delay=5s registry.test/os:1") || strings.Contains(got, "luks") {
		t.Errorf("as a step without a secret: %s", got)
	}
	if err := os.WriteFile(filepath.Join(dir, "old"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := deploy(request, nil); got.Status != ipa.StatusSucceeded || !strings.Contains(calls(), "podman pull registry.test/os:1") {
		t.Errorf("with an older podman: %s %+v", got.Status, got.Error)
	}
	for file, kind := range map[string]string{"pull": "ImageDownloadError", "run": "ImageWriteError"} {
		path := filepath.Join(dir, file)
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if got := deploy(request, nil); got.Error == nil || got.Error.Type != kind || !strings.Contains(got.Error.Details, "no such registry") {
			t.Errorf("podman %s fails: %+v; want %s and what it says", file, got.Error, kind)
		}
		os.Remove(path)
	}
	for name, args := range map[string]object{
		"a missing argument": {"image_source": "oci://registry.test/os:1"},
		"an option":          {"image_source": "oci://--help", "configdrive": nil, "oci_pull_secret": nil},
		"no base64":          {"image_source": "oci://registry.test/os:1", "configdrive": nil, "oci_pull_secret": "§"},
	} {
		if got := deploy(args, nil); got.Error == nil || got.Error.Type != "InvalidCommandParamsError" {
			t.Errorf("%s: %+v; want InvalidCommandParamsError", name, got.Error)
		}
	}

	disabled, _ := serving(t, h, newConductor(t), newProbe(), "--disable-bootc-deploy")
	if got := disabled.run(t, "standby.execute_bootc_install", object{"image_source": "oci://registry.test/os:1"}); got.Error == nil || got.Error.Type != "CommandExecutionError" || !strings.Contains(got.Error.Details, "disabled") {
		t.Errorf("disabled: %+v; want CommandExecutionError", got.Error)
	}
}

// rootSize is the size in MiB that is left for the root partition of the disk
// of sysfs.
func rootSize(t *testing.T, sys string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(sys, "block/nvme0n1/size"))
	if err != nil {
		t.Fatal(err)
	}
	var sectors int64
	if _, err := fmt.Sscan(string(data), &sectors); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(sectors/2048 - 768)
}
