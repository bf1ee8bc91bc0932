package config

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the rendered page")

const page = "../../docs/agent-parameters.md"

// TestPage renders the table of settings.
func TestPage(t *testing.T) {
	var got bytes.Buffer
	got.WriteString("# Parameters of the agent\n\nRendered from `agent/config` by `make generate`; do not edit. Flags are for running the agent outside a ramdisk; they win over the kernel command line.\n\n| kernel parameter | flag | default | meaning |\n|---|---|---|---|\n")
	for _, s := range settings {
		fmt.Fprintf(&got, "| %s | --%s | %s | %s |\n", s.parameter, s.flag, s.def, s.help)
	}
	if *update {
		if err := os.WriteFile(page, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("%s is not what the table says, run `make generate` (-page +table):\n%s", page, diff)
	}
}
