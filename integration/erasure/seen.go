// Package erasure tries the commands by which disks erase themselves on the
// emulated disks of a machine: that they reach a controller through the kernel,
// what is left afterwards, and what disks without such a command say. Its guest
// is a program that runs in the machine instead of the agent.
package erasure

import (
	"ferric/hwmanager/ata"
	"ferric/hwmanager/erasure"
	"ferric/hwmanager/nvme"
	"ferric/hwmanager/scsi"
)

// Consent is what the kernel's command line has to say before the guest writes
// to the disks of its machine.
const Consent = "ferric.erasure=all-disks"

// Line begins the lines of the console on which the guest reports, one Disk in
// JSON each; Done ends them.
const (
	Line = "erasure: "
	Done = "erasure: done"
)

// Disk is what the guest saw of a disk, which had content before.
type Disk struct {
	Name string // nvme0n1
	Size int64  // bytes

	Controller nvme.Controller
	Namespace  nvme.Namespace
	NVMe       *Failure // of identifying it
	Inquiry    scsi.Inquiry
	SCSI       *Failure
	Identity   ata.Identity
	ATA        *Failure

	PartitionNVMe *Failure // of erasing a partition, by NVMe and SCSI commands
	PartitionSCSI *Failure
	Sanitize      *Failure // of an NVMe sanitize
	SCSIErase     *Failure
	ATAErase      *Failure
	Before        []string // disks that had their content still

	Method   erasure.Method // of erasing the disk by NVMe commands
	Erase    *Failure
	Progress []float64
	Seconds  float64
	After    []string // as Before
}

// Failure is an error.
type Failure struct {
	Text         string
	NotSupported bool // it was erasure.ErrNotSupported
}
