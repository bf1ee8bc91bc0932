// Command guest is the init of a test machine: it says what it finds, also of its BMC through KCS, and switches the
// machine off.
package main

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/u-root/u-root/pkg/ipmi"
	"golang.org/x/sys/unix"
)

func main() {
	for _, m := range [][2]string{{"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"proc", "/proc"}} {
		_ = os.Mkdir(m[1], 0o755)
		_ = unix.Mount(m[0], m[1], m[0], 0, "")
	}
	firmware := "bios"
	if _, err := os.Stat("/sys/firmware/efi"); err == nil {
		firmware = "uefi"
	}
	serial, _ := os.ReadFile("/sys/class/dmi/id/product_serial")
	address, err := bmcAddress()
	fmt.Printf("guest: firmware=%s serial=%s bmc=%s error=%v;\n", firmware, strings.TrimSpace(string(serial)), address, err)
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	for { // process 1 must not end
		time.Sleep(time.Hour)
	}
}

// bmcAddress asks the BMC for parameter 3, IP address, of LAN channel 1 (IPMI 2.0, table 23-4).
func bmcAddress() (netip.Addr, error) {
	for _, name := range []string{"ipmi_msghandler", "ipmi_devintf", "ipmi_si"} {
		file, err := os.Open("/modules/" + name + ".ko")
		if err != nil {
			return netip.Addr{}, err
		}
		if err := unix.FinitModule(int(file.Fd()), "", 0); err != nil {
			return netip.Addr{}, fmt.Errorf("load %s: %w", name, err)
		}
		file.Close()
	}
	var bmc *ipmi.IPMI
	var err error
	for range 100 { // the device appears after the driver has found it
		if bmc, err = ipmi.Open(0); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err != nil {
		return netip.Addr{}, err
	}
	defer bmc.Close()
	answer, err := bmc.GetLanConfig(1, 3) // completion code, revision, address
	if err != nil {
		return netip.Addr{}, err
	}
	if len(answer) < 6 {
		return netip.Addr{}, fmt.Errorf("answer % x is too short", answer)
	}
	address, _ := netip.AddrFromSlice(answer[2:6])
	return address, nil
}
