package images_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ferric/images"
	"ferric/images/disk/disktest"
	"ferric/images/partition"
)

// cutEnv has the test binary deploy something and be killed over it.
const cutEnv = "FERRIC_CUT"

type cutArgs struct {
	Device, URL, Sum string
	Layout           *images.Layout // nil for a whole-disk image
}

// TestCutChild is the process that is killed; it is no test by itself.
func TestCutChild(t *testing.T) {
	text := os.Getenv(cutEnv)
	if text == "" {
		return
	}
	var args cutArgs
	if err := json.Unmarshal([]byte(text), &args); err != nil {
		t.Fatal(err)
	}
	if err := args.deploy(t); err != nil {
		t.Fatal(err)
	}
}

func (a cutArgs) deploy(t *testing.T) (err error) {
	req := request(a.URL, "raw", a.Sum)
	if a.Layout != nil {
		_, err = images.DeployPartitions(t.Context(), disktest.Target(t, a.Device), req, *a.Layout, "", nil)
	} else {
		_, err = images.Deploy(t.Context(), disktest.Target(t, a.Device), req, "", nil)
	}
	return err
}

// killedAt runs the deployment in a process that strace kills in the n-th of the
// given system calls of one of its threads. It tells whether there were so many.
func (a cutArgs) killedAt(t *testing.T, call string, n int) bool {
	t.Helper()
	text, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace="+call, "-e", fmt.Sprintf("inject=%s:signal=KILL:when=%d", call, n),
		os.Args[0], "-test.run=^TestCutChild$")
	cmd.Env = append(os.Environ(), cutEnv+"="+string(text))
	out, err := cmd.CombinedOutput()
	exit := new(exec.ExitError)
	if err == nil {
		return false
	}
	if !errors.As(err, &exit) || !strings.Contains(exit.String(), "killed") {
		t.Fatalf("strace: %v: %s", err, out)
	}
	return true
}

// TestCut ends deployments over a disk with another system at many of their
// writes, as a loss of power would that keeps their order. What is left is the old system untouched,
// no table at all, or the new one whole: never a table over half a system.
// The next deployment goes through.
func TestCut(t *testing.T) {
	whole, root := makeImage(t, partition.GPT, 512), makeRoot(t)
	content := func(path string) []byte { return readFile(t, path) }
	old := filepath.Join(t.TempDir(), "old")
	tool(t, "truncate", "-s", "96M", old)
	tool(t, "sh", "-c", `printf 'label: gpt\nstart=2048, size=16384\nstart=24MiB, size=60MiB\n' | sfdisk -q "$0" && mke2fs -q -F -E offset=25165824 "$0" 60M`, old)
	before := content(old)
	layout := images.Layout{Label: partition.GPT, ESP: 32, Swap: 2, Root: 24}
	msdos := images.Layout{Label: partition.MBR, Swap: 2, Root: 24}
	step := 3
	if os.Getenv("FERRIC_FULL") != "" {
		step = 1
	}
	for _, c := range []struct {
		name   string
		image  string
		layout *images.Layout
		at     int64 // where the image lies on the disk
		from   int64 // of its content, what is not changed afterwards
	}{
		{"whole disk", whole, nil, 0, mib},
		{"partitions on gpt", root, &layout, 35 * mib, 0},
		{"partitions on msdos", root, &msdos, 3 * mib, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			device := filepath.Join(t.TempDir(), "disk")
			args := cutArgs{Device: device, URL: serve(t, c.image), Sum: sha256File(t, c.image), Layout: c.layout}
			image := content(c.image)
			image = image[c.from : int64(len(image))-c.from]
			states := map[string]int{}
			for _, call := range []string{"pwrite64", "fallocate", "fsync"} {
				for n := 1; ; n += step {
					if err := os.WriteFile(device, before, 0o600); err != nil {
						t.Fatal(err)
					}
					if !args.killedAt(t, call, n) {
						break
					}
					now := content(device)
					table, err := partition.List(device)
					switch {
					case bytes.Equal(now, before):
						states["old"]++
					case errors.Is(err, partition.ErrNoTable):
						states["none"]++
					case err != nil:
						t.Errorf("%s %d: %v", call, n, err)
					case !bytes.Equal(now[c.at+c.from:][:len(image)], image):
						t.Errorf("%s %d: a table of %d partitions over half an image", call, n, len(table.Partitions))
					default:
						states["new"]++
					}
					if n == 1+step { // and then the power comes back
						if err := args.deploy(t); err != nil {
							t.Errorf("after %s %d: %v", call, n, err)
						}
						if !bytes.Equal(content(device)[c.at+c.from:][:len(image)], image) {
							t.Errorf("after %s %d: not the whole image", call, n)
						}
					}
				}
			}
			t.Logf("left behind: %v", states)
			if states["none"] == 0 {
				t.Error("nothing was cut in the middle")
			}
		})
	}
}
