package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"
)

// sudoVar marks a process that throughSudo started.
const sudoVar = "FERRIC_LAB_SUDO"

// throughSudo runs the program again as root, only to create the namespaces: what runs inside them is the calling
// user again (see hostIdentity), so no file of the rack ends up owned by root.
func throughSudo(ctx context.Context, reason string) error {
	if _, err := exec.LookPath("sudo"); err != nil {
		return fmt.Errorf("%w to ordinary users (%s), and there is no sudo: run as root", ErrForbidden, reason)
	}
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the program to run inside the rack: %w", err)
	}
	fmt.Fprintf(os.Stderr, "This system forbids unprivileged user namespaces (%s); using sudo for the one step of creating the rack's namespaces.\n", reason)
	var names []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if name != "" && !strings.HasPrefix(name, "SUDO_") {
			names = append(names, name)
		}
	}
	args := []string{"--preserve-env=" + strings.Join(append(names, sudoVar), ","), "--", exe}
	cmd := exec.CommandContext(ctx, "sudo", append(args, os.Args[1:]...)...)
	cmd.Env = append(os.Environ(), sudoVar+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = grace
	if err := cmd.Run(); err != nil {
		return exitError(err)
	}
	return nil
}

// hostIdentity returns the user and group that root inside the namespaces stands for: the caller, or, after
// throughSudo, the user who called sudo; then also the groups of that user are taken on.
func hostIdentity() (uid, gid int, err error) {
	if os.Getenv(sudoVar) == "" || os.Geteuid() != 0 {
		return os.Geteuid(), os.Getegid(), nil
	}
	u, err := user.LookupId(os.Getenv("SUDO_UID"))
	if err != nil {
		return 0, 0, fmt.Errorf("find the user who called sudo: %w", err)
	}
	names, err := u.GroupIds()
	if err != nil {
		return 0, 0, fmt.Errorf("find the groups of user %s: %w", u.Username, err)
	}
	var groups []int
	for _, name := range names {
		id, err := strconv.Atoi(name)
		if err != nil {
			return 0, 0, fmt.Errorf("find the groups of user %s: %w", u.Username, err)
		}
		groups = append(groups, id)
	}
	if err := syscall.Setgroups(groups); err != nil {
		return 0, 0, fmt.Errorf("take on the groups of user %s: %w", u.Username, err)
	}
	if uid, err = strconv.Atoi(u.Uid); err != nil {
		return 0, 0, fmt.Errorf("find the user who called sudo: %w", err)
	}
	if gid, err = strconv.Atoi(u.Gid); err != nil {
		return 0, 0, fmt.Errorf("find the user who called sudo: %w", err)
	}
	return uid, gid, nil
}
