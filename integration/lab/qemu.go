package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// startWait is how long power-on waits to see whether QEMU starts or gives up at once. A BMC client waits meanwhile.
const startWait = 2 * time.Second

// File descriptors that QEMU inherits.
const (
	fdSerial  = 3
	fdMonitor = 4
)

// ovmf lists where distributions keep OVMF's code and variable store, newest layout first.
var ovmf = [...][2]string{
	{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
	{"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"},
	{"/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"},
}

// secureOVMF is the same with Secure Boot on, and Microsoft's keys in the variables.
var secureOVMF = [...][2]string{
	{"/usr/share/OVMF/OVMF_CODE_4M.ms.fd", "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"},
	{"/usr/share/edk2/ovmf/OVMF_CODE.secboot.fd", "/usr/share/edk2/ovmf/OVMF_VARS.secboot.fd"},
}

// machine is what qemuArgs needs to know beyond the configuration.
type machine struct {
	NodeConfig
	dir     string
	tap     string
	kcsPort int
	accel   string
	code    string // OVMF's code, UEFI only
}

// prepare makes the disks and the firmware's variables where they do not exist.
func (m *machine) prepare() error {
	if err := os.MkdirAll(m.dir, 0o755); err != nil {
		return fmt.Errorf("machine %s: %w", m.Name, err)
	}
	for _, d := range m.Disks {
		size := int64(d.SizeMiB) << 20
		if info, err := os.Stat(d.File); err == nil && info.Size() == size {
			continue
		}
		file, err := os.OpenFile(d.File, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
		if err != nil {
			return fmt.Errorf("machine %s: make disk %s: %w", m.Name, d.Serial, err)
		}
		if err := errors.Join(file.Truncate(size), file.Close()); err != nil {
			return fmt.Errorf("machine %s: make disk %s: %w", m.Name, d.Serial, err)
		}
	}
	if m.Firmware != UEFI {
		return nil
	}
	pairs := ovmf[:]
	if m.SecureBoot {
		pairs = secureOVMF[:]
	}
	for _, pair := range pairs {
		code, vars := pair[0], pair[1]
		if _, err := os.Stat(code); err != nil {
			continue
		}
		m.code = code
		data, err := os.ReadFile(vars)
		if err != nil {
			return fmt.Errorf("machine %s: copy the firmware's variables: %w", m.Name, err)
		}
		file, err := os.OpenFile(m.varsFile(), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if errors.Is(err, fs.ErrExist) {
			return nil // the machine keeps its boot entries
		}
		if err == nil {
			_, err = file.Write(data)
			err = errors.Join(err, file.Close())
		}
		if err != nil {
			return fmt.Errorf("machine %s: copy the firmware's variables: %w", m.Name, err)
		}
		return nil
	}
	return fmt.Errorf("machine %s: OVMF not found, install the package ovmf", m.Name)
}

func (m *machine) varsFile() string { return filepath.Join(m.dir, "vars.fd") }

// devices returns the ids of the bootable devices: net0 and all disks but those for data.
func (m *machine) devices() []string {
	ids := []string{"net0"}
	for i, d := range m.Disks {
		if !d.Data {
			ids = append(ids, fmt.Sprintf("disk%d", i))
		}
	}
	return ids
}

// bootOrder returns the devices that firmware tries with the given selector, in that order. An explicit disk selector
// means the disks alone: a deployed system that does not boot must be seen, not hidden by another network boot.
func (m *machine) bootOrder(s Selector) []string {
	devices := m.devices()
	switch s {
	case SelectPXE:
		return devices
	case SelectDisk:
		return devices[1:]
	default:
		return append(devices[1:len(devices):len(devices)], "net0")
	}
}

// args is QEMU's command line for a boot with the given selector.
func (m *machine) args(s Selector) []string {
	index := map[string]string{}
	for i, id := range m.bootOrder(s) {
		index[id] = fmt.Sprintf(",bootindex=%d", i+1)
	}
	cpu := "max,la57=off" // has RDRAND: without it a guest waits a minute for entropy
	if m.accel == "kvm" {
		cpu = "host"
	}
	board := "q35,graphics=off"
	if m.SecureBoot {
		board += ",smm=on" // which alone may write the variables
	}
	a := []string{
		"-name", m.Name, "-nodefaults", "-no-user-config", "-display", "none",
		// graphics=off makes firmware and iPXE speak on the serial port
		"-machine", board, "-accel", m.accel, "-cpu", cpu, "-smp", "1", "-m", strconv.Itoa(m.MemoryMiB),
		"-rtc", "base=" + m.Clock, "-boot", "strict=on",
		"-chardev", fmt.Sprintf("socket,id=serial0,fd=%d", fdSerial), "-serial", "chardev:serial0",
		"-chardev", fmt.Sprintf("socket,id=monitor0,fd=%d", fdMonitor), "-mon", "chardev=monitor0,mode=control",
		"-chardev", fmt.Sprintf("socket,id=ipmi0,host=127.0.0.1,port=%d,reconnect=1", m.kcsPort),
		"-device", "ipmi-bmc-extern,id=bmc0,chardev=ipmi0", "-device", "isa-ipmi-kcs,bmc=bmc0",
		"-smbios", fmt.Sprintf("type=1,manufacturer=%s,product=%s,serial=%s,uuid=%s,sku=%s",
			m.SMBIOS.Manufacturer, m.SMBIOS.Product, m.SMBIOS.Serial, m.SMBIOS.UUID, m.SMBIOS.SKU),
		"-smbios", fmt.Sprintf("type=3,asset=%s,serial=%s", m.SMBIOS.AssetTag, m.SMBIOS.Serial),
	}
	if m.Firmware == UEFI {
		a = append(a, "-drive", "if=pflash,unit=0,format=raw,readonly=on,file="+m.code,
			"-drive", "if=pflash,unit=1,format=raw,file="+m.varsFile())
	}
	if m.SecureBoot {
		a = append(a, "-global", "driver=cfi.pflash01,property=secure,value=on")
	}
	rom := ""
	if m.NetBoot != NICROM {
		rom = ",romfile="
	}
	if m.NetBoot == FirmwareHTTP {
		// OVMF tries PXE before HTTP, and unanswered PXE takes a minute
		a = append(a, "-fw_cfg", "name=opt/org.tianocore/IPv4PXESupport,string=n",
			"-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=n")
	}
	a = append(a, "-netdev", fmt.Sprintf("tap,id=link0,ifname=%s,script=no,downscript=no", m.tap),
		"-device", fmt.Sprintf("%s,id=net0,netdev=link0,mac=%s%s%s", m.NIC, m.MAC, rom, index["net0"]))
	if m.Direct != nil && s != SelectDisk {
		a = append(a, "-kernel", m.Direct.Kernel, "-initrd", m.Direct.Initramfs, "-append", m.Direct.Params)
	}
	a = append(a, m.diskArgs(index)...)
	return append(a, m.Arguments...)
}

func (m *machine) diskArgs(index map[string]string) []string {
	var a []string
	sata, scsi := 0, 0
	for i, d := range m.Disks {
		id := fmt.Sprintf("disk%d", i)
		a = append(a, "-drive", fmt.Sprintf("if=none,id=file%d,format=raw,cache=unsafe,discard=unmap,file=%s", i, d.File))
		device := fmt.Sprintf(",id=%s,drive=file%d,serial=%s%s", id, i, d.Serial, index[id])
		identity := ""
		if d.WWN != 0 {
			identity += fmt.Sprintf(",wwn=%#x", d.WWN)
		}
		if d.SSD {
			identity += ",rotation_rate=1"
		}
		if d.RPM != 0 {
			identity += fmt.Sprintf(",rotation_rate=%d", d.RPM)
		}
		if d.Sector != 512 {
			device += fmt.Sprintf(",logical_block_size=%[1]d,physical_block_size=%[1]d", d.Sector)
		}
		switch d.Kind {
		case Virtio:
			device = "virtio-blk-pci" + device
		case NVMe:
			device = "nvme" + device
		case SATA:
			if d.Model != "" {
				identity += ",model=" + d.Model
			}
			device = fmt.Sprintf("ide-hd,bus=ide.%d", sata) + device + identity
			sata++
		case SCSI:
			if scsi == 0 {
				a = append(a, "-device", "virtio-scsi-pci,id=scsi0")
			}
			if d.Model != "" {
				identity += ",product=" + d.Model
			}
			device = fmt.Sprintf("scsi-hd,bus=scsi0.0,scsi-id=%d", scsi) + device + identity
			scsi++
		}
		a = append(a, "-device", device)
	}
	return a
}

// qemu is one run of a machine, from power on to power off.
type qemu struct {
	cmd     *exec.Cmd
	monitor *monitor
	serial  *os.File
	done    chan struct{} // closed when the process is gone and reaped
}

// start powers the machine on. An error means that QEMU did not start or ended at once.
func (m *machine) start(s Selector) (*qemu, error) {
	serial, serialChild, err := socketpair("serial")
	if err != nil {
		return nil, fmt.Errorf("start machine %s: %w", m.Name, err)
	}
	defer serialChild.Close()
	control, controlChild, err := socketpair("monitor")
	if err != nil {
		serial.Close()
		return nil, fmt.Errorf("start machine %s: %w", m.Name, err)
	}
	defer controlChild.Close()
	logPath := filepath.Join(m.dir, "qemu.log")
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		serial.Close()
		control.Close()
		return nil, fmt.Errorf("start machine %s: %w", m.Name, err)
	}
	defer log.Close()

	cmd := exec.Command("qemu-system-x86_64", m.args(s)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = m.dir, log, log
	cmd.ExtraFiles = []*os.File{serialChild, controlChild}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		serial.Close()
		control.Close()
		return nil, fmt.Errorf("start machine %s: %w", m.Name, err)
	}
	q := &qemu{cmd: cmd, monitor: newMonitor(control), serial: serial, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(q.done)
	}()
	wait := time.NewTimer(startWait)
	defer wait.Stop()
	select {
	case <-q.monitor.ready:
	case <-wait.C: // slow, but alive
	case <-q.done:
		serial.Close()
		control.Close()
		return nil, fmt.Errorf("start machine %s: QEMU ended at once: %s", m.Name, lastLine(logPath))
	}
	return q, nil
}

// kill cuts the power and returns when the process is gone.
func (q *qemu) kill() {
	_ = q.cmd.Process.Kill()
	<-q.done
}

func (q *qemu) alive() bool {
	select {
	case <-q.done:
		return false
	default:
		return true
	}
}

// socketpair returns a connected pair of stream sockets; the first end is for this process.
func socketpair(name string) (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	// only our end may be non-blocking (and thus be closed while being read): QEMU sets its own mode
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, nil, err
	}
	return os.NewFile(uintptr(fds[0]), name), os.NewFile(uintptr(fds[1]), name), nil
}

func lastLine(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return lines[len(lines)-1]
}
