package config

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func parse(cmdline string, args ...string) (*Config, []error, error) {
	return Parse(args, func(string) (string, error) { return cmdline, nil }, io.Discard)
}

func TestSources(t *testing.T) {
	c, warnings, err := parse("quiet ipa-api-url=http://a:6385/,http://b/ ipa-lookup-interval=2.5 ipa-debug=1 BOOTIF=01-aa ipa-listen-port=1 root=/dev/ram0 ipa-insecure=yes",
		"--listen-port", "0", "--debug=false", "--insecure")
	if err != nil || len(warnings) > 0 {
		t.Fatal(warnings, err)
	}
	if diff := cmp.Diff([]string{"http://a:6385", "http://b"}, c.APIURLs); diff != "" {
		t.Errorf("API URLs (-want +got):\n%s", diff)
	}
	got := map[string]any{
		"interval": c.LookupInterval, "debug": c.Debug, "bootif": c.BootIF, "port": c.ListenPort, "insecure": c.Insecure,
		"timeout": c.LookupTimeout, "host": c.ListenHost, "tls": c.EnableAutoTLS, "gap": c.ForcedHeartbeatGap,
	}
	want := map[string]any{
		"interval": 2500 * time.Millisecond, "debug": false, "bootif": "01-aa", "port": 0, "insecure": true,
		"timeout": 600 * time.Second, "host": "::", "tls": true, "gap": 5 * time.Second,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}

func TestBadKernelParametersAreWarnings(t *testing.T) {
	c, warnings, err := parse("ipa-listen-port=many ipa-debug=perhaps ipa-lookup-timeout=-1 ipa-ip-lookup-timeout=NaN")
	if err != nil {
		t.Fatal(err)
	}
	if len(warnings) != 4 || c.ListenPort != 9999 || c.Debug || c.LookupTimeout != 600*time.Second || c.IPLookupSleep != 10*time.Second {
		t.Errorf("%d warnings %v, settings %+v; want 4 and the defaults", len(warnings), warnings, c)
	}
}

func TestErrors(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"--listen-port", "many"}, "not an integer"},
		{[]string{"--api-url", "ftp://x"}, "not an http or https URL"},
		{[]string{"--listen-port", "65536"}, "not a port"},
		{[]string{"--tls-min-version", "1.1"}, "neither 1.2 nor 1.3"},
		{[]string{"--no-such-flag"}, "no-such-flag"},
		{[]string{"argument"}, "unexpected argument"},
	} {
		if _, _, err := parse("", test.args...); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: error %v; want %q", test.args, err, test.want)
		}
	}
}

func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range settings {
		if seen[s.flag] || s.parameter != "" && seen[s.parameter] {
			t.Errorf("%s %s stands twice in the table", s.flag, s.parameter)
		}
		seen[s.flag], seen[s.parameter] = true, true
		if s.help == "" {
			t.Errorf("%s has no help", s.flag)
		}
	}
}

func FuzzCmdline(f *testing.F) {
	f.Add("ipa-api-url=http://a ipa-debug=1 quiet")
	f.Add("ipa-lookup-timeout=1e309 ipa-listen-port=99999999999999999999")
	f.Add("= == ipa-debug ipa-api-url")
	f.Fuzz(func(t *testing.T, cmdline string) {
		c, _, err := parse(cmdline)
		if err == nil && (c.LookupTimeout < 0 || c.ListenPort < 0) {
			t.Errorf("cmdline %q gave %+v", cmdline, c)
		}
	})
}
