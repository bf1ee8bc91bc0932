package matrix

import (
	"fmt"

	"ferric/integration/lab"
)

// imageKind is what a cell deploys.
type imageKind string

const (
	whole     imageKind = "whole-disk"
	partition imageKind = "partition"
)

// outcome is what a cell is to end with.
type outcome string

const (
	boots outcome = "boots"
	// refused is a partition image for a BIOS machine without the option that
	// allows to run the image's installer of its boot loader.
	refused outcome = "refused"
	// cannot is a disk that is deployed, and that the firmware ignores.
	cannot outcome = "firmware cannot"
	// noLoader is a disk that is deployed, and whose first sector the firmware
	// starts, where the image has nothing: GRUB's loader for BIOS reads sectors
	// of 512 bytes only.
	noLoader outcome = "no loader"
)

// cell is one line of the table.
type cell struct {
	bus      lab.DiskKind
	sector   int
	firmware lab.Firmware
	image    imageKind
	format   string // in which the image comes: "raw", "qcow2", or "zstd" for raw in zstd
	hint     string // the root device hint: "serial", "wwn", or an array's "name"
	// msdos has a BIOS machine's disk partitioned with such a table and not
	// with a GPT; of an array, its disks.
	msdos bool
	// array has the machine make an array of two such disks first, to which the
	// image goes.
	array bool
	// installer has the image bring GRUB's installer, and the conductor allow
	// that it is run.
	installer bool
	want      outcome
	quick     bool // in `make test`, too
}

// name is what CELL selects by.
func (c cell) name() string {
	name := fmt.Sprintf("%s-%d-%s-%s", c.bus, c.sector, c.firmware, c.image)
	if c.image == partition && c.firmware == lab.BIOS {
		name += "-" + c.label()
	}
	if c.array {
		name = "md-" + name
		if c.msdos {
			name += "-msdos"
		}
	}
	if c.installer {
		name += "-installer"
	}
	return name
}

// label is the kind of partition table that the disk gets.
func (c cell) label() string {
	if c.msdos {
		return "msdos"
	}
	return "gpt"
}

// cells are the table. SATA disks have sectors of 512 bytes in QEMU, and world
// wide names are on SCSI and SATA only.
var cells = [...]cell{
	{bus: lab.Virtio, sector: 512, firmware: lab.BIOS, image: whole, format: "qcow2", hint: "serial", want: boots},
	{bus: lab.SCSI, sector: 512, firmware: lab.BIOS, image: whole, format: "raw", hint: "wwn", want: boots},
	{bus: lab.SATA, sector: 512, firmware: lab.BIOS, image: whole, format: "zstd", hint: "wwn", want: boots},
	{bus: lab.NVMe, sector: 512, firmware: lab.BIOS, image: whole, format: "qcow2", hint: "serial", want: boots},
	{bus: lab.Virtio, sector: 512, firmware: lab.UEFI, image: whole, format: "raw", hint: "serial", want: boots},
	{bus: lab.SCSI, sector: 512, firmware: lab.UEFI, image: whole, format: "qcow2", hint: "serial", want: boots},
	{bus: lab.SATA, sector: 512, firmware: lab.UEFI, image: whole, format: "qcow2", hint: "serial", want: boots},
	{bus: lab.NVMe, sector: 512, firmware: lab.UEFI, image: whole, format: "zstd", hint: "serial", want: boots},

	{bus: lab.Virtio, sector: 4096, firmware: lab.UEFI, image: whole, format: "zstd", hint: "serial", want: boots},
	{bus: lab.SCSI, sector: 4096, firmware: lab.UEFI, image: whole, format: "qcow2", hint: "wwn", want: boots},
	{bus: lab.NVMe, sector: 4096, firmware: lab.UEFI, image: whole, format: "raw", hint: "serial", want: boots},

	{bus: lab.Virtio, sector: 4096, firmware: lab.BIOS, image: whole, format: "raw", hint: "serial", want: cannot},
	{bus: lab.SCSI, sector: 4096, firmware: lab.BIOS, image: whole, format: "zstd", hint: "wwn", want: cannot},
	{bus: lab.NVMe, sector: 4096, firmware: lab.BIOS, image: whole, format: "qcow2", hint: "serial", want: noLoader},

	{bus: lab.Virtio, sector: 512, firmware: lab.UEFI, image: whole, format: "qcow2", hint: "name", array: true, want: boots},
	{bus: lab.SATA, sector: 512, firmware: lab.UEFI, image: whole, format: "raw", hint: "name", array: true, want: boots},
	{bus: lab.NVMe, sector: 4096, firmware: lab.UEFI, image: whole, format: "zstd", hint: "name", array: true, want: boots},
	{bus: lab.Virtio, sector: 512, firmware: lab.BIOS, image: whole, format: "qcow2", hint: "name", array: true, installer: true, want: boots},
	{bus: lab.SATA, sector: 512, firmware: lab.BIOS, image: whole, format: "raw", hint: "name", array: true, installer: true, msdos: true, want: boots},

	{bus: lab.Virtio, sector: 512, firmware: lab.UEFI, image: partition, format: "zstd", hint: "serial", want: boots},
	{bus: lab.SCSI, sector: 512, firmware: lab.UEFI, image: partition, format: "raw", hint: "wwn", want: boots},
	{bus: lab.SATA, sector: 512, firmware: lab.UEFI, image: partition, format: "qcow2", hint: "wwn", want: boots},
	{bus: lab.NVMe, sector: 512, firmware: lab.UEFI, image: partition, format: "zstd", hint: "serial", want: boots},
	{bus: lab.Virtio, sector: 4096, firmware: lab.UEFI, image: partition, format: "raw", hint: "serial", want: boots},
	{bus: lab.SCSI, sector: 4096, firmware: lab.UEFI, image: partition, format: "qcow2", hint: "serial", want: boots},
	{bus: lab.NVMe, sector: 4096, firmware: lab.UEFI, image: partition, format: "zstd", hint: "serial", want: boots, quick: true},

	{bus: lab.Virtio, sector: 512, firmware: lab.BIOS, image: partition, format: "qcow2", hint: "serial", want: refused},
	{bus: lab.Virtio, sector: 512, firmware: lab.BIOS, image: partition, format: "raw", hint: "serial", msdos: true, installer: true, want: boots},
	{bus: lab.SCSI, sector: 512, firmware: lab.BIOS, image: partition, format: "zstd", hint: "wwn", installer: true, want: boots},
	{bus: lab.SATA, sector: 512, firmware: lab.BIOS, image: partition, format: "qcow2", hint: "serial", msdos: true, installer: true, want: boots},
	{bus: lab.NVMe, sector: 512, firmware: lab.BIOS, image: partition, format: "raw", hint: "serial", installer: true, want: boots},
}
