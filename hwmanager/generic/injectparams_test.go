package generic

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/images/tree"
	"ferric/images/volume"
)

// stepCall is the arguments and the node as JSON has them.
func stepCall(t *testing.T, node, args string) hwmanager.StepCall {
	t.Helper()
	var call hwmanager.StepCall
	for _, part := range []struct {
		text string
		into any
	}{{node, &call.Node}, {args, &call.Args}} {
		decoder := json.NewDecoder(strings.NewReader(part.text))
		decoder.UseNumber()
		if err := decoder.Decode(part.into); err != nil {
			t.Fatal(err)
		}
	}
	call.Ports = []map[string]any{{"address": "52:54:00:12:34:01"}}
	return call
}

// TestInjectionsRefused: everything that is wrong is in one error.
func TestInjectionsRefused(t *testing.T) {
	call := stepCall(t, `{"uuid": "1be26c0b", "name": null, "properties": {"inject_files": [
		{"path": "/etc/a", "content": "YQ==", "contents": "YQ==", "owners": 0},
		"text", {}, {"path": 7, "content": ""}
	]}}`, `{"verify_ca": "no", "files": [
		{"path": "etc/a", "content": "YQ=="}, {"path": "/etc/a/", "content": "YQ=="}, {"path": "/etc/../../a", "content": "YQ=="}, {"path": "/etc/a/.", "content": "YQ=="},
		{"path": "/motd", "content": "YQ=="}, {"path": "//motd", "content": "YQ=="}, {"path": "/etc/a\u0000b", "content": "YQ=="},
		{"path": "/etc/a", "partition": 0, "content": "YQ=="}, {"path": "/etc/a", "partition": "sda1", "content": "YQ=="}, {"path": "/etc/a", "partition": true, "content": "YQ=="},
		{"path": "/etc/a", "partition": 1.5, "content": "YQ=="}, {"path": "/etc/a", "partition": "/dev/../etc/shadow", "content": "YQ=="},
		{"path": "/etc/a"}, {"path": "/etc/a", "content": "not base64!"}, {"path": "/etc/a", "content": 7},
		{"path": "/etc/a", "deleted": true, "content": "YQ=="}, {"path": "/etc/a", "deleted": "true"},
		{"path": "/etc/a", "content": "YQ==", "mode": "0644", "dirmode": 4096, "owner": "root", "group": -2},
		{"path": "/etc/a", "content": "YQ==", "mode": true, "dirmode": 1.5, "owner": 4294967295, "group": 1e30},
		{"path": "/etc/a", "content": "file:///etc/shadow"}, {"path": "/etc/a", "content": "http://{node[secret]}/"}, {"path": "/etc/a", "content": "http://{node.uuid}/"},
		{"path": "/etc/a", "content": "http://{ports[1][address]}/"}, {"path": "/etc/a", "content": "http://{node[properties]}/"}, {"path": "/etc/a", "content": "http://x/{node[uuid]"},
		{"path": "/etc/a", "content": "http://x/}"}, {"path": "/etc/a", "content": "http://u:secret@x:99999999/{node[name]}?secret"}, {"path": "/etc/a", "content": "http:///x?secret"}
	]}`)
	_, _, err := injections(call)
	if !ipa.InvalidCommandParams.Is(err) {
		t.Fatalf("error = %v", err)
	}
	if strings.Contains(err.Error(), "?secret") || strings.Contains(err.Error(), "u:secret") {
		t.Error("the error has a secret of a URL")
	}
	got := strings.ReplaceAll(err.Error(), "; ", ";\n") + "\n"
	const golden = "testdata/inject.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Error(diff)
	}
}

func TestInjectionsOfOtherTypes(t *testing.T) {
	for _, c := range []struct{ node, args, want string }{
		{`{}`, `{"files": {}}`, "files must be a list of objects"},
		{`{"properties": {"inject_files": "x"}}`, `{}`, "properties.inject_files must be a list of objects"},
		{`{"properties": []}`, `{}`, "properties must be an object"},
	} {
		if _, _, err := injections(stepCall(t, c.node, c.args)); !ipa.InvalidCommandParams.Is(err) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v; want %q", c.node, c.args, err, c.want)
		}
	}
}

func TestInjections(t *testing.T) {
	mode, owner, group := uint32(0o4755), 0, 4294967294
	files, verify, err := injections(stepCall(t,
		`{"uuid": "1be26c0b", "maintenance": false, "properties": {"cpus": 4, "inject_files": [{"path": "/etc//./a", "content": "YQ=="}]}}`,
		`{"verify_ca": false, "files": [
			{"path": "/b", "partition": "2", "content": "", "mode": 2541, "dirmode": 2541, "owner": 0, "group": 4294967294},
			{"path": "/etc/c", "partition": "/dev/sda1", "deleted": true, "owner": -1, "mode": null},
			{"path": "/etc/d", "content": "https://x/{node[uuid]}/{{{node[properties][cpus]}}}/{node[maintenance]}/{ports[0][address]}"}
		]}`))
	if err != nil || verify {
		t.Fatal(verify, err)
	}
	want := []injection{
		{path: "/etc/a", content: "YQ=="},
		{path: "/b", number: 2, attributes: tree.Attributes{Mode: &mode, DirMode: &mode, Owner: &owner, Group: &group}},
		{path: "/etc/c", device: "/dev/sda1", deleted: true},
		{path: "/etc/d", url: "https://x/1be26c0b/{4}/False/52:54:00:12:34:01"},
	}
	if diff := cmp.Diff(want, files, cmp.AllowUnexported(injection{})); diff != "" {
		t.Error(diff)
	}
	if files, verify, err := injections(stepCall(t, `{}`, `{"files": null}`)); len(files) > 0 || !verify || err != nil {
		t.Errorf("nothing: %v, %v, %v", files, verify, err)
	}
}

// TestInjectNothing needs no disk.
func TestInjectNothing(t *testing.T) {
	h := lab(t)
	h.Sys = t.TempDir()
	for _, args := range []map[string]any{nil, {"files": []any{}}, {"files": nil, "verify_ca": true}} {
		if result, err := New().injectFiles(t.Context(), h, hwmanager.StepCall{Args: args}); result != nil || err != nil {
			t.Errorf("%v: %v, %v", args, result, err)
		}
	}
	if _, err := New().injectFiles(t.Context(), h, hwmanager.StepCall{Args: map[string]any{"file": 1}}); !ipa.InvalidCommandParams.Is(err) {
		t.Errorf("an unknown argument: %v", err)
	}
	h.Settings.InjectFilesPriority = 73
	for name, steps := range map[string]func() ([]hwmanager.Step, error){
		"deploy":  func() ([]hwmanager.Step, error) { return New().DeploySteps(t.Context(), h, nil) },
		"service": func() ([]hwmanager.Step, error) { return New().ServiceSteps(t.Context(), h, nil) },
	} {
		list, err := steps()
		found := false
		for _, s := range list {
			found = found || s.Declaration.Step == "inject_files" && s.Declaration.Priority == 73 && s.Declaration.Interface == "deploy"
		}
		if err != nil || !found {
			t.Errorf("%s steps have no inject_files of priority 73: %v", name, err)
		}
	}
}

func FuzzContentURL(f *testing.F) {
	for _, seed := range []string{"http://x/{node[uuid]}", "{node[a][b]}://", "http://{{", "https://{ports[0]}/", "http://x/}}{"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		url, err := contentURL(text, hwmanager.Node{"uuid": "1", "a": map[string]any{"b": json.Number("2")}}, nil)
		if err == nil && !strings.HasPrefix(strings.ToLower(url), "http://") && !strings.HasPrefix(strings.ToLower(url), "https://") {
			t.Errorf("%q is %q", text, url)
		}
	})
}

func FuzzParseFstab(f *testing.F) {
	f.Add("UUID=a / ext4\nLABEL=b /var\\040x xfs noauto,x-systemd.automount\n# c /d e\n/dev/sda1 none swap sw 0 0\n")
	f.Fuzz(func(t *testing.T, text string) {
		entries := parseFstab(text)
		if len(entries) > maxFstabEntries {
			t.Errorf("%d entries", len(entries))
		}
		for _, e := range entries {
			if e.dir != filepath.Clean(e.dir) || !filepath.IsAbs(e.dir) || strings.Contains(e.dir, "\x00") || strings.Contains(e.subvolume(), ",") {
				t.Errorf("%+v", e)
			}
		}
	})
}

// TestInjectElsewhere: a device that is named may be another disk, but for those
// that are not to be touched.
func TestInjectElsewhere(t *testing.T) {
	h := lab(t)
	tool(t, "mke2fs", "-q", "-F", "-t", "ext4", h.DevicePath("/dev/sdb"), "64M")
	root := ipa.BlockDevice{Name: "/dev/vda"}
	for _, c := range []struct {
		name, device, skip string
		guard              []string
		kind, wrong        string
	}{
		{name: "another disk", device: "/dev/sdb", kind: volume.Ext4},
		{name: "the root device", device: "/dev/vda"},
		{name: "to be skipped", device: "/dev/sdb", skip: "/dev/sdb", wrong: "skip_block_devices"},
		{name: "another to be skipped", device: "/dev/sdb", skip: "/dev/sda", kind: volume.Ext4},
		{name: "not to be written to", device: "/dev/sdb", guard: []string{h.DevicePath("/dev/vda")}, wrong: "not allowed"},
		{name: "none", device: "/dev/sdx", wrong: "there is no /dev/sdx"},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := h.Guard.Allowed
			defer func() { h.Guard.Allowed = all }()
			if c.guard != nil {
				h.Guard.Allowed = c.guard
			}
			node := hwmanager.Node{}
			if c.skip != "" {
				node["properties"] = map[string]any{"skip_block_devices": []any{map[string]any{"name": c.skip}}}
			}
			in := &injector{m: New(), h: h, node: node, device: root}
			p, err := in.named(t.Context(), injection{device: c.device})
			if (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
				t.Fatalf("error = %v; want %q", err, c.wrong)
			}
			if err == nil && (p.name != c.device || p.info.Kind != c.kind) {
				t.Errorf("%s with %q; want %s with %q", p.name, p.info.Kind, c.device, c.kind)
			}
		})
	}
}
