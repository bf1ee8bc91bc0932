package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// processOne is process 1 of the PID namespace: it prepares the namespaces, runs the inside process, reaps orphans
// (children of a killed ipmi_sim, for one) and passes signals on. It ends when the inside process ends or when the
// process outside has gone, however that happened; the kernel then kills everything else in the namespace.
func processOne() int {
	unix.CloseOnExec(fdAlive)
	unix.CloseOnExec(fdReady)
	ready := os.NewFile(fdReady, "ready")
	if err := prepare(); err != nil {
		fmt.Fprint(ready, err)
		return 1
	}
	// Signals are caught before the child exists, so that none is lost; SIGCHLD tells about orphans too.
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGCHLD)
	pid, err := startInside()
	if err != nil {
		fmt.Fprint(ready, err)
		return 1
	}
	fmt.Fprint(ready, "ok")
	ready.Close()

	orphaned := make(chan struct{})
	go func() {
		defer close(orphaned)
		_, _ = os.NewFile(fdAlive, "alive").Read(make([]byte, 1))
	}()
	for {
		select {
		case <-orphaned:
			return 1
		case s := <-signals:
			if s != unix.SIGCHLD {
				_ = unix.Kill(pid, s.(unix.Signal))
				continue
			}
			if status, ended := reap(pid); ended {
				if status.Signaled() {
					return 128 + int(status.Signal())
				}
				return status.ExitStatus()
			}
		}
	}
}

// reap collects all children that have ended and reports the status of the given one if it is among them.
func reap(pid int) (unix.WaitStatus, bool) {
	for {
		var status unix.WaitStatus
		got, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil || got == 0:
			return 0, false
		case got == pid:
			return status, true
		}
	}
}

// startInside executes the program once more; it is not an exec.Cmd's child to wait for, because reap waits for all.
func startInside() (int, error) {
	exe, err := os.Executable()
	if err != nil {
		return 0, fmt.Errorf("find the program to run inside the rack: %w", err)
	}
	n, err := strconv.Atoi(os.Getenv(listenersVar))
	if err != nil {
		return 0, fmt.Errorf("read the number of forwards: %w", err)
	}
	cmd := exec.Command(exe, os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), stageVar+"="+stageIn)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	for i := range n {
		unix.CloseOnExec(fdListeners + i)
		cmd.ExtraFiles = append(cmd.ExtraFiles, os.NewFile(uintptr(fdListeners+i), "forward"))
	}
	defer closeAll(cmd.ExtraFiles)
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start the process inside the rack: %w", err)
	}
	return cmd.Process.Pid, nil
}

// prepare makes the mounts private, mounts a /proc that shows the namespace's processes, and brings loopback up.
func prepare() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the rack's mounts private: %w", err)
	}
	// In a container that masks parts of /proc the kernel refuses a new one. The old one, showing the process
	// numbers outside, does as well: nothing in the rack looks processes up there.
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil && !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("mount /proc in the rack: %w", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find loopback in the rack: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("bring loopback up in the rack: %w", err)
	}
	return nil
}
