package guide

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"ferric/integration/lab"
)

// page is where the commands are written.
const page = "../../hwmanager/README.md"

// patience bounds one block of commands. The longest boots a machine twice, emulated.
const patience = 5 * time.Minute

// shell is a bash that runs one block of commands after the other, as somebody does who
// follows a page.
type shell struct {
	dir string
	env []string
}

// run runs commands; the next ones find the environment that these leave.
func (s *shell) run(t *testing.T, commands string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	kept := filepath.Join(s.dir, "..", "environment")
	cmd := exec.CommandContext(ctx, "bash", "-eu", "-o", "pipefail", "-c", commands+"\nenv -0 >"+kept)
	cmd.Dir, cmd.Env = s.dir, s.env
	// The rack that is left behind holds what it inherits.
	out, err := os.Create(filepath.Join(s.dir, "..", "output"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	began := time.Now()
	runErr := cmd.Run()
	text, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%.1f s\n%s\n%s", time.Since(began).Seconds(), commands, text)
	if runErr == nil {
		env, err := os.ReadFile(kept)
		if err != nil {
			t.Fatal(err)
		}
		s.env = strings.Split(strings.TrimRight(string(env), "\x00"), "\x00")
	}
	return string(text), runErr
}

var fenced = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")

// TestGuide follows hwmanager/README.md to the letter, in an empty directory outside of
// the source: a step of a vendor runs on a machine of the lab, from a manager that is
// compiled in, from an executable, and from one that is fetched.
func TestGuide(t *testing.T) {
	source := built(t)
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	blocks := fenced.FindAllStringSubmatch(string(text), -1)
	if len(blocks) < 9 {
		t.Fatalf("%d blocks of commands in %s; want all of them", len(blocks), page)
	}
	port, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", lab.APIPort))
	if err != nil {
		t.Fatalf("the rack needs the API's port: %v", err)
	}
	port.Close()
	lab.Alone(t)

	// The sockets of a rack need a short path.
	base, err := os.MkdirTemp("", "guide")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(base) })
	s := &shell{dir: filepath.Join(base, "work"), env: append(os.Environ(), "FERRIC="+source, "XDG_STATE_HOME="+filepath.Join(base, "state"))}
	if err := os.Mkdir(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	console := filepath.Join(base, "state/ferric/lab/nodes/server-1/console.log")
	t.Cleanup(func() {
		// Whatever went wrong, no rack is left.
		out, err := exec.Command(filepath.Join(source, "bin/ferric"), "lab", "--dir", filepath.Join(base, "state/ferric/lab"), "down").CombinedOutput()
		if t.Failed() {
			t.Logf("the rack is taken down: %v: %s", err, out)
		}
	})

	for i, block := range blocks[:len(blocks)-1] {
		if _, err := s.run(t, block[1]); err != nil {
			tail(t, console)
			t.Fatalf("block %d of %s: %v", i+1, page, err)
		}
	}
	log, err := os.ReadFile(console)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := bytes.Count(log, []byte(`msg="step done" step=check_memory`)), 3; got != want {
		t.Errorf("the step ended well %d times by the consoles; want %d", got, want)
	}
	// A page whose step cannot fail would prove nothing.
	refused, err := s.run(t, `ferric node clean server-1 --wait --clean-steps '[{"interface": "deploy", "step": "check_memory", "args": {"minimum_mib": 99999999}}]'`)
	if err == nil || !strings.Contains(refused, "MiB of memory, not 99999999") {
		t.Errorf("a machine with too little memory: %v", err)
	}
	if _, err := s.run(t, blocks[len(blocks)-1][1]); err != nil {
		t.Errorf("the last block: %v", err)
	}
}

// built is the directory of ferric's source, whose programs are built.
func built(t *testing.T) string {
	t.Helper()
	bin := os.Getenv("FERRIC_BIN")
	if bin == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("FERRIC_BIN is not set; run `make test`")
		}
		t.Skip("needs the programs; run `make test`")
	}
	return filepath.Dir(filepath.Clean(bin))
}

func tail(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Log(err)
		return
	}
	t.Logf("end of %s:\n%s", filepath.Base(path), text[max(0, len(text)-4000):])
}
