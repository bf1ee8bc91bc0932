"""A machine of one loop device and one card, for ironic-python-agent.

Everything that the agent would look for in the host is answered here, before
its generic manager is asked, so that it sees, and writes to, that device only.
"""

import os

from ironic_python_agent import hardware

DISK = os.environ["FERRIC_DISK"]

NOTE = {"step": "note", "priority": 0, "interface": "deploy", "reboot_requested": False, "abortable": True,
        "argsinfo": {"text": {"description": "what to note", "required": True}}}


class LoopHardwareManager(hardware.GenericHardwareManager):
    HARDWARE_MANAGER_NAME = "loop"
    HARDWARE_MANAGER_VERSION = "1"

    def evaluate_hardware_support(self):
        return hardware.HardwareSupport.SERVICE_PROVIDER

    def initialize(self):
        """There is nothing to load or to assemble."""

    def list_hardware_info(self):
        return {
            "interfaces": self.list_network_interfaces(),
            "cpu": hardware.CPU("loop", "1000", 2, "x86_64", [], 1),
            "disks": self.list_block_devices(),
            "memory": hardware.Memory(4 << 30, 4096),
            "bmc_address": None,
            "bmc_v6address": None,
            "system_vendor": hardware.SystemVendorInfo("loop", "1", "ferric", hardware.SystemFirmware("ferric", "1", "")),
            "boot": self.get_boot_info(),
            "hostname": "loop",
        }

    def list_network_interfaces(self):
        return [hardware.NetworkInterface("eth0", os.environ["FERRIC_MAC"], ipv4_address="192.0.2.7", has_carrier=True)]

    def list_block_devices(self, include_partitions=False, all_serial_and_wwn=False):
        size = int(open("/sys/class/block/%s/size" % os.path.basename(DISK)).read()) * 512
        return [hardware.BlockDevice(DISK, "loop", size, False, serial=os.environ["FERRIC_SERIAL"])]

    def get_os_install_device(self, permit_refresh=False):
        return DISK

    def get_boot_info(self):
        return hardware.BootInfo("bios", pxe_interface=os.environ["FERRIC_MAC"])

    def get_clean_steps(self, node, ports):
        return super().get_clean_steps(node, ports) + [NOTE]

    def get_service_steps(self, node, ports):
        return super().get_service_steps(node, ports) + [NOTE]

    def note(self, node, ports, text):
        with open(os.environ["FERRIC_NOTES"], "a") as notes:
            notes.write(text + "\n")
        return text
