package matrix

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"ferric/integration/lab"
	"ferric/integration/osimage"
	"ferric/integration/stories"
)

func TestMain(m *testing.M) { lab.Main(m) }

// selection is the regular expression of the names of the cells to run; empty
// is those of `make test`.
const selection = "FERRIC_MATRIX"

// built finds what `make` builds before the tests: FERRIC_BIN and
// FERRIC_RAMDISK name the directories.
func built(t *testing.T) (ferric, ramdisk string) {
	t.Helper()
	bin, ramdisk := os.Getenv("FERRIC_BIN"), os.Getenv("FERRIC_RAMDISK")
	problem := ""
	switch {
	case bin == "" || ramdisk == "":
		problem = "FERRIC_BIN and FERRIC_RAMDISK are not set; run `make matrix`"
	case os.Getuid() != 0:
		problem = "loop devices need root; run `make matrix`"
	}
	if problem != "" {
		if os.Getenv("CI") == "true" {
			t.Fatal(problem)
		}
		t.Skip(problem)
	}
	return filepath.Join(bin, "ferric"), ramdisk
}

// selected are the cells that were chosen.
func selected(t *testing.T) []cell {
	t.Helper()
	pattern := os.Getenv(selection)
	re, err := regexp.Compile(pattern)
	if err != nil {
		t.Fatalf("%s: %v", selection, err)
	}
	var chosen []cell
	for _, c := range cells {
		if pattern == "" && c.quick || pattern != "" && re.MatchString(c.name()) {
			chosen = append(chosen, c)
		}
	}
	if len(chosen) == 0 {
		t.Fatalf("%s: no cell has a name that matches %q", selection, pattern)
	}
	return chosen
}

// TestCells deploys the cells of the table and boots them, and prints it.
func TestCells(t *testing.T) {
	ferric, ramdisk := built(t)
	chosen := selected(t)
	lab.Alone(t)
	// The sockets of a rack need a short path.
	dir, err := os.MkdirTemp("", "matrix")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	images := buildImages(t, dir, chosen)
	plants := plant(t, dir)
	report := &report{w: os.Stdout}
	t.Cleanup(report.print)
	// The option is the conductor's, so there is one for each of both.
	for _, installer := range []bool{false, true} {
		var group []cell
		for _, c := range chosen {
			if c.installer == installer {
				group = append(group, c)
			}
		}
		if len(group) == 0 {
			continue
		}
		t.Run(fmt.Sprintf("installer allowed %v", installer), func(t *testing.T) {
			rackDir := filepath.Join(dir, fmt.Sprintf("rack-%v", installer))
			var nodes []lab.NodeConfig
			for i, c := range group {
				nodes = append(nodes, c.node(rackDir, i))
			}
			rack, err := lab.Up(t.Context(), lab.Config{Dir: rackDir, Accel: "tcg", Nodes: nodes})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := rack.Close(); err != nil {
					t.Error(err)
				}
				if t.Failed() {
					tail(t, filepath.Join(rackDir, "conductor.log"), 8000)
				}
			})
			options := stories.Options{Ferric: ferric, RamdiskDir: ramdisk, Image: &osimage.Image{Raw: osimage.File{Path: filepath.Join(dir, "images", "any")}}}
			if installer {
				options.Config = "\n[agent]\nenable_bios_bootloader_install = true\n"
			}
			site, err := stories.Open(t.Context(), rack, options)
			if err != nil {
				t.Fatal(err)
			}
			// In parallel: as many as -parallel says.
			t.Run("cells", func(t *testing.T) {
				for i, c := range group {
					t.Run(c.name(), func(t *testing.T) {
						t.Parallel()
						r := &run{cell: c, site: site, name: nodeName(i), images: images, stale: plants[c.sector]}
						err := r.do(t.Context())
						if err != nil {
							t.Error(err)
							tail(t, site.Node(r.name).Console.Path(), 4000)
						}
						site.Node(r.name).PowerOff()
						report.add(r, err)
					})
				}
			})
		})
	}
}

// imageKey tells the images of the table apart.
type imageKey struct {
	image            imageKind
	sector           int
	installer, array bool
}

func (c cell) imageKey() imageKey {
	key := imageKey{c.image, c.sector, c.installer, c.array}
	if c.image == partition {
		key.sector = 0 // a file system fits both
	}
	return key
}

// images are the images by kind, their files in one directory for the
// conductor to serve.
type images map[imageKey]*osimage.Image

// file is the image of a cell in its format, with the format's name in
// instance_info.
func (i images) file(c cell) (osimage.File, string) {
	image := i[c.imageKey()]
	switch c.format {
	case "qcow2":
		return image.QCOW2, "qcow2"
	case "zstd":
		return image.Zstd, "raw"
	}
	return image.Raw, "raw"
}

// What the deployed systems show on their consoles.
const (
	show       = "efibootmgr -v"
	showArrays = "mdadm --detail --scan --verbose"
)

func buildImages(t *testing.T, dir string, chosen []cell) images {
	t.Helper()
	served := filepath.Join(dir, "images")
	if err := os.Mkdir(served, 0o755); err != nil {
		t.Fatal(err)
	}
	made := images{}
	for _, c := range chosen {
		key := c.imageKey()
		if made[key] != nil {
			continue
		}
		o := osimage.Options{CacheDir: filepath.Join(dir, "cache"), Sector: key.sector, Show: []string{show}, Installer: c.installer, Array: c.array}
		if c.array {
			o.Show = append(o.Show, showArrays)
		}
		build := osimage.Build
		if c.image == partition {
			build = osimage.BuildPartition
		}
		image, err := build(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		for i, f := range []*osimage.File{&image.Raw, &image.QCOW2, &image.Zstd} {
			name := filepath.Join(served, fmt.Sprintf("%s-%d-%v-%v.%d", key.image, key.sector, key.installer, key.array, i))
			if err := os.Link(f.Path, name); err != nil {
				t.Fatal(err)
			}
			f.Path = name
		}
		made[key] = image
	}
	return made
}

// plant makes the disks that former users left, one of each sector size.
func plant(t *testing.T, dir string) map[int]stale {
	t.Helper()
	plants := map[int]stale{}
	for _, sector := range []int{512, 4096} {
		parts, err := plantTable(t.Context(), staleFile(dir, sector), sector)
		if err != nil {
			t.Fatal(err)
		}
		plants[sector] = stale{staleFile(dir, sector), parts}
	}
	if os.Getenv(selection) == "" {
		return plants // `make test` has no time for another machine
	}
	image, err := osimage.Build(t.Context(), osimage.Options{CacheDir: filepath.Join(dir, "cache"), Show: planting()})
	if err != nil {
		t.Fatal(err)
	}
	rack, err := lab.Up(t.Context(), lab.Config{Dir: filepath.Join(dir, "planter"), Accel: "tcg", Nodes: []lab.NodeConfig{planter(dir, image)}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := rack.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := plantArrays(t.Context(), rack.Nodes[0]); err != nil {
		tail(t, rack.Nodes[0].Console.Path(), 4000)
		t.Fatal(err)
	}
	return plants
}

// tail logs the end of a file.
func tail(t *testing.T, path string, size int) {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Log(err)
		return
	}
	t.Logf("%s ends with:\n%s", filepath.Base(path), text[max(0, len(text)-size):])
}
