package ramdisk

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Profile names a choice of kernel modules.
type Profile string

// The profiles.
const (
	// Virtual is for machines of QEMU, VMware, Hyper-V and Xen.
	Virtual Profile = "virtual"
	// Server is for real servers, and holds Virtual: the in-tree drivers of their Ethernet
	// adapters and storage controllers.
	Server Profile = "server"
)

// ParseProfile reads a profile's name.
func ParseProfile(name string) (Profile, error) {
	if _, ok := profiles()[Profile(name)]; !ok {
		return "", fmt.Errorf("ramdisk profile %q is unknown: choose one of %v", name,
			slices.Sorted(maps.Keys(profiles())))
	}
	return Profile(name), nil
}

// modules lists the profile's modules: names, and directories with a slash at their end.
// What a kernel does not have, or has built in, is noted in the manifest and is no error,
// since distributions and versions differ in that; only the required ones must be there.
func (p Profile) modules() []string { return profiles()[p] }

// programs lists the profile's programs of this machine: mdadm for arrays, and those
// that the agent makes file systems with, and people repair them. Without one, the agent
// refuses the work that needs it and says so. Those of file systems cost 1.3 MiB packed,
// which a virtual machine is spared: there they are added when wanted.
func (p Profile) programs() []string {
	programs := []string{"mdadm"}
	if p == Server {
		programs = append(programs, "mke2fs", "e2fsck", "resize2fs", "mkfs.vfat", "fsck.vfat", "mkfs.xfs")
	}
	return programs
}

// required are the modules without which no machine of any profile can be deployed:
// a network to receive from and a disk to write to.
var required = [...]string{"virtio_pci", "virtio_net", "virtio_blk", "sd_mod", "nvme", "ahci"}

func profiles() map[Profile][]string {
	virtual := strings.Fields(`
		virtio_pci virtio_mmio virtio_net virtio_blk virtio_scsi virtio_rng virtio_console
		e1000 e1000e igb 8139cp pcnet32 vmxnet3
		vmw_pvscsi mptspi mptsas sym53c8xx megaraid_sas
		hv_vmbus hv_netvsc hv_storvsc xen_netfront xen_blkfront
		nvme ahci ata_piix ata_generic sd_mod sr_mod sg
		ehci_pci uhci_hcd ohci_pci xhci_pci usb_storage uas usbhid hid_generic
		ipmi_si ipmi_devintf
		efivarfs efi_pstore capsule-loader vfat nls_cp437 nls_ascii nls_iso8859_1 nls_utf8 isofs ext4
		md_mod raid0 raid1 raid10 raid456 loop
		crc32c_generic crc32c_intel button qemu_fw_cfg i6300esb 8021q`)
	server := append(slices.Clone(virtual), strings.Fields(`
		kernel/drivers/net/ethernet/amazon/ kernel/drivers/net/ethernet/amd/xgbe/
		kernel/drivers/net/ethernet/aquantia/ kernel/drivers/net/ethernet/broadcom/
		kernel/drivers/net/ethernet/brocade/ kernel/drivers/net/ethernet/chelsio/cxgb4/
		kernel/drivers/net/ethernet/chelsio/cxgb4vf/ kernel/drivers/net/ethernet/cisco/
		kernel/drivers/net/ethernet/emulex/ kernel/drivers/net/ethernet/google/
		kernel/drivers/net/ethernet/huawei/ kernel/drivers/net/ethernet/intel/
		kernel/drivers/net/ethernet/mellanox/mlx4/ kernel/drivers/net/ethernet/mellanox/mlx5/
		kernel/drivers/net/ethernet/microsoft/ kernel/drivers/net/ethernet/netronome/
		kernel/drivers/net/ethernet/pensando/ kernel/drivers/net/ethernet/qlogic/
		kernel/drivers/net/ethernet/realtek/ kernel/drivers/net/ethernet/sfc/
		kernel/drivers/net/phy/
		cdc_ether cdc_ncm cdc_subset rndis_host ax88179_178a r8152 bonding

		kernel/drivers/ata/ kernel/drivers/message/fusion/
		kernel/drivers/scsi/aacraid/ kernel/drivers/scsi/aic94xx/ kernel/drivers/scsi/be2iscsi/
		kernel/drivers/scsi/bfa/ kernel/drivers/scsi/csiostor/ kernel/drivers/scsi/device_handler/
		kernel/drivers/scsi/esas2r/ kernel/drivers/scsi/fnic/ kernel/drivers/scsi/isci/
		kernel/drivers/scsi/lpfc/ kernel/drivers/scsi/megaraid/ kernel/drivers/scsi/mpi3mr/
		kernel/drivers/scsi/mpt3sas/ kernel/drivers/scsi/mvsas/ kernel/drivers/scsi/pm8001/
		kernel/drivers/scsi/qla2xxx/ kernel/drivers/scsi/qla4xxx/ kernel/drivers/scsi/smartpqi/
		kernel/drivers/scsi/snic/
		3w_9xxx 3w_sas arcmsr hpsa hptiop ipr mvumi pmcraid stex ses st
		nvme_tcp nvme_rdma nvme_fc vmd mmc_block sdhci_pci sdhci_acpi

		ipmi_ssif ipmi_watchdog iTCO_wdt hpwdt sp5100_tco
		mei_me i2c_i801 xfs btrfs dm_mod dm_crypt dm_multipath dm_raid overlay squashfs`)...)
	return map[Profile][]string{Virtual: virtual, Server: server}
}
