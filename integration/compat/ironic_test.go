package compat_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ferric/api/ironic"
	"ferric/integration/compat/ironicd"
	"ferric/integration/lab"
	"ferric/integration/osimage"
)

// sequence is a machine and what a real Ironic does with it, in this order.
type sequence struct {
	name      string
	machine   lab.NodeConfig
	fastTrack bool // the ramdisk is to stay from one act to the next
	vendors   bool // the ramdisk is the one that vendors have extended
	acts      []act
}

// fastTrack is the configuration with which Ironic does not stop the ramdisk, as Metal3 has it.
const fastTrack = `
[deploy]
fast_track = true
[inspector]
power_off = false
`

// act is a part of a sequence. Where an Ironic cannot do it yet it is left out;
// when one fails the rest of the sequence is.
type act struct {
	name  string
	since ironic.Version // of the API
	do    func(*testing.T, *patient)
}

// Versions of the API since when Ironic does more than enrol, clean, deploy and rescue.
const (
	anyVersion     = ironic.VersionMin
	sinceInspect   = ironic.VersionContinueInspection // in-band inspection
	sinceServicing = ironic.Version(87)
)

// sequences is the table: add a line to try another order or another machine.
func sequences() []sequence {
	uefi := lab.NodeConfig{Firmware: lab.UEFI, NetBoot: lab.FirmwarePXE, MemoryMiB: 768, Disks: []lab.Disk{{Kind: lab.NVMe}}}
	bios := lab.NodeConfig{Firmware: lab.BIOS, Disks: []lab.Disk{{Kind: lab.Virtio}}}
	extended := lab.NodeConfig{Firmware: lab.BIOS, MemoryMiB: 768, Disks: []lab.Disk{
		{Kind: lab.Virtio}, {Kind: lab.Virtio}, {Kind: lab.Virtio, SizeMiB: 64, Serial: "acmenic", Data: true},
	}}
	return []sequence{
		{"uefi", uefi, false, false, []act{
			{"enrol", anyVersion, enrol},
			{"inspect", sinceInspect, inspect},
			{"clean automatically", anyVersion, provide},
			{"deploy a whole disk", anyVersion, deployWhole},
			{"rescue", anyVersion, rescue},
			{"unrescue", anyVersion, unrescue},
			{"service", sinceServicing, service},
			{"rebuild", anyVersion, rebuild},
			{"undeploy", anyVersion, undeploy},
			{"clean by hand", anyVersion, cleanByHand},
		}},
		{"uefi partition", uefi, false, false, []act{
			{"enrol", anyVersion, enrol},
			{"clean automatically", anyVersion, provide},
			{"deploy a partition", anyVersion, deployPartition},
			{"undeploy", anyVersion, undeploy},
		}},
		{"fast track", bios, true, false, []act{
			{"enrol", anyVersion, enrol},
			{"inspect", sinceInspect, inspect},
			{"clean automatically", anyVersion, provide},
			{"deploy a whole disk", anyVersion, deployWhole},
			{"undeploy", anyVersion, undeploy},
		}},
		{"bios", bios, false, false, []act{
			{"enrol", anyVersion, enrol},
			{"clean automatically", anyVersion, provide},
			{"deploy a whole disk", anyVersion, deployWhole},
			{"undeploy", anyVersion, undeploy},
		}},
		{"refusals", bios, false, false, []act{
			{"enrol", anyVersion, enrol},
			{"clean with an unknown step", anyVersion, cleanUnknownStep},
			{"clean with an unknown argument", anyVersion, cleanUnknownArgument},
			{"clean with a bad skip list", anyVersion, cleanBadSkipList},
			{"clean automatically", anyVersion, provide},
			{"deploy to a disk that is not there", anyVersion, deployNoDisk},
			{"deploy what has another checksum", anyVersion, deployWrongChecksum},
			{"deploy with an agent that dies", anyVersion, agentDies},
		}},
		{"vendors", extended, true, true, []act{
			{"enrol", anyVersion, enrol},
			{"inspect", sinceInspect, inspectExtended},
			{"clean automatically", anyVersion, provideUnsettled},
			{"steps of vendors", anyVersion, vendorSteps},
			{"steps that fail", anyVersion, vendorFailures},
			{"arrays of a controller", anyVersion, controllerArrays},
			{"arrays of software", anyVersion, softwareArrays},
			{"clean automatically again", anyVersion, provideSettled},
		}},
	}
}

// TestIronic has each Ironic that FERRIC_IRONIC_PYTHONS finds (interpreters,
// see `make test-ironic`) drive machines whose ramdisk runs ferric-agent.
func TestIronic(t *testing.T) {
	if os.Getenv("FERRIC_IRONIC") == "" {
		return // no Ironics: `make test-ironic` has some
	}
	pythons := strings.Fields(os.Getenv("FERRIC_IRONIC_PYTHONS"))
	ramdiskDir, images := os.Getenv("FERRIC_RAMDISK"), os.Getenv("FERRIC_IMAGES")
	if len(pythons) == 0 || ramdiskDir == "" || images == "" {
		t.Fatal("FERRIC_IRONIC_PYTHONS, FERRIC_RAMDISK and FERRIC_IMAGES are to be set; run `make test-ironic`")
	}
	whole, err := osimage.Build(t.Context(), osimage.Options{CacheDir: images})
	if err != nil {
		t.Fatal(err)
	}
	partition, err := osimage.BuildPartition(t.Context(), osimage.Options{CacheDir: images})
	if err != nil {
		t.Fatal(err)
	}
	for _, python := range pythons {
		release, err := ironicd.Release(t.Context(), python)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(release, func(t *testing.T) {
			for _, s := range sequences() {
				t.Run(s.name, func(t *testing.T) {
					p := &patient{whole: whole, partition: partition, fastTrack: s.fastTrack}
					o := ironicd.Options{Python: python, RamdiskDir: ramdiskDir, ImageDir: images}
					if s.vendors {
						o.RamdiskDir = extendedRamdisk(t)
					}
					if s.fastTrack {
						o.Config = fastTrack
					}
					p.start(t, s, o)
					for _, a := range s.acts {
						if p.Version < a.since {
							continue
						}
						if !t.Run(a.name, func(t *testing.T) {
							begin := time.Now()
							a.do(t, p)
							p.took = append(p.took, fmt.Sprintf("%-34s %5.1f s", a.name, time.Since(begin).Seconds()))
						}) {
							break
						}
					}
					p.askedNothingElse(t)
					t.Logf("Ironic %s (API to %s, up after %.1f s), machine %s:\n%s", p.Release, p.Version, p.Took.Seconds(), s.name, strings.Join(p.took, "\n"))
				})
			}
		})
	}
}

// start builds a rack with one machine and an Ironic.
func (p *patient) start(t *testing.T, s sequence, o ironicd.Options) {
	t.Helper()
	lab.Alone(t)
	// The sockets of a rack need a short path.
	dir, err := os.MkdirTemp("", "rack")
	if err != nil {
		t.Fatal(err)
	}
	s.machine.Name = "machine"
	rack, err := lab.Up(t.Context(), lab.Config{Dir: dir, Accel: "tcg", Nodes: []lab.NodeConfig{s.machine}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.Ironic != nil {
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := rack.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			tail(t, filepath.Join(dir, "ironic.log"))
			tail(t, filepath.Join(dir, "dnsmasq.log"))
			tail(t, rack.Nodes[0].Console.Path())
		}
		keep(t, dir)
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	p.machine = rack.Nodes[0]
	if p.Ironic, err = ironicd.Start(t.Context(), rack, o); err != nil {
		t.Fatal(err)
	}
}

// keep copies the logs to where FERRIC_IRONIC_LOGS says, if it does.
func keep(t *testing.T, dir string) {
	t.Helper()
	target := os.Getenv("FERRIC_IRONIC_LOGS")
	if target == "" {
		return
	}
	target = filepath.Join(target, strings.ReplaceAll(t.Name(), "/", "_"))
	if err := os.RemoveAll(target); err != nil {
		t.Log(err)
	}
	for _, part := range []string{"ironic.log", "dnsmasq.log", "nodes/machine/console.log", "ironic/ironic.conf"} {
		data, err := os.ReadFile(filepath.Join(dir, part))
		if err == nil {
			if err = os.MkdirAll(target, 0o755); err == nil {
				err = os.WriteFile(filepath.Join(target, filepath.Base(part)), data, 0o644)
			}
		}
		if err != nil {
			t.Log(err)
		}
	}
	if err := os.CopyFS(filepath.Join(target, "logs"), os.DirFS(filepath.Join(dir, "ironic", "logs"))); err != nil {
		t.Log(err)
	}
}
