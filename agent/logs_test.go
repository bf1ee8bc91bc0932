package agent_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"ferric/hwmanager"
)

// TestNativeLogs has no program at all: everything comes from the kernel.
func TestNativeLogs(t *testing.T) {
	h, _ := machine(t)
	for path, content := range map[string]string{
		filepath.Join(h.Proc, "mounts"):        "rootfs / rootfs rw 0 0\n",
		filepath.Join(h.Proc, "mdstat"):        "Personalities : [raid1]\n",
		filepath.Join(h.Proc, "cmdline"):       "quiet ipa-agent-token=" + agentToken + "\n",
		filepath.Join(h.Proc, "42/status"):     "Name:\tsleepy\nState:\tS (sleeping)\nPPid:\t1\nVmRSS:\t  120 kB\n",
		filepath.Join(h.Proc, "42/cmdline"):    "sleep\x0060\x00swordfish\x00",
		filepath.Join(h.Proc, "43/status"):     "Name:\tkthreadd\nState:\tI (idle)\nPPid:\t0\n",
		filepath.Join(h.Sys, efivars("Order")): "\x07\x00\x00\x00\x01\x00",
		filepath.Join(h.Sys, efivars("0001")):  "\x07\x00\x00\x00\x01\x00\x00\x00\x04\x00d\x00e\x00b\x00\x00\x00rest",
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", t.TempDir())
	agent, _ := serving(t, h, newConductor(t), newProbe(), "--image-server-password", "swordfish")
	resp, err := agent.client.Get(agent.url + "/ferric/v1/logs?agent_token=" + agentToken)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	packed, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	members := unpack(t, packed)
	for name, text := range members {
		if strings.Contains(text, agentToken) || strings.Contains(text, "swordfish") {
			t.Errorf("%s shows the token or a password", name)
		}
	}
	for name, want := range map[string]string{
		"journal":          "server listening",
		"ferric-agent.log": "server listening",
		"dmesg":            "",
		"inventory":        "LAB-NVME-1",
		"df":               "rootfs\t",
		"efibootmgr":       "Boot0001: \"deb\"\nBootOrder: 0001\n",
		"ip_addr":          ": lo: <",
		"lsblk":            "nvme0n1\t",
		"mdstat":           "raid1",
		"mount":            "rootfs / rootfs rw",
		"ps":               "42\t1\tS\t120\tsleep 60",
		"proc/cmdline":     "ipa-agent-token=***",
	} {
		if got, there := members[name]; !there || !strings.Contains(got, want) {
			t.Errorf("member %s (there: %v) is %.300q; want %q in it", name, there, got, want)
		}
	}
	if !strings.Contains(members["ps"], "[kthreadd]") {
		t.Errorf("ps: %s; want a process without a command line", members["ps"])
	}
}

// brokenLogs is a manager that cannot tell its logs.
type brokenLogs struct{ *probe }

func (brokenLogs) Logs(_ context.Context, _ *hwmanager.Host, add func(string, io.Reader) error) error {
	reader := io.MultiReader(strings.NewReader("half of it"), iotest.ErrReader(errors.New("the controller has gone")))
	return errors.Join(add("controller", reader), errors.New("there is another one"))
}

// TestLogsInParts: of a long journal the end is kept, and what fails does not
// take the rest with it.
func TestLogsInParts(t *testing.T) {
	h, _ := machine(t)
	programs := t.TempDir()
	script := "#!/bin/sh\nhead -c 3000000 /dev/zero | tr '\\0' x\necho the end\n"
	if err := os.WriteFile(filepath.Join(programs, "journalctl"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", programs+":"+os.Getenv("PATH"))
	agent, _ := serving(t, h, newConductor(t), brokenLogs{newProbe()})
	resp, err := agent.client.Get(agent.url + "/ferric/v1/logs?agent_token=" + agentToken)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	packed, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s, %v: %s", resp.Status, err, packed)
	}
	members := unpack(t, packed)
	if journal := members["journal"]; len(journal) != 1<<20 || !strings.HasSuffix(journal, "xthe end\n") {
		t.Errorf("%d bytes of the journal, at last %q; want 1 MiB and the end", len(journal), journal[max(0, len(journal)-20):])
	}
	for name, want := range map[string]string{
		"controller":        "half of it\nthe controller has gone\n",
		"hardware-managers": "there is another one",
		"ferric-agent.log":  "server listening",
	} {
		if !strings.Contains(members[name], want) {
			t.Errorf("member %s is %.300q; want %q in it", name, members[name], want)
		}
	}
}

// efivars is the path of a boot variable below sysfs.
func efivars(name string) string {
	return "firmware/efi/efivars/Boot" + name + "-8be4df61-93ca-11d2-aa0d-00e098032b8c"
}

// unpack reads an archive of logs.
func unpack(t *testing.T, packed []byte) map[string]string {
	t.Helper()
	unzipped, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	members := map[string]string{}
	for archive := tar.NewReader(unzipped); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return members
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		members[header.Name] = string(data)
	}
}
