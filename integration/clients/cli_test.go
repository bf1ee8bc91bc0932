package clients_test

import (
	"bufio"
	"embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mvdan.cc/sh/v3/shell"
)

// testdata holds the program that runs command lines of the client, and what
// they read.
//
//go:embed testdata
var testdata embed.FS

// objectPatience is how long an object may take to become what a row says.
const objectPatience = 20 * time.Second

// TestBaremetal runs every command of Debian's baremetal client.
func TestBaremetal(t *testing.T) { testBaremetal(t, "/usr/bin/python3") }

// TestBaremetalNewest runs every command of the newest from PyPI.
func TestBaremetalNewest(t *testing.T) {
	if suites() != "" {
		testBaremetal(t, filepath.Join(suites(), "python", "bin", "python"))
	}
}

// testBaremetal runs the table with the client of a Python.
func testBaremetal(t *testing.T, python string) {
	t.Parallel()
	c := startConductor(t, "")
	cli := startCLI(t, c, python)
	t.Logf("python-ironicclient %s offers %d commands", cli.Version, len(cli.Commands))
	older := cli.command("shard list") == ""
	ran := map[string]bool{}
	for _, scene := range scenes {
		t.Run(scene.name, func(t *testing.T) {
			for _, row := range scene.rows {
				if row.newer && older {
					continue
				}
				ran[cli.command(row.line)] = true
				if !cli.check(t, c, row) {
					// What follows builds on this row.
					t.FailNow()
				}
			}
		})
	}
	for _, command := range cli.Commands {
		if !ran[command] && !t.Failed() {
			t.Errorf("no row of the table runs %q", command)
		}
	}
}

// cli is one Python process that runs commands of the baremetal client.
type cli struct {
	Commands []string // as words of a command line
	Version  string
	to       *json.Encoder
	from     *json.Decoder
	vars     map[string]string // what rows have kept
}

// startCLI starts the process, of a user without Keystone and without settings.
func startCLI(t *testing.T, c *conductor, python string) *cli {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, testdata); err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(dir, "testdata")
	cmd := exec.CommandContext(t.Context(), python, "baremetal.py")
	cmd.Dir = dir
	cmd.Env = []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "OS_AUTH_TYPE=none", "OS_ENDPOINT=" + c.endpoint}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil && t.Context().Err() == nil {
			t.Errorf("%s: %v", python, err)
		}
	})
	p := &cli{to: json.NewEncoder(in), from: json.NewDecoder(bufio.NewReader(out)), vars: map[string]string{}}
	if err := p.from.Decode(p); err != nil {
		t.Fatalf("%s lacks python-ironicclient: %v", python, err)
	}
	return p
}

// command returns the command of the client that a line calls, the longest.
func (p *cli) command(line string) string {
	found := ""
	for _, command := range p.Commands {
		if strings.HasPrefix(line+" ", command+" ") && len(command) > len(found) {
			found = command
		}
	}
	return found
}

// expand puts what was kept in the place of $names.
func (p *cli) expand(text string) string {
	return os.Expand(text, func(name string) string {
		if value, known := p.vars[name]; known {
			return value
		}
		return "$" + name
	})
}

// result is what a command did.
type result struct {
	Status         int
	Stdout, Stderr string
}

// run runs one command line.
func (p *cli) run(args []string) (result, error) {
	var got result
	if err := p.to.Encode(args); err != nil {
		return got, err
	}
	return got, p.from.Decode(&got)
}

// check runs a row and compares; false ends the scene.
func (p *cli) check(t *testing.T, c *conductor, row row) bool {
	t.Helper()
	args, err := shell.Fields(row.line, func(name string) string { return p.vars[name] })
	if err != nil {
		t.Fatalf("%s: %v", row.line, err)
	}
	for i := range args {
		args[i] = p.expand(args[i]) // within single quotes, too
	}
	asksJSON := strings.HasPrefix(row.want, "{") || strings.HasPrefix(row.want, "[")
	if asksJSON {
		args = append(args, "-f", "json")
	}
	if row.status != 0 {
		// What is refused as a conflict would be tried again for long.
		args = slices.Insert(args, 0, "--max-retries", "0")
	}
	said := "baremetal " + strings.Join(args, " ")
	start := time.Now()
	got, err := p.run(args)
	if err != nil {
		t.Fatalf("%s: %v", said, err)
	}
	if took := time.Since(start); took > 3*time.Second {
		t.Logf("%.1f s: %s", took.Seconds(), said)
	}
	if got.Status != row.status {
		t.Errorf("%s: status %d; want %d\n%s%s", said, got.Status, row.status, got.Stdout, got.Stderr)
		return false
	}
	if want := p.expand(row.want); asksJSON {
		var output, wanted any
		if err := json.Unmarshal([]byte(want), &wanted); err != nil {
			t.Fatalf("the row of %s: %v in %s", row.line, err, want)
		}
		if err := json.Unmarshal([]byte(got.Stdout), &output); err != nil {
			t.Errorf("%s: %v in %q", said, err, got.Stdout)
			return false
		}
		output = byField(output)
		if why := lacks(output, wanted); why != "" {
			t.Errorf("%s: %s in\n%s", said, why, got.Stdout)
		}
		p.keep(t, row, output, wanted)
	} else if !strings.Contains(got.Stdout+got.Stderr, want) {
		t.Errorf("%s: said %q; want %q in it", said, got.Stdout+got.Stderr, want)
	}
	return p.checkObject(t, c, row, said)
}

// columns that are not called as the field that they show, in Debian's client.
var columns = map[string]string{
	"supported driver(s)": "name", "active host(s)": "hosts", "provisioning state": "provision_state", "driver volume type": "volume_type",
	"pxe boot enabled": "pxe_enabled", "bios setting name": "name", "bios setting value": "value",
}

// byField names the columns of a listing after their fields: older clients
// name them after their headings.
func byField(output any) any {
	rows, ok := output.([]any)
	if !ok {
		return output
	}
	named := make([]any, len(rows))
	for i := range rows {
		cells, ok := rows[i].(map[string]any)
		if !ok {
			return output
		}
		fields := make(map[string]any, len(cells))
		for column, cell := range cells {
			column = strings.ToLower(column)
			if field, known := columns[column]; known {
				column = field
			}
			fields[strings.ReplaceAll(column, " ", "_")] = cell
		}
		named[i] = fields
	}
	return named
}

// keep remembers members of the output under the names of the row.
func (p *cli) keep(t *testing.T, row row, output, wanted any) {
	t.Helper()
	if list, ok := output.([]any); ok {
		first := slices.IndexFunc(list, func(element any) bool { return lacks(element, wanted.([]any)[0]) == "" })
		if first < 0 {
			return // what has been said
		}
		output = list[first]
	}
	for _, pair := range strings.Fields(row.keep) {
		name, member, _ := strings.Cut(pair, "=")
		object, _ := output.(map[string]any)
		value, ok := object[member]
		if !ok {
			t.Fatalf("%s: no %s to keep in %v", row.line, member, output)
		}
		p.vars[name] = fmt.Sprint(value)
	}
}

// checkObject waits until the object of the row is as the row says.
func (p *cli) checkObject(t *testing.T, c *conductor, row row, said string) bool {
	t.Helper()
	if row.after == "" {
		return true
	}
	path, want, _ := strings.Cut(p.expand(row.after), " ")
	var wanted any
	if want != "gone" {
		if err := json.Unmarshal([]byte(want), &wanted); err != nil {
			t.Fatalf("the row of %s: %v in %s", row.line, err, want)
		}
	}
	why := ""
	for deadline := time.Now().Add(objectPatience); ; time.Sleep(50 * time.Millisecond) {
		status, content := c.get(path)
		switch {
		case want == "gone" && status == 404:
			return true
		case want == "gone":
			why = fmt.Sprintf("status %d; want 404", status)
		case status != 200:
			why = fmt.Sprintf("status %d: %v", status, content)
		default:
			why = lacks(content, wanted)
		}
		if why == "" {
			return true
		}
		if time.Now().After(deadline) {
			t.Errorf("after %s %s: %s", said, path, why)
			return false
		}
	}
}

// lacks says what is missing in got, or returns "": an object has to have at
// least the members of want, a list at least an element for each of want's; an
// empty list or object has to be empty.
func lacks(got, want any) string {
	switch want := want.(type) {
	case map[string]any:
		object, ok := got.(map[string]any)
		if !ok || len(want) == 0 && len(object) > 0 {
			return fmt.Sprintf("%v; want an object with %v", got, want)
		}
		for name, value := range want {
			member, ok := object[name]
			if !ok {
				return fmt.Sprintf("no member %q", name)
			}
			if why := lacks(member, value); why != "" {
				return name + ": " + why
			}
		}
	case []any:
		list, ok := got.([]any)
		if !ok || len(want) == 0 && len(list) > 0 {
			return fmt.Sprintf("%v; want a list with %v", got, want)
		}
		for _, value := range want {
			if !slices.ContainsFunc(list, func(element any) bool { return lacks(element, value) == "" }) {
				return fmt.Sprintf("no element with %v", value)
			}
		}
	default:
		if got != want {
			return fmt.Sprintf("%v; want %v", got, want)
		}
	}
	return ""
}
