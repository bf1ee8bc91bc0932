package agent_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"ferric/api/ipa"
)

// TestLargestConfigDrive deploys with a config drive of 64 MiB that does not
// compress, on the settings of a machine of 512 MiB. The command has it as a
// string, and another copy is its text while the command is decoded, or the
// volume while that is written.
func TestLargestConfigDrive(t *testing.T) {
	const size = 64 << 20
	volume := make([]byte, size)
	rand.NewChaCha8([32]byte{2}).Read(volume)
	var packed bytes.Buffer
	z, _ := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
	z.Write(volume)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	drive := base64.StdEncoding.EncodeToString(packed.Bytes())

	content, digest := image(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}))
	defer server.Close()
	h, disk := machine(t)
	c := newConductor(t)
	t.Setenv("GOMEMLIMIT", "170MiB") // a third of the memory, as power.go sets it
	p := start(t, h, c, t.TempDir())
	agent := callerOf(t, c.beat(t))
	idle := peak(t, p)

	info := object{"id": "img-1", "urls": []string{server.URL + "/image"}, "disk_format": "raw", "os_hash_algo": "sha256", "os_hash_value": digest}
	for range 2 { // what one leaves behind must not add to what the next takes
		result := agent.run(t, "deploy.execute_deploy_step", object{"node": node(), "ports": []any{}, "step": step("write_image", object{"image_info": info, "configdrive": drive})})
		if result.Status != ipa.StatusSucceeded {
			t.Fatalf("write_image: %s %v", result.Status, result.Error)
		}
		c.beat(t)
	}
	used := peak(t, p) - idle
	t.Logf("idle %d MiB, %d MiB more for %d MiB of text", idle>>20, used>>20, len(drive)>>20)
	if limit := 5 * len(drive) / 2; used > limit {
		t.Errorf("it took %d MiB of memory; want at most %d", used>>20, limit>>20)
	}
	checkDrive(t, disk, volume)
}

// peak is the largest resident memory of the agent in bytes.
func peak(t *testing.T, p *process) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "VmHWM:")
	number, _, _ := strings.Cut(strings.TrimSpace(after), " ")
	kib, err := strconv.Atoi(number)
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

// checkDrive compares the last partition of the disk with the volume.
func checkDrive(t *testing.T, disk string, volume []byte) {
	t.Helper()
	out, err := exec.Command("sgdisk", "-i", "2", disk).CombinedOutput()
	_, after, found := strings.Cut(string(out), "First sector: ")
	number, _, _ := strings.Cut(after, " ")
	first, numberErr := strconv.ParseInt(number, 10, 64)
	if err != nil || !found || numberErr != nil {
		t.Fatalf("sgdisk -i 2: %v\n%s", err, out)
	}
	f, err := os.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(f, first*512, int64(len(volume)))); err != nil {
		t.Fatal(err)
	}
	if want := sha256.Sum256(volume); !bytes.Equal(sum.Sum(nil), want[:]) {
		t.Error("the partition does not hold the config drive")
	}
}
