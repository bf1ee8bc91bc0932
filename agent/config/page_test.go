package config

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the rendered page")

const page = "../../docs/agent-parameters.md"

// TestPage renders the table of settings.
func TestPage(t *testing.T) {
	var got bytes.Buffer
	got.WriteString(`# Parameters of the agent

Rendered from the table in ` + "`agent/config`" + ` by ` + "`make generate`" + `; do not edit.

Later sources win: the default; the kernel parameter; the same words in the file parameters.txt of virtual media (with boot_method=vmedia); the
option in /etc/ironic-python-agent/*.conf and /etc/ironic-python-agent.d/*.conf, in the format of oslo.config; the flag; a multicast DNS answer
(options of [mdns] allowed_overrides only); the answer to the lookup. ipa-debug wins over files and flags. What cannot be used or is unknown is
a warning in the log, and the former value stands. Only for tests, and without a section: where the kernel's file systems and the state are.

| kernel parameter | section | option | flag | default | meaning |
|---|---|---|---|---|---|
`)
	for _, s := range settings {
		option := s.option
		if s.section == "" {
			option = ""
		}
		fmt.Fprintf(&got, "| %s | %s | %s | --%s | %s | %s |\n", s.parameter, s.section, option, s.flag(), strings.ReplaceAll(s.def, "|", "\\|"), s.help)
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
