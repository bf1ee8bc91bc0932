package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

var errNoDrive = errors.New("no config drive")

// drive is a file system labelled config-2.
type drive struct{ device, kind string }

// maxFile bounds what is read of a config drive into memory.
const maxFile = 16 << 20

// waitConfigDrive finds the config drive, a partition or a whole device, and
// mounts it read-only at dir.
func waitConfigDrive(dir string, limit time.Duration) (drive, error) {
	for deadline := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		if d, ok := findConfigDrive(); ok {
			if err := unix.Mount(d.device, dir, d.kind, unix.MS_RDONLY, ""); err != nil {
				return d, fmt.Errorf("mount config drive %s as %s: %w", d.device, d.kind, err)
			}
			return d, nil
		}
		if time.Now().After(deadline) {
			return drive{}, errNoDrive
		}
	}
}

func findConfigDrive() (drive, bool) {
	paths, _ := filepath.Glob(sysBlock + "/*") // the pattern is well-formed
	for _, path := range paths {
		device := "/dev/" + filepath.Base(path)
		f, err := os.Open(device)
		if err != nil {
			continue // a drive without medium
		}
		label, kind := fsLabel(f)
		f.Close()
		if strings.EqualFold(label, "config-2") {
			return drive{device: device, kind: kind}, true
		}
	}
	return drive{}, false
}

// fsLabel reads the label of an ISO 9660 or FAT file system.
func fsLabel(r io.ReaderAt) (label, kind string) {
	// ISO 9660, 8.4: the primary volume descriptor is the 16th sector of 2048
	// bytes and has the volume identifier at 40.
	volume := make([]byte, 72)
	if _, err := r.ReadAt(volume, 16*2048); err == nil && string(volume[:6]) == "\x01CD001" {
		return strings.TrimRight(string(volume[40:72]), " \x00"), "iso9660"
	}
	// FAT has its label before the name of its kind: FAT12 and FAT16 at 43,
	// FAT32 at 71.
	boot := make([]byte, 512)
	if _, err := r.ReadAt(boot, 0); err != nil || boot[510] != 0x55 || boot[511] != 0xaa {
		return "", ""
	}
	for _, at := range []int{43, 71} {
		if strings.HasPrefix(string(boot[at+11:]), "FAT") {
			return strings.TrimRight(string(boot[at:at+11]), " \x00"), "vfat"
		}
	}
	return "", ""
}

// config is what the system takes from its config drive.
type config struct {
	hostname string
	nonce    string // value of the line nonce=… of the user data
	links    int    // of network_data.json
}

// readConfig reads the OpenStack layout. Only meta_data.json must be there.
func readConfig(dir string) (config, error) {
	latest := filepath.Join(dir, "openstack", "latest")
	var meta struct {
		Hostname string `json:"hostname"`
		Name     string `json:"name"`
	}
	if err := readJSON(filepath.Join(latest, "meta_data.json"), &meta); err != nil {
		return config{}, err
	}
	if meta.Hostname == "" {
		meta.Hostname = meta.Name
	}
	var network struct {
		Links []any `json:"links"`
	}
	err := readJSON(filepath.Join(latest, "network_data.json"), &network)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return config{}, err
	}
	userData, err := readFile(filepath.Join(latest, "user_data"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return config{}, err
	}
	c := config{hostname: clean(meta.Hostname), links: len(network.Links)}
	for line := range strings.Lines(string(userData)) {
		if nonce, ok := strings.CutPrefix(line, "nonce="); ok {
			c.nonce = clean(nonce)
		}
	}
	return c, nil
}

func readJSON(path string, out any) error {
	data, err := readFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	return nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile))
}
