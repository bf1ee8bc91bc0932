package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"ferric/ramdisk/rescue"
)

// Names under which this program is a part of the rescue, and their directory.
const (
	loginProgram = "rescue-login"
	sshProgram   = "rescue-sshd"
	shellProgram = "shell"
	programs     = "/sbin/"
)

// rescued reports whether the agent has handed the machine over for a rescue.
func rescued() bool {
	_, err := os.Stat(rescue.Marker)
	return err == nil
}

func serveSSH() error {
	return rescue.ServeSSH(context.Background(), func(format string, args ...any) { fmt.Printf(format+"\n", args...) })
}

// helper makes the machine usable for a person.
type helper struct {
	children *children
	network  *network
	out      *console
	consoles func() []string
	taken    string // the terminal with the debug shell, if any
}

// rescue offers logins, and takes part in the networks that the machine is moved to,
// until ctx ends.
func (h *helper) rescue(ctx context.Context) {
	h.out.printf("uinit: rescue: log in as user rescue")
	go askAgain(ctx, &h.network.again)
	for _, tty := range slices.DeleteFunc(h.consoles(), func(tty string) bool { return tty == h.taken }) {
		go h.keepLogin(ctx, tty)
	}
	for ctx.Err() == nil {
		h.out.printf("uinit: rescue SSH server ended: %s", run(h.children, h.out, programs+sshProgram, "rescue: "))
		pause(ctx, loginPause)
	}
}

// loginPause is the time before a login that has ended is offered anew; one that cannot
// begin at all keeps nobody busy.
const loginPause = 2 * time.Second

func (h *helper) keepLogin(ctx context.Context, tty string) {
	last := ""
	for ctx.Err() == nil {
		end := runAt(h.children, tty, programs+loginProgram)
		if end != last && end != "exit status 0" {
			h.out.printf("uinit: login on %s ended: %s", tty, end)
		}
		last = end
		pause(ctx, loginPause)
	}
}

// askAgain has leases acquired anew several times: the conductor moves the machine to
// the tenant's network only after the agent has said that the rescue is prepared, and the
// switch may take a while for it.
func askAgain(ctx context.Context, again *bell) {
	for _, after := range []time.Duration{0, 10 * time.Second, 20 * time.Second, 30 * time.Second, time.Minute, 3 * time.Minute, 5 * time.Minute} {
		pause(ctx, after)
		again.ring()
	}
}
