package config

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferric/api/ipa"
)

func parse(cmdline string, args ...string) (*Config, []error, error) {
	none := []string{"--etc", "/nonexistent"}
	return Parse(append(none, args...), Sources{Cmdline: func(string) (string, error) { return cmdline, nil }}, io.Discard)
}

func TestSources(t *testing.T) {
	c, warnings, err := parse("quiet ipa-api-url=http://a:6385/,http://b/ ipa-lookup-interval=2.5 BOOTIF=01-aa ipa-listen-port=1 root=/dev/ram0 ipa-insecure=yes",
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
	c, warnings, err := parse("ipa-listen-port=many ipa-debug=perhaps ipa-lookup-timeout=-1 ipa-ip-lookup-timeout=NaN ipa-ironic-api-version=latest ipa-http-request-timeout=0")
	if err != nil {
		t.Fatal(err)
	}
	if len(warnings) != 6 || c.HTTPRequestTimeout != 30*time.Second || c.IronicAPIVersion != "" || c.ListenPort != 9999 || c.Debug || c.LookupTimeout != 600*time.Second || c.IPLookupSleep != 10*time.Second {
		t.Errorf("%d warnings %v, settings %+v; want 6 and the defaults", len(warnings), warnings, c)
	}
}

func TestErrors(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"--listen-port", "many"}, "not an integer"},
		{[]string{"--api-url", "ftp://x"}, "not an http or https URL"},
		{[]string{"--inject-files-priority", "100"}, "not from 0 to 99"},
		{[]string{"--ntp-server", "a b"}, "neither an IP address nor a host name"},
		{[]string{"--listen-port", "65536"}, "not from 0 to 65535"},
		{[]string{"--tls-min-version", "1.1"}, "none of 1.2, 1.3"},
		{[]string{"--no-such-flag"}, "no-such-flag"},
		{[]string{"argument"}, "unexpected argument"},
	} {
		if _, _, err := parse("", test.args...); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: error %v; want %q", test.args, err, test.want)
		}
	}
}

func TestTable(t *testing.T) {
	seen := map[string]bool{"": true}
	parameters := 0
	for _, s := range settings {
		if seen[s.flag()] || s.parameter != "" && seen[s.parameter] {
			t.Errorf("%s %s stands twice in the table", s.parameter, s.flag())
		}
		seen[s.flag()], seen[s.parameter] = true, true
		if s.help == "" {
			t.Errorf("%s has no help", s.flag())
		}
		if strings.HasPrefix(s.parameter, "ipa-") && s.section != "ferric" {
			parameters++
		}
	}
	if parameters != 40 { // agent contract, section "Configuration"
		t.Errorf("%d parameters ipa-*; want the contract's 40", parameters)
	}
}

// write makes a file and its directory.
func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestOrderOfSources has one option per pair of sources, each set by that
// source and all before it.
func TestOrderOfSources(t *testing.T) {
	etc := t.TempDir()
	cmdline := "boot_method=vmedia ipa-listen-port=1 ipa-advertise-port=1 ipa-lookup-timeout=1 ipa-lookup-interval=1 ipa-ip-lookup-attempts=1 ipa-debug=1"
	media := func(c *Config) (string, error) {
		write(t, filepath.Join(c.Etc, MainDir, "ironic.crt"), "PEM")
		write(t, filepath.Join(c.Etc, ExtraDir, "tls.conf"), "[DEFAULT]\ncafile = /etc/ironic-python-agent/ironic.crt\n")
		return "ipa-advertise-port=2 ipa-lookup-timeout=2\nipa-lookup-interval=2 ipa-ip-lookup-attempts=2", nil
	}
	write(t, filepath.Join(etc, MainDir, "main.conf"), "lookup_timeout = 3\nlookup_interval: 3\nip_lookup_attempts=3\ndebug=false\n")
	write(t, filepath.Join(etc, ExtraDir, "more.conf"), "[DEFAULT]\nlookup_interval=4\nip_lookup_attempts=4\n[mdns]\nuse_mdns=on\n")
	write(t, filepath.Join(etc, ExtraDir, "ignored.txt"), "[DEFAULT]\nlookup_interval=99\n")
	c, warnings, err := Parse([]string{"--etc", etc, "--ip-lookup-attempts", "5", "--debug=false"},
		Sources{Cmdline: func(string) (string, error) { return cmdline, nil }, Media: media}, io.Discard)
	if err != nil || len(warnings) > 0 {
		t.Fatal(warnings, err)
	}
	got := []any{c.ListenPort, c.AdvertisePort, c.LookupTimeout, c.LookupInterval, c.IPLookupAttempts, c.Debug, c.UseMDNS, c.CAFile}
	want := []any{1, 2, 3 * time.Second, 4 * time.Second, 5, true, true, "/etc/ironic-python-agent/ironic.crt"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}

func TestFilesNamedOnTheCommandLine(t *testing.T) {
	etc := t.TempDir()
	write(t, filepath.Join(etc, MainDir, "main.conf"), "listen_port=1\n")
	write(t, filepath.Join(etc, "a"), "listen_port=2\nadvertise_port=2\n")
	write(t, filepath.Join(etc, "b"), "advertise_port=3\n")
	write(t, filepath.Join(etc, "dir", "c.conf"), "lookup_timeout=4\n")
	c, warnings, err := parse("", "--etc", etc, "--config-file", filepath.Join(etc, "a"), "--config-file", filepath.Join(etc, "b"),
		"--config-file", filepath.Join(etc, "absent"), "--config-dir", filepath.Join(etc, "dir"))
	if err != nil || len(warnings) != 1 {
		t.Fatal(warnings, err)
	}
	if c.ListenPort != 2 || c.AdvertisePort != 3 || c.LookupTimeout != 4*time.Second {
		t.Errorf("settings %+v; want those of the files named", c)
	}
}

func TestVirtualMediaThatCannotBeRead(t *testing.T) {
	from := func(cmdline string) Sources {
		return Sources{
			Cmdline: func(string) (string, error) { return cmdline, nil },
			Media:   func(*Config) (string, error) { return "", errors.New("no such medium") },
		}
	}
	if _, _, err := Parse([]string{"--etc", "/nonexistent"}, from("boot_method=vmedia"), io.Discard); !ipa.VirtualMediaBoot.Is(err) {
		t.Errorf("without an API URL: %v; want VirtualMediaBootError", err)
	}
	c, warnings, err := Parse([]string{"--etc", "/nonexistent"}, from("boot_method=vmedia ipa-api-url=http://a"), io.Discard)
	if err != nil || len(warnings) != 1 || len(c.APIURLs) != 1 {
		t.Errorf("with an API URL: %v, %v; want one warning", warnings, err)
	}
	if _, warnings, err := Parse([]string{"--etc", "/nonexistent"}, from("boot_method=pxe"), io.Discard); err != nil || len(warnings) > 0 {
		t.Errorf("booted otherwise: %v, %v; want the medium not asked for", warnings, err)
	}
}

func TestFileFormat(t *testing.T) {
	text := "api_url = http://a:6385/,\n  http://b\n" + // continued
		"# a comment\n; another\n" +
		"agent_token = \"with = and blank \"\n" +
		"ignore_bootloader_failure=yes\nno such line\nno_such_option=1\nlisten_port = many\n" +
		"[container]\nrun_options = --rm,--net=none\nrunner=none\n[no_such_section]\nx=1\n" +
		"[ disk_utils\n[disk_utils]\n  efi_system_partition_size: 200\n"
	c, _, err := parse("")
	if err != nil {
		t.Fatal(err)
	}
	problems := errors.Join(c.applyFile(text)...).Error()
	for _, want := range []string{"line 7:", "no option \"no_such_option\"", "listen_port: \"many\"", "runner: \"none\"", "[no_such_section]", "line 15:"} {
		if !strings.Contains(problems, want) {
			t.Errorf("problems %q do not name %q", problems, want)
		}
	}
	got := []any{c.APIURLs, c.AgentToken, *c.IgnoreBootloaderFailure, c.ContainerRunOptions, c.ContainerRunner, c.EFISystemPartitionSize, c.ListenPort}
	want := []any{[]string{"http://a:6385/", "http://b"}, "with = and blank ", true, []string{"--rm", "--net=none"}, "podman", 200, 9999}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}

func TestOverride(t *testing.T) {
	c, _, err := parse("")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		section, option string
		value           any
		want            string // in the error
	}{
		{"container", "run_options", []any{"--mount=type=tmpfs,dst=/x"}, ""},
		{"container", "allow_arbitrary_containers", true, ""},
		{"DEFAULT", "ntp_server", "192.0.2.1", ""},
		{"DEFAULT", "lookup_timeout", 2.5, ""},
		{"DEFAULT", "listen_port", float64(80), ""},
		{"DEFAULT", "ntp_server", "a b", "neither an IP address"},
		{"container", "pull_options", []any{1.0}, "list of texts"},
		{"container", "runner", []any{"podman"}, "a list where one value is wanted"},
		{"container", "runner", nil, "<nil>"},
		{"container", "colour", "red", "there is no option"},
		{"", "sys", "/", "there is no option"},
	} {
		err := c.Override(test.section, test.option, test.value)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s = %v: error %v; want %q", test.option, test.value, err, test.want)
		}
	}
	got := []any{c.ContainerRunOptions, c.AllowArbitraryContainers, c.NTPServer, c.LookupTimeout, c.ListenPort, c.ContainerRunner}
	want := []any{[]string{"--mount=type=tmpfs,dst=/x"}, true, "192.0.2.1", 2500 * time.Millisecond, 80, "podman"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}

func FuzzCmdline(f *testing.F) {
	f.Add("ipa-api-url=http://a ipa-debug=1 quiet")
	f.Add("ipa-lookup-timeout=1e309 ipa-listen-port=99999999999999999999")
	f.Add("= == ipa-debug ipa-api-url")
	f.Add("ipa-ntp-server=a;b ipa-inject-files-priority=100 ipa-ignore-bootloader-failure=")
	f.Fuzz(func(t *testing.T, cmdline string) {
		c, _, err := parse(cmdline)
		if err != nil {
			t.Fatalf("command line %q is fatal: %v", cmdline, err)
		}
		if c.LookupTimeout < 0 || c.ListenPort < 0 || c.ListenPort > maxPort || c.InjectFilesPriority > 99 || strings.ContainsAny(c.NTPServer, " ;/") {
			t.Errorf("cmdline %q gave %+v", cmdline, c)
		}
	})
}

func FuzzINI(f *testing.F) {
	f.Add("[DEFAULT]\ncafile = /x\n  y\n[container]\nrunner: docker\n")
	f.Add("x=\"\"\n =\n[\n]\n[]\n\t\x00=")
	f.Fuzz(func(t *testing.T, text string) {
		options, _ := parseINI(text)
		total := 0
		for _, o := range options {
			total += len(o.option) + len(o.value)
			if o.option == "" || o.section == "" || o.line < 1 {
				t.Errorf("%q gave %+v", text, o)
			}
		}
		if total > 2*len(text) {
			t.Errorf("%d bytes gave %d", len(text), total)
		}
		c := &Config{}
		c.applyFile(text)
	})
}
