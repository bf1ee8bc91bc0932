package conversation_test

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ferric/api/ipa"
	"ferric/integration/conversation"
	"ferric/integration/lab"
)

// eraseDisks has a machine with a disk of each kind erase them all at once: each in
// the best way that it has. What is left is looked at from outside.
func eraseDisks(t *testing.T) {
	const mebibytes = 128
	dir := t.TempDir()
	disks := []lab.Disk{{Kind: lab.Virtio}, {Kind: lab.SCSI, Sector: 4096}, {Kind: lab.SATA, SSD: true}, {Kind: lab.NVMe}}
	secret := []byte(strings.Repeat("what a tenant left behind ", 200)[:4096])
	for i := range disks {
		disks[i].SizeMiB, disks[i].File = mebibytes, filepath.Join(dir, string(disks[i].Kind))
		f, err := os.Create(disks[i].File)
		must(t, err)
		for at := int64(0); at < mebibytes<<20; at += 1 << 20 {
			_, err := f.WriteAt(secret, at)
			must(t, err)
		}
		must(t, f.Truncate(mebibytes<<20))
		must(t, f.Close())
	}
	ctx, s := open(t, conversation.SiteOptions{Release: conversation.Ironic29(), Params: "ipa-debug=1 ipa-disk-wait-attempts=0", Node: lab.NodeConfig{MemoryMiB: 512, Disks: disks}})
	s.Node["driver_internal_info"].(map[string]any)["disk_erasure_concurrency"] = 4
	boot(t, ctx, s)
	_, err := s.Steps(ctx, conversation.Clean)
	must(t, err)
	ended, err := s.Step(ctx, conversation.Clean, step("erase_devices"))
	must(t, err)
	var result struct {
		Devices map[string]ipa.DeviceErase `json:"clean_result"`
	}
	must(t, json.Unmarshal(ended.Result, &result))
	if len(result.Devices) != len(disks) {
		t.Errorf("the step tells of %d disks; want %d", len(result.Devices), len(disks))
	}
	for name, d := range result.Devices {
		last := d.Attempts[len(d.Attempts)-1]
		var ways []string
		for _, a := range d.Attempts {
			ways = append(ways, a.Method+" "+a.Outcome)
		}
		t.Logf("%s %s in %.1f s: %s (%s), %+v", name, d.Outcome, d.End.Sub(d.Start).Seconds(), strings.Join(ways, ", "), last.Detail, last.Verified)
		want := []string{ipa.MethodOverwrite + " " + ipa.EraseDone}
		switch {
		case strings.HasPrefix(name, "/dev/nvme"): // of this emulation
			want = []string{ipa.MethodNVMe + " " + ipa.EraseDone}
		case strings.HasPrefix(name, "/dev/sd"):
			want = append([]string{ipa.MethodATA + " " + ipa.EraseUnsupported, ipa.MethodSCSI + " " + ipa.EraseUnsupported}, want...)
		}
		if d.Outcome != ipa.EraseDone || !slices.Equal(ways, want) || last.Verified == nil || last.Verified.Samples != 64 || last.Verified.Wrong != 0 || !last.Verified.Direct {
			t.Errorf("%s: %q, %+v; want %q", name, ways, d, want)
		}
	}
	for _, d := range disks {
		f, err := os.Open(d.File)
		must(t, err)
		content, err := io.ReadAll(f)
		must(t, err)
		must(t, f.Close())
		if strings.Contains(string(content), string(secret)) {
			t.Errorf("the %s disk still holds what was there", d.Kind)
		}
	}
}
