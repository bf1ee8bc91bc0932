package conductor

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestTrimProgram: pages go, and the program runs on.
func TestTrimProgram(t *testing.T) {
	before := residentFiles(t)
	if err := trimProgram(); err != nil {
		t.Fatal(err)
	}
	if after := residentFiles(t); after >= before {
		t.Errorf("%d KiB of files are resident; before: %d", after, before)
	}
}

func residentFiles(t *testing.T) (kib int) {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "RssFile:")
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		t.Fatal(err)
	}
	return kib
}
