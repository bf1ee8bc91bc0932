package conductor

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type testConfig struct {
	Host   string `ini:"DEFAULT.host"`
	Nested struct {
		Timeout  time.Duration     `ini:"conductor.deploy_callback_timeout"`
		Retries  int               `ini:"conductor.retries"`
		Priority *int              `ini:"deploy.erase_devices_priority"`
		Types    []string          `ini:"DEFAULT.enabled_hardware_types"`
		Suites   []int             `ini:"ipmi.cipher_suite_versions"`
		ByArch   map[string]string `ini:"pxe.by_arch"`
		Clean    bool              `ini:"conductor.automated_clean"`
	}
}

func TestApply(t *testing.T) {
	const text = `
# a comment
host = rack-1
enabled_hardware_types = ipmi,
    fake-hardware
[conductor]
deploy_callback_timeout = 1.5
automated_clean=no
unheard_of = 1
[ipmi]
cipher_suite_versions = 17, 3
[deploy]
erase_devices_priority = 0
[pxe]
by_arch = x86_64:a.efi,aarch64:b.efi
`
	options, err := parseINI(strings.NewReader(text), "")
	if err != nil {
		t.Fatal(err)
	}
	var got testConfig
	got.Nested.Clean, got.Nested.Retries = true, 7
	warnings, err := apply(&got, options)
	if err != nil {
		t.Fatal(err)
	}
	zero := 0
	var want testConfig
	want.Host = "rack-1"
	want.Nested.Timeout = 1500 * time.Millisecond
	want.Nested.Retries = 7
	want.Nested.Priority = &zero
	want.Nested.Types = []string{"ipmi", "fake-hardware"}
	want.Nested.Suites = []int{17, 3}
	want.Nested.ByArch = map[string]string{"x86_64": "a.efi", "aarch64": "b.efi"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"line 9: unknown option [conductor]unheard_of is ignored"}, warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
	// What is printed reads back as the same.
	var printed bytes.Buffer
	if err := WriteINI(&printed, &got); err != nil {
		t.Fatal(err)
	}
	options, err = parseINI(&printed, "")
	if err != nil {
		t.Fatal(err)
	}
	var again testConfig
	if _, err := apply(&again, options); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got, again); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
}

func TestBadINI(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"no value", "host", `line 1: "host" is not of the form name = value`},
		{"section", "[conductor", `line 1: malformed section "[conductor"`},
		{"continuation", "  x", "line 1: continuation of no value"},
		{"number", "[conductor]\nretries = many", `line 2: [conductor]retries: "many" is not a whole number`},
		{"bool", "[conductor]\nautomated_clean = perhaps", `line 2: [conductor]automated_clean: "perhaps" is not a boolean`},
		{"seconds", "[conductor]\ndeploy_callback_timeout = -1", `line 2: [conductor]deploy_callback_timeout: "-1" is not a number of seconds`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			options, err := parseINI(strings.NewReader(tt.text), "")
			if err == nil {
				_, err = apply(&testConfig{}, options)
			}
			if err == nil || err.Error() != tt.want {
				t.Errorf("error %v; want %s", err, tt.want)
			}
		})
	}
}

func FuzzINI(f *testing.F) {
	f.Add("[a]\nb = c\n  d\n#e")
	f.Fuzz(func(t *testing.T, text string) {
		options, err := parseINI(strings.NewReader(text), "")
		if err == nil {
			_, _ = apply(&testConfig{}, options)
		}
	})
}

// TestPrintedConfigLoads: what --print-config prints is a configuration.
func TestPrintedConfigLoads(t *testing.T) {
	cfg := DefaultConfig()
	var printed bytes.Buffer
	if err := WriteINI(&printed, &cfg); err != nil {
		t.Fatal(err)
	}
	options, err := parseINI(&printed, "")
	if err != nil {
		t.Fatal(err)
	}
	again := DefaultConfig()
	warnings, err := apply(&again, options)
	if err != nil || len(warnings) != 0 {
		t.Errorf("warnings %q, %v", warnings, err)
	}
}
