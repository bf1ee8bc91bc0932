package main

import (
	"bytes"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// listenUevents opens the kernel's announcements of devices, group 1 of
// NETLINK_KOBJECT_UEVENT. It has to be open before the first scan, or a device could
// appear between the two.
func listenUevents() (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return -1, fmt.Errorf("listen for devices: %w", err)
	}
	// A burst (an array with hundreds of disks) must fit; what does not is found by a scan.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("listen for devices: %w", err)
	}
	return fd, nil
}

// follow serves devices as they appear, for as long as the machine runs.
func (p *coldplug) follow(fd int) {
	if fd < 0 {
		return
	}
	defer unix.Close(fd)
	buf := make([]byte, 64<<10)
	for {
		n, from, err := unix.Recvfrom(fd, buf, 0)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.ENOBUFS):
			p.scan()
		case err != nil:
			p.out.printf("uinit: listen for devices: %v", err)
			return
		case fromKernel(from):
			if alias := addedModalias(buf[:n]); alias != "" && p.first(alias) {
				p.load(alias)
			}
		}
	}
}

func fromKernel(from unix.Sockaddr) bool {
	nl, ok := from.(*unix.SockaddrNetlink)
	return ok && nl.Pid == 0
}

// addedModalias is the modalias of the device whose arrival a message announces, or "".
// A message is "add@/devices/..." and then KEY=value, each ended by a zero byte.
func addedModalias(message []byte) string {
	if !bytes.HasPrefix(message, []byte("add@")) {
		return ""
	}
	for field := range bytes.SplitSeq(message, []byte{0}) {
		if alias, ok := bytes.CutPrefix(field, []byte("MODALIAS=")); ok {
			return string(alias)
		}
	}
	return ""
}
