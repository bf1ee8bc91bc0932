package clients_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// leftOut is the status of a line that is not run.
const leftOut = -1

// otherwise are lines of which something else comes with ferric's own command
// line, and why. Literal table.
var otherwise = map[string]struct {
	status int
	want   string
	why    string
}{
	`node show full --fields nonsense`:                                            {1, `nonsense`, "the API refuses it, not the client"},
	`node boot device set plain floppy`:                                           {1, `floppy`, "the API refuses it, not the client"},
	`node boot mode set alive legacy`:                                             {1, `legacy`, "the API refuses it, not the client"},
	`node list --limit -1`:                                                        {2, `-1`, "a mistake in the command line"},
	`node power on alive --power-timeout 0`:                                       {1, `timeout`, "the API refuses it, not the client"},
	`node manage soulless --wait 60`:                                              {1, `node soulless is enroll, not manageable: `, "it says why, and what to do"},
	`volume connector create --node $node --type carrier-pigeon --connector-id x`: {1, `type`, "the API refuses it, not the client"},
	`inspection rule create --priority 10 --conditions '[]' --actions '[{"op": "fail", "args": {"msg": "no"}}]'`: {leftOut, ``, "there it fails, for the client sends a text"},
}

// TestFerric runs the command lines of the baremetal client with ferric's own.
func TestFerric(t *testing.T) {
	t.Parallel()
	c := startConductor(t, "")
	cli := startFerric(t, c)
	for _, scene := range scenes {
		t.Run(scene.name, func(t *testing.T) {
			for _, row := range scene.rows {
				if other, ok := otherwise[row.line]; ok {
					row.status, row.want = other.status, other.want
				}
				if row.status == leftOut {
					continue
				}
				if !cli.check(t, c, row) {
					t.FailNow()
				}
			}
		})
	}
}

// startFerric has command lines run by ferric.
func startFerric(t *testing.T, c *conductor) *cli {
	t.Helper()
	programs, err := programDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, testdata); err != nil {
		t.Fatal(err)
	}
	command := func(args ...string) result {
		var out, failure bytes.Buffer
		cmd := exec.CommandContext(t.Context(), filepath.Join(programs, "ferric"), args...)
		cmd.Dir = filepath.Join(dir, "testdata")
		cmd.Env = []string{"HOME=" + dir, "OS_AUTH_TYPE=none", "OS_ENDPOINT=" + c.endpoint}
		cmd.Stdout, cmd.Stderr = &out, &failure
		var exit *exec.ExitError
		if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
			t.Error(err)
		}
		return result{cmd.ProcessState.ExitCode(), out.String(), failure.String()}
	}
	return serveLines(t, command)
}

// serveLines answers as the program of the baremetal client does.
func serveLines(t *testing.T, command func(args ...string) result) *cli {
	fromTest, toClient := io.Pipe()
	fromClient, toTest := io.Pipe()
	go func() {
		lines, answers := json.NewDecoder(fromTest), json.NewEncoder(toTest)
		for {
			var args []string
			if lines.Decode(&args) != nil || answers.Encode(command(args...)) != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { toClient.Close(); fromClient.Close() })
	return &cli{to: json.NewEncoder(toClient), from: json.NewDecoder(fromClient), vars: map[string]string{}}
}

// sameLines are lines whose output, as JSON, has to be that of Debian's client;
// it may have more members, as newer versions of that do. Literal table.
var sameLines = []string{
	`node list`,
	`node list --fields uuid name extra maintenance properties target_raid_config`,
	`node list --sort name:desc`,
	`node show same`,
	`node show same --fields name extra driver_info`,
	`node validate same`,
	`node trait list same`,
	`node boot device show same`,
	`node boot device show same --supported`,
	`node console show same`,
	`node bios setting list same`,
	`node history list same`,
	`node vif list same`,
	`node passthru list same`,
	`port list`,
	`port list --fields uuid address node_uuid pxe_enabled local_link_connection`,
	`port group list --long`,
	`chassis list --long`,
	`volume target list --long`,
	`volume connector list --long`,
	`allocation list --long`,
	`deploy template list --long`,
	`driver list`,
	`driver list --long`,
	`driver show ipmi`,
	`driver property list ipmi`,
	`driver raid property list fake-hardware`,
	`driver passthru list fake-hardware`,
	`conductor list`,
	`conductor show clients --fields hostname drivers`,
}

// TestSameOutput compares what the two clients print.
func TestSameOutput(t *testing.T) {
	t.Parallel()
	c := startConductor(t, "")
	theirs, ours := startCLI(t, c, "/usr/bin/python3"), startFerric(t, c)
	do := func(client *cli, line string) any {
		got, err := client.run(append(strings.Fields(line), "-f", "json"))
		if err != nil || got.Status != 0 {
			t.Fatalf("%s: %v, %+v", line, err, got)
		}
		var output any
		if err := json.Unmarshal([]byte(got.Stdout), &output); err != nil {
			t.Fatalf("%s: %v in %q", line, err, got.Stdout)
		}
		return output
	}
	node := do(ours, `node create --driver fake-hardware --name same --driver-info a=1 --extra x=y --property cpus=4`).(map[string]any)["uuid"].(string)
	for _, line := range []string{
		`node create --driver fake-hardware --name another`,
		`port create 52:54:00:00:00:01 --node ` + node,
		`port group create --node ` + node + ` --name bond`,
		`chassis create --description rack`,
		`volume target create --node ` + node + ` --type iscsi --boot-index 0 --volume-id v`,
		`volume connector create --node ` + node + ` --type ip --connector-id 10.0.0.1`,
		`deploy template create CUSTOM_T --steps [{"interface":"bios","step":"factory_reset","args":{},"priority":1}]`,
	} {
		do(ours, line)
	}
	if got, err := ours.run(strings.Fields(`node add trait same CUSTOM_A CUSTOM_B`)); err != nil || got.Status != 0 {
		t.Fatal(got, err)
	}
	for _, line := range sameLines {
		if why := lacks(do(ours, line), do(theirs, line)); why != "" {
			t.Errorf("%s: ferric's output differs: %s", line, why)
		}
	}
}
