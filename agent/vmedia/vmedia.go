// Package vmedia reads the configuration of the agent from virtual media: the
// CD or the USB stick that a BMC shows to a machine (agent contract, section
// "Start-up order"). Nothing is mounted; media may be hostile.
package vmedia

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Labels, compared without case.
var (
	configLabels    = [...]string{"config-2", "vmedia_boot_iso"} // in the order of preference
	parametersLabel = "ir-vfd-dev"
)

const (
	// modelName is part of the model of devices that may hold parameters
	// without the label.
	modelName      = "virtual media"
	parametersFile = "parameters.txt"
)

// Bounds of what is taken from a medium.
const (
	maxParameters = 64 << 10
	maxFile       = 1 << 20
	maxFiles      = 256 // in one directory
)

// Machine says where to look and where to copy to.
type Machine struct {
	Sys, Dev string // roots of sysfs and of the device files
	Etc      string // root of the configuration
	// Patience bounds the wait for media: USB appears about a second after the
	// kernel has started (lab notes).
	Patience time.Duration
}

// Found is what media held.
type Found struct {
	Parameters string   // words like those of a kernel command line
	Devices    []string // that were read
	Files      []string // that were copied, with their paths on this machine
}

// errNothing: no medium has the agent's configuration or parameters.
var errNothing = errors.New("no virtual medium with the agent's configuration is there")

// poll is the time between two looks for media.
const poll = 250 * time.Millisecond

// Load looks for media until both configuration and parameters were found, or
// only the configuration if enough is true, or Patience is over. It copies the
// configuration files of the medium over those below Etc. The error tells that
// there is nothing at all, or that what is there cannot be used.
func (m Machine) Load(ctx context.Context, enough bool) (Found, error) {
	deadline := time.Now().Add(m.Patience)
	for {
		found, err := m.look()
		switch {
		case found.parameters != nil && (found.config != nil || enough), found.config != nil && enough, !time.Now().Before(deadline):
			return m.take(found, err)
		}
		select {
		case <-time.After(poll):
		case <-ctx.Done():
			return Found{}, context.Cause(ctx)
		}
	}
}

// media are the volumes that matter.
type media struct {
	config     *volume
	parameters *volume
	text       string // of the parameters
}

// look reads the labels of all devices that may be virtual media.
func (m Machine) look() (media, error) {
	var found media
	var failures []error
	rank := len(configLabels)
	var others []*volume // without the label, but of a model
	for _, d := range m.devices() {
		v, err := openVolume(d)
		if err != nil {
			if !errors.Is(err, errNoVolume) {
				failures = append(failures, err)
			}
			continue
		}
		label := strings.ToLower(v.label)
		if r := slices.Index(configLabels[:], label); r >= 0 && r < rank && d.trusted {
			found.config, rank = v, r
		}
		if label == parametersLabel && d.trusted && found.parameters == nil {
			found.parameters = v
		}
		if d.model {
			others = append(others, v)
		}
	}
	for _, v := range append([]*volume{found.parameters}, others...) {
		if v == nil {
			continue
		}
		text, err := v.read(parametersFile, maxParameters)
		if err == nil {
			found.parameters, found.text = v, string(text)
			return found, nil
		}
		failures = append(failures, fmt.Errorf("%s of %s: %w", parametersFile, v.device, err))
	}
	found.parameters = nil
	return found, errors.Join(failures...)
}

// take copies the files of what was found.
func (m Machine) take(found media, failures error) (Found, error) {
	result := Found{Parameters: found.text}
	if found.parameters != nil {
		result.Devices = append(result.Devices, found.parameters.device)
	}
	if found.config != nil {
		result.Devices = append(result.Devices, found.config.device)
		var err error
		if result.Files, err = m.copyFrom(found.config); err != nil {
			return result, fmt.Errorf("configuration on %s: %w", found.config.device, err)
		}
	}
	if len(result.Devices) == 0 {
		return result, errors.Join(errNothing, failures)
	}
	return result, nil
}

// copyFrom copies the files right in the two directories of the configuration.
func (m Machine) copyFrom(v *volume) ([]string, error) {
	var copied []string
	for _, dir := range []string{"ironic-python-agent", "ironic-python-agent.d"} {
		names, err := v.files("etc/" + dir)
		if err != nil {
			return copied, err
		}
		if len(names) > maxFiles {
			return copied, fmt.Errorf("%s has more than %d files", dir, maxFiles)
		}
		for _, name := range names {
			if !isFileName(name) {
				return copied, fmt.Errorf("%q in %s is not a file name", name, dir)
			}
			content, err := v.read("etc/"+dir+"/"+name, maxFile)
			if err != nil {
				return copied, err
			}
			path := filepath.Join(m.Etc, dir, name)
			if err := replace(path, content); err != nil {
				return copied, err
			}
			copied = append(copied, path)
		}
	}
	return copied, nil
}

// isFileName: joined to a directory, the name stays in it.
func isFileName(name string) bool {
	return name != "" && name != "." && name != ".." && len(name) <= 255 && !strings.ContainsAny(name, "/\x00")
}

// replace writes a file that only its owner may read, whatever was there: a
// link is not followed.
func replace(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".vmedia-*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// device is a block device that may be virtual media.
type device struct {
	path    string
	size    int64
	trusted bool // its label counts
	model   bool // its model is that of virtual media
}

// maxUSB bounds USB disks that count as virtual media, in bytes: a label, which
// anybody can write, must not make a disk of the machine the configuration.
const maxUSB = 4 << 30

// devices are whole block devices: optical drives, small USB disks, and those
// whose model says so.
func (m Machine) devices() []device {
	const sectorUnit = 512 // of the attribute size
	root := filepath.Join(m.Sys, "block")
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil
	}
	var devices []device
	for _, e := range entries {
		dir := filepath.Join(root, e.Name())
		sectors, err := strconv.ParseInt(attribute(dir, "size"), 10, 64)
		if err != nil || sectors <= 0 || sectors > 1<<53 {
			continue
		}
		d := device{path: filepath.Join(m.Dev, strings.ReplaceAll(e.Name(), "!", "/")), size: sectors * sectorUnit}
		const typeROM = "5" // SCSI peripheral device type
		d.trusted = strings.HasPrefix(e.Name(), "sr") || attribute(dir, "device/type") == typeROM || isUSB(dir) && d.size < maxUSB
		d.model = strings.Contains(strings.ToLower(attribute(dir, "device/model")), modelName)
		if d.trusted || d.model {
			devices = append(devices, d)
		}
	}
	return devices
}

// isUSB: the device hangs on a USB root hub ("usb1").
func isUSB(dir string) bool {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return false
	}
	for name := range strings.SplitSeq(real, "/") {
		if n, ok := strings.CutPrefix(name, "usb"); ok {
			if _, err := strconv.Atoi(n); err == nil {
				return true
			}
		}
	}
	return false
}

// maxAttribute bounds an attribute of sysfs.
const maxAttribute = 4 << 10

func attribute(dir, name string) string {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxAttribute))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}
