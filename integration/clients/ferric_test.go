package clients_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
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
	programs, err := programDir()
	if err != nil {
		t.Fatal(err)
	}
	c := startConductor(t, "")
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
	cli := serveLines(t, command)
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
