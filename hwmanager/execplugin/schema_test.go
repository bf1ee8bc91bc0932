package execplugin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"ferric/api/ipa"
	"ferric/api/plugin"
	"ferric/hwmanager"
)

var update = flag.Bool("update", false, "write the tables of docs/plugin-protocol.md")

const page = "../../docs/plugin-protocol.md"

// schemaOf compiles a part of the schema.
func schemaOf(t *testing.T, part string) *jsonschema.Schema {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	check(t, err)
	compiler := jsonschema.NewCompiler()
	check(t, compiler.AddResource("urn:plugin", document))
	compiled, err := compiler.Compile("urn:plugin#/$defs/" + part)
	check(t, err)
	return compiled
}

func valid(t *testing.T, part string, text []byte) error {
	t.Helper()
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	return schemaOf(t, part).Validate(instance)
}

// recorder is a plugin that keeps each request and answers with what lies in a
// file of the method's name.
const recorder = `#!/bin/sh
cat >"$FERRIC_PLUGIN_DIR/$1.request"
cat "$FERRIC_PLUGIN_DIR/$1.answer"
`

// traffic has a question for each method, and results that are right and wrong.
type traffic struct {
	ask   func(context.Context, *Plugin, *hwmanager.Host) error
	right []string
	wrong []string
}

func questions() map[string]traffic {
	node, disk := hwmanager.Node{"uuid": "1"}, ipa.BlockDevice{Name: "/dev/sda"}
	noErase := func(hwmanager.EraseProgress) {}
	steps := traffic{
		right: []string{`[]`, `[{"step":"a","interface":"raid"}]`,
			`[{"step":"a","interface":"raid","priority":10,"reboot_requested":true,"abortable":true,"restartable":false,"requires_ramdisk":null,"later":1,
			"argsinfo":{"x":{"description":"d","required":true,"type":"integer","default":1,"enum":[1,2],"minimum":0,"maximum":9,"pattern":"later"},"y":{}}}]`,
			`[{"step":"a","interface":"raid","argsinfo":null}]`},
		wrong: []string{`null`, `{}`, `"a"`, `[{"interface":"raid"}]`, `[{"step":"a"}]`, `[{"step":"","interface":"raid"}]`, `[{"step":"a","interface":"raid","priority":-1}]`,
			`[{"step":"a","interface":"raid","priority":"1"}]`, `[{"step":"a","interface":"raid","argsinfo":{"x":{"type":"int"}}}]`, `[{"step":"a","interface":"raid","argsinfo":{"":{}}}]`,
			`[{"step":"a","interface":"raid","argsinfo":[]}]`, `[{"step":"a","interface":"raid","abortable":1}]`, `[{"step":"a","interface":"raid","priority":1.5}]`},
	}
	with := func(t traffic, ask func(context.Context, *Plugin, *hwmanager.Host) error) traffic {
		t.ask = ask
		return t
	}
	block := `{"name":"/dev/sda","model":null,"size":1000,"rotational":false,"serial":"x","logical_sectors":512}`
	card := `{"name":"eth0","mac_address":"52:54:00:00:00:01","has_carrier":true,"speed_mbps":1000,"vendor":null}`
	image := traffic{
		right: []string{`{"text":"image written","device":"/dev/sda","root_uuid":"1","efi_system_partition_uuid":"2","prep_boot_partition_uuid":"","partitions":{"root":"/dev/sda1"}}`, `{"text":"x","device":"/dev/sda"}`},
		wrong: []string{`null`, `{}`, `"written"`, `{"text":"x"}`, `{"text":"x","device":1}`, `{"text":"x","device":"/dev/sda","partitions":["a"]}`},
	}
	anything := []string{`null`, `true`, `{"a":[1]}`}
	return map[string]traffic{
		"evaluate_hardware_support": {func(ctx context.Context, p *Plugin, h *hwmanager.Host) error {
			_, err := p.Evaluate(ctx, h)
			return err
		},
			[]string{`3`, `0`, `-1`, `3.0`}, []string{`null`, `"3"`, `1.5`, `true`, `{}`, `1e300`}},
		"initialize": {func(ctx context.Context, p *Plugin, h *hwmanager.Host) error { return p.Initialize(ctx, h) }, anything, nil},
		"get_clean_steps": with(steps, func(ctx context.Context, p *Plugin, h *hwmanager.Host) error {
			_, err := p.CleanSteps(ctx, h, node)
			return err
		}),
		"get_deploy_steps": with(steps, func(ctx context.Context, p *Plugin, h *hwmanager.Host) error {
			_, err := p.DeploySteps(ctx, h, node)
			return err
		}),
		"get_service_steps": with(steps, func(ctx context.Context, p *Plugin, h *hwmanager.Host) error {
			_, err := p.ServiceSteps(ctx, h, nil)
			return err
		}),
		"execute_step": {func(ctx context.Context, p *Plugin, h *hwmanager.Host) error {
			_, err := p.runner(hwmanager.Clean, declaration{Step: "a"})(ctx, h, hwmanager.StepCall{Node: node, Resume: json.RawMessage(`{"to":"1.2"}`)})
			return err
		}, anything, nil},
		"list_hardware_info": {func(ctx context.Context, p *Plugin, h *hwmanager.Host) error {
			_, err := p.Inventory(ctx, h)
			return err
		},
			[]string{`{}`, `{"interfaces":[` + card + `],"cpu":{"count":2,"flags":["sse"]},"disks":[` + block + `],"memory":{"total":1,"physical_mb":null},"bmc_address":"1.2.3.4","boot":{"current_boot_mode":"uefi"}}`},
			[]string{`null`, `[]`, `{"disks":{}}`, `{"memory":1}`}},
		"list_network_interfaces": {func(ctx context.Context, p *Plugin, h *hwmanager.Host) error {
			_, err := p.Interfaces(ctx, h)
			return err
		},
			[]string{`[]`, `[` + card + `]`}, []string{`null`, `{}`, `["eth0"]`, `[{"name":1}]`, `[{"name":"eth0","speed_mbps":"fast"}]`}},
		"get_interface_info": {func(ctx context.Context, p *Plugin, h *hwmanager.Host) error {
			_, err := p.InterfaceInfo(ctx, h, "eth0")
			return err
		},
			[]string{card}, []string{`null`, `[]`, `{"has_carrier":"yes"}`}},
		"collect_lldp_data": {func(ctx context.Context, p *Plugin, h *hwmanager.Host) error {
			_, err := p.LLDP(ctx, h, []string{"eth0"})
			return err
		},
			[]string{`{}`, `{"eth0":[[1,"0401"],[2,"05"]],"eth1":[]}`}, []string{`null`, `[]`, `{"eth0":[["1","04"]]}`, `{"eth0":[[1]]}`, `{"eth0":"04"}`}},
		"get_cpus": {func(ctx context.Context, p *Plugin, h *hwmanager.Host) error { _, err := p.CPUs(ctx, h); return err },
			[]string{`{"model_name":"x","count":4,"architecture":"x86_64","flags":null}`}, []string{`null`, `4`, `{"count":"4"}`, `{"flags":"sse"}`}},
		"get_boot_info": {func(ctx context.Context, p *Plugin, h *hwmanager.Host) error {
			_, err := p.BootInfo(ctx, h)
			return err
		},
			[]string{`{"current_boot_mode":"uefi","pxe_interface":null}`}, []string{`null`, `"uefi"`, `{"current_boot_mode":1}`}},
		"get_usb_devices": {func(ctx context.Context, p *Plugin, h *hwmanager.Host) error {
			_, err := p.USBDevices(ctx, h)
			return err
		},
			[]string{`[]`, `[{"product":"a","vendor":"b","handle":"USB:1:2"}]`}, []string{`null`, `{}`, `[{"product":1}]`}},
		"filter_device": {func(ctx context.Context, p *Plugin, h *hwmanager.Host) error {
			_, err := p.FilterDevice(ctx, h, disk)
			return err
		},
			[]string{`null`, `{}`, `{"model":"better"}`}, []string{`[]`, `true`, `"/dev/sda"`}},
		"list_block_devices": {func(ctx context.Context, p *Plugin, h *hwmanager.Host) error {
			_, err := p.BlockDevices(ctx, h, true)
			return err
		},
			[]string{`[]`, `[` + block + `]`}, []string{`null`, `{}`, `[{"size":1}]`, `[{"name":"/dev/sda","size":"1"}]`, `[{"name":"/dev/sda","rotational":0}]`, `[{"name":""}]`}},
		"get_os_install_device": {func(ctx context.Context, p *Plugin, h *hwmanager.Host) error {
			_, err := p.InstallDevice(ctx, h, node)
			return err
		},
			[]string{`"/dev/sda"`, block}, []string{`null`, `""`, `{}`, `[]`, `1`, `{"name":1}`}},
		"erase_block_device": {func(ctx context.Context, p *Plugin, h *hwmanager.Host) error {
			_, err := p.EraseBlockDevice(ctx, h, node, disk, noErase)
			return err
		}, []string{`null`, `{}`, `{"method":"Acme erase","reason":""}`}, []string{`[]`, `"done"`, `{"method":1}`}},
		"write_image": with(image, func(ctx context.Context, p *Plugin, h *hwmanager.Host) error {
			_, err := p.WriteImage(ctx, h, disk, ipa.ImageInfo{ID: "1"}, "", node, func(ipa.Progress) {})
			return err
		}),
		"execute_bootc_install": with(image, func(ctx context.Context, p *Plugin, h *hwmanager.Host) error {
			_, err := p.InstallBootc(ctx, h, disk, hwmanager.BootcRequest{Source: "oci://x"}, node, nil)
			return err
		}),
		"install_bootloader": {func(ctx context.Context, p *Plugin, h *hwmanager.Host) error {
			return p.InstallBootloader(ctx, h, disk, hwmanager.BootloaderRequest{RootUUID: "1"})
		}, anything, nil},
		"full_sync": {func(ctx context.Context, p *Plugin, h *hwmanager.Host) error { return p.FullSync(ctx, h) }, anything, nil},
		"collect": {func(ctx context.Context, p *Plugin, h *hwmanager.Host) error { _, err := p.Collect(ctx, h); return err },
			[]string{`{}`, `{"fans":[{"rpm":9000}]}`}, []string{`null`, `[]`, `"fans"`, `1`}},
		"collect_system_logs": {func(ctx context.Context, p *Plugin, h *hwmanager.Host) error {
			return p.Logs(ctx, h, func(_ string, r io.Reader) error { _, err := io.ReadAll(r); return err })
		}, []string{`{}`, `{"controller.log":"text","dump":{"base64":"AAEC"}}`}, []string{`null`, `[]`, `{"../x":"y"}`, `{".x":"y"}`, `{"x":1}`, `{"x":null}`, `{"x":{"text":"y"}}`, `{"":"y"}`}},
	}
}

// disk makes a machine with one disk that may be written to.
func oneDisk(t *testing.T) *hwmanager.Host {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	check(t, err)
	for name, text := range map[string]string{"sys/block/sda/size": "2048\n", "dev/sda": ""} {
		path := filepath.Join(root, name)
		check(t, os.MkdirAll(filepath.Dir(path), 0o755))
		check(t, os.WriteFile(path, []byte(text), 0o644))
	}
	h := quietHost()
	h.Sys, h.Dev = filepath.Join(root, "sys"), filepath.Join(root, "dev")
	h.Guard = hwmanager.DeviceGuard{Allowed: []string{h.Dev + "/*"}}
	return h
}

// TestTraffic holds the schema, the table of methods and the code together:
// every request is as schema and table say, and the code takes the results that
// the schema allows and refuses those that it does not.
func TestTraffic(t *testing.T) {
	t.Parallel()
	dir := place(t, "recorder", recorder)
	answer := func(method, result string) {
		line := strings.Join(strings.Fields(`{"result":`+result+`}`), " ") + "\n"
		if err := valid(t, "output", []byte(line)); err != nil {
			t.Errorf("%s: the schema refuses the line %s: %v", method, line, err)
		}
		check(t, os.WriteFile(filepath.Join(dir, method+".answer"), []byte(line), 0o644))
	}
	var all []string
	for _, m := range Methods() {
		all = append(all, m.Name)
	}
	about, err := json.Marshal(description{Name: "recorder", Version: "1", SDK: "1.0", Methods: all})
	check(t, err)
	answer("describe", string(about))
	p, err := Open(t.Context(), dir, Options{})
	check(t, err)
	checkRequest(t, dir, Methods()[0])

	asked := questions()
	for _, m := range Methods()[1:] {
		q, there := asked[m.Name]
		if !there {
			t.Errorf("%s is not tested", m.Name)
			continue
		}
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel() // each method has files of its own
			h := oneDisk(t)
			for _, result := range q.right {
				answer(m.Name, result)
				if err := q.ask(t.Context(), p, h); err != nil {
					t.Errorf("%s is refused: %v", result, err)
				}
				if err := valid(t, "results/"+m.Name, []byte(result)); err != nil {
					t.Errorf("the schema refuses %s: %v", result, err)
				}
				checkRequest(t, dir, m)
			}
			for _, result := range q.wrong {
				answer(m.Name, result)
				if err := q.ask(t.Context(), p, h); err == nil || errors.Is(err, hwmanager.ErrNotHandled) {
					t.Errorf("%s is taken (%v)", result, err)
				}
				if err := valid(t, "results/"+m.Name, []byte(result)); err == nil {
					t.Errorf("the schema takes %s", result)
				}
			}
		})
	}
}

// checkRequest compares the request that the recorder has kept with the schema
// and the table.
func checkRequest(t *testing.T, dir string, m Method) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, m.Name+".request"))
	check(t, err)
	if err := valid(t, "request", text); err != nil {
		t.Errorf("the schema refuses the request %s: %v", text, err)
	}
	var request map[string]json.RawMessage
	check(t, json.Unmarshal(text, &request))
	want := []string{"method", "sdk"}
	if m.Name != "describe" {
		want = append(want, "host")
	}
	for _, name := range m.Args {
		want = append(want, strings.TrimSuffix(name, "?"))
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(request))); diff != "" {
		t.Errorf("members of the request (-want +got):\n%s", diff)
	}
}

// TestSchemaOfLines compares what the reader takes with what the schema allows.
func TestSchemaOfLines(t *testing.T) {
	t.Parallel()
	for line, right := range map[string]bool{
		`{"progress":{}}`: true, `{"progress":{"phase":"x","percent":1.5,"done":1,"total":2,"written":3,"bytes_per_second":0.5,"seconds_left":-1,"later":1}}`: true,
		`{"progress":{"percent":101}}`: false, `{"progress":{"done":-1}}`: false, `{"progress":{"done":1.5}}`: false, `{"progress":{"phase":1}}`: false, `{"progress":[]}`: false,
		`{"result":null}`: true, `{"result":[1,{"a":"b"}],"later":1}`: true, `{"result":1,"progress":{}}`: false,
		`{"error":{"message":"x"}}`: true, `{"error":{"type":"CleaningError","message":"x"}}`: true, `{"error":{"message":" "}}`: false, `{"error":{}}`: false,
		`{"error":{"type":1,"message":"x"}}`: false, `{"error":null}`: false, `{"error":"x"}`: false,
		`{"reboot":{}}`: true, `{"reboot":{"to":"1.2"}}`: true, `{"reboot":null}`: false, `{"reboot":true}`: false, `{"reboot":[1]}`: false,
		`{"reboot":{},"warm":true}`: true, `{"reboot":{},"warm":false}`: true, `{"reboot":{},"warm":"yes"}`: false, `{"reboot":{},"warm":null}`: false,
		`{}`: false, `[]`: false, `1`: false, `{"Result":1}`: false,
	} {
		if err := (&reply{}).line([]byte(line), nil); (err == nil) != right {
			t.Errorf("%s: the reader says %v", line, err)
		}
		if err := valid(t, "output", []byte(line)); (err == nil) != right {
			t.Errorf("%s: the schema says %v", line, err)
		}
	}
}

// TestSchemaOfManifest compares manifests that are read with what the schema
// allows.
func TestSchemaOfManifest(t *testing.T) {
	t.Parallel()
	for text, right := range map[string]bool{
		`{"name":"acme","version":"1.2.0","sdk":"1.0","executable":"bin/acme"}`:                                                                               true,
		`{"name":"acme","version":"1.2.0-rc.1","sdk":"1","executable":"acme","required":true,"limits":{"memory_mib":1,"step_seconds":0.5,"query_seconds":2}}`: true,
		`{"name":"ac me","version":"1.2.0","sdk":"1.0","executable":"acme"}`:                                                                                  false,
		`{"name":"acme","version":"","sdk":"1.0","executable":"acme"}`:                                                                                        false,
		`{"name":"acme","version":"1.2","sdk":"1.0","executable":"acme"}`:                                                                                     false,
		`{"name":"acme","version":"1.2.0","executable":"acme"}`:                                                                                               false,
		`{"name":"acme","version":"1.2.0","sdk":"1.0"}`:                                                                                                       false,
		`{"name":"acme","version":"1.2.0","sdk":"1.0","executable":"acme","extra":1}`:                                                                         false,
		`{"name":"acme","version":"1.2.0","sdk":"1.0","executable":"acme","limits":{"memory_mib":-1}}`:                                                        false,
		`{"name":"acme","version":"1.2.0","sdk":"1.0","executable":"acme","limits":{"steps":1}}`:                                                              false,
	} {
		if _, err := plugin.ParseManifest([]byte(text)); (err == nil) != right {
			t.Errorf("%s: reading it says %v", text, err)
		}
		if err := valid(t, "manifest", []byte(text)); (err == nil) != right {
			t.Errorf("%s: the schema says %v", text, err)
		}
	}
}

// TestSchemaHasMethods compares names in the schema with the table.
func TestSchemaHasMethods(t *testing.T) {
	var s struct {
		Defs struct {
			Request struct {
				Properties struct {
					Method struct{ Enum []string }
				}
			}
			Results map[string]any
		} `json:"$defs"`
	}
	check(t, json.Unmarshal(Schema(), &s))
	var names []string
	for _, m := range Methods() {
		names = append(names, m.Name)
	}
	if diff := cmp.Diff(names, s.Defs.Request.Properties.Method.Enum); diff != "" {
		t.Errorf("methods of requests (-table +schema):\n%s", diff)
	}
	slices.Sort(names)
	if diff := cmp.Diff(names, slices.Sorted(maps.Keys(s.Defs.Results))); diff != "" {
		t.Errorf("results (-table +schema):\n%s", diff)
	}
}

// TestPage renders the tables of the reference.
func TestPage(t *testing.T) {
	text, err := os.ReadFile(page)
	check(t, err)
	rendered := string(text)
	for part, table := range map[string]string{"methods": methodTable(), "errors": errorTable(), "limits": limitTable()} {
		before, rest, ok := strings.Cut(rendered, "<!-- "+part+" -->\n")
		_, after, ok2 := strings.Cut(rest, "<!-- end -->")
		if !ok || !ok2 {
			t.Fatalf("the page has no place for %s", part)
		}
		rendered = before + "<!-- " + part + " -->\n" + table + "<!-- end -->" + after
	}
	if *update {
		check(t, os.WriteFile(page, []byte(rendered), 0o644))
		return
	}
	if diff := cmp.Diff(rendered, string(text)); diff != "" {
		t.Errorf("%s is out of date, run the test with -update (-want +got):\n%s", page, diff)
	}
}

func methodTable() string {
	var b strings.Builder
	b.WriteString("| method | ability | request has | result | time |\n|---|---|---|---|---|\n")
	for _, m := range Methods() {
		args, time := "", "query"
		if len(m.Args) > 0 {
			args = "`" + strings.Join(m.Args, "`, `") + "`"
		}
		if m.Long {
			time = "step"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", m.Name, m.Ability, args, m.Result, time)
	}
	return b.String()
}

func errorTable() string {
	var b strings.Builder
	b.WriteString("| type | what the conductor shows before the message |\n|---|---|\n")
	for _, k := range statable() {
		fmt.Fprintf(&b, "| `%s` | %s |\n", k.Type, k.Message)
	}
	return b.String()
}

func limitTable() string {
	rows := [][2]string{
		{"time of a step", defaultStep.String()},
		{"time of a query", defaultQuery.String()},
		{"grace between SIGTERM and SIGKILL", defaultGrace.String()},
		{"memory of all processes, files in the working directory included", fmt.Sprintf("%d MiB, or half of the machine's", defaultMemory)},
		{"files in the working directory", fmt.Sprintf("half of that; %d files", scratchInodes)},
		{"processes and threads", fmt.Sprint(maxProcesses)},
		{"standard output, and standard error", fmt.Sprintf("%d MiB each", maxOutput>>20)},
		{"one line of standard output", fmt.Sprintf("%d MiB", maxLine>>20)},
		{"result of a step", fmt.Sprintf("%d MiB", maxStepResult>>20)},
		{"arrays and objects in each other", fmt.Sprint(maxDepth)},
		{"log of one call", fmt.Sprintf("%d KiB; the rest is not logged", maxLogged>>10)},
	}
	var b strings.Builder
	b.WriteString("| limit of one call | |\n|---|---|\n")
	for _, row := range rows {
		fmt.Fprintf(&b, "| %s | %s |\n", row[0], row[1])
	}
	return b.String()
}

// TestExample runs the script of the reference.
func TestExample(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(page)
	check(t, err)
	_, rest, ok := strings.Cut(string(text), "```sh\n")
	example, _, ok2 := strings.Cut(rest, "```")
	if !ok || !ok2 {
		t.Fatal("the page has no example")
	}
	p, err := Open(t.Context(), place(t, "acme", example), Options{})
	check(t, err)
	h := quietHost()
	set, err := hwmanager.Load(t.Context(), h, []hwmanager.Manager{p})
	check(t, err)
	var reports []ipa.Progress
	call := hwmanager.StepCall{Args: map[string]any{"controller": 2}, Progress: func(p ipa.Progress) { reports = append(reports, p) }}
	result, err := set.RunStep(t.Context(), h, hwmanager.Clean, "flush_cache", call)
	if diff := cmp.Diff(map[string]any{"flushed": json.Number("2")}, result); err != nil || diff != "" {
		t.Errorf("the step fails with %v, or its result differs (-want +got):\n%s", err, diff)
	}
	want := []ipa.Progress{
		{Step: "flush_cache", Abortable: true, SecondsLeft: -1},
		{Step: "flush_cache", Abortable: true, SecondsLeft: -1, Phase: "flushing", Done: 50, Total: 100},
	}
	if diff := cmp.Diff(want, reports); diff != "" {
		t.Errorf("reports (-want +got):\n%s", diff)
	}
	call.Args["controller"] = -1
	if _, err := set.RunStep(t.Context(), h, hwmanager.Clean, "flush_cache", call); !ipa.InvalidCommandParams.Is(err) {
		t.Errorf("a bad argument is %v", err)
	}
}
