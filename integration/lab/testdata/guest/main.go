// Command guest is the init of a test machine: it says that it is there, and switches the machine off.
package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

func main() {
	_ = os.Mkdir("/sys", 0o755)
	_ = syscall.Mount("sysfs", "/sys", "sysfs", 0, "")
	firmware := "bios"
	if _, err := os.Stat("/sys/firmware/efi"); err == nil {
		firmware = "uefi"
	}
	serial, _ := os.ReadFile("/sys/class/dmi/id/product_serial")
	fmt.Printf("guest: firmware=%s serial=%s\n", firmware, strings.TrimSpace(string(serial)))
	_ = syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF)
	for { // process 1 must not end
		time.Sleep(time.Hour)
	}
}
