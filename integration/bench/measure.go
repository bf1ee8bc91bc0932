package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

// way is one way from the server to the device: a shell command, run in a
// process group of its own.
type way struct {
	name    string
	group   string // ways are compared within a group, with its first
	command string
	scratch int64 // bytes of temporary files, which in a ramdisk are memory
}

func (l *lab) ways() []way {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	ours := func(name, format string) string {
		return fmt.Sprintf("exec %s -write %s/%s -format %s -sha256 %s %s", self, l.url, name, format, l.sums[name], l.device)
	}
	scratch := filepath.Join(l.dir, "scratch")
	dd := "dd bs=1M oflag=direct conv=fsync status=none of=" + l.device
	qcow := filepath.Join(l.dir, "disk.qcow2")
	info, err := os.Stat(qcow)
	size := l.size
	if err == nil {
		size += info.Size()
	}
	return []way{
		{"raw: ferric (verifies sha256)", "raw", ours("disk.raw", "raw"), 0},
		{"raw: curl | dd", "raw", fmt.Sprintf("curl -sSf %s/disk.raw | %s iflag=fullblock", l.url, dd), 0},
		{"qcow2: ferric (verifies sha256)", "qcow2", ours("disk.qcow2", "qcow2"), 0},
		{"qcow2: curl, qemu-img convert, dd", "qcow2", fmt.Sprintf("curl -sSf -o %[1]s.qcow2 %[2]s/disk.qcow2 && qemu-img convert -f qcow2 -O raw %[1]s.qcow2 %[1]s.raw && %[3]s if=%[1]s.raw; code=$?; rm -f %[1]s.qcow2 %[1]s.raw; exit $code", scratch, l.url, dd), size},
	}
}

// measurement is one run; memory is the sum of the peaks of the processes
// that were alive together.
type measurement struct {
	wall   time.Duration
	memory int64
}

func (l *lab) measure(ctx context.Context, w way) (measurement, error) {
	// Every run begins with an empty disk.
	if err := run(ctx, "blkdiscard", "-f", l.device); err != nil {
		return measurement{}, err
	}
	syscall.Sync()
	cmd := exec.CommandContext(ctx, "sh", "-c", w.command)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return measurement{}, err
	}
	stop, peak := make(chan struct{}), make(chan int64)
	go watchMemory(cmd.Process.Pid, stop, peak)
	err := cmd.Wait()
	wall := time.Since(begin)
	close(stop)
	m := measurement{wall, <-peak}
	if err != nil {
		return m, fmt.Errorf("%w: %s", err, strings.TrimSpace(output.String()))
	}
	return m, l.check(ctx)
}

// check compares the device with the image.
func (l *lab) check(ctx context.Context) error {
	return run(ctx, "cmp", filepath.Join(l.dir, "disk.raw"), l.device)
}

// watchMemory samples the peaks (VmHWM) of all processes of the group until
// stop, and answers with the largest sum seen. A maximum from getrusage would
// count the memory of the parent at the fork.
func watchMemory(group int, stop <-chan struct{}, peak chan<- int64) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var most int64
	for {
		most = max(most, groupMemory(group))
		select {
		case <-stop:
			peak <- most
			return
		case <-tick.C:
		}
	}
}

func groupMemory(group int) int64 {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	var sum int64
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue
		}
		// pid (name) state ppid pgrp ...; the name may hold anything.
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(fields) < 3 || fields[2] != strconv.Itoa(group) {
			continue
		}
		status, err := os.ReadFile(filepath.Join("/proc", e.Name(), "status"))
		if err != nil {
			continue
		}
		var kib int64
		_, rest, _ := strings.Cut(string(status), "VmHWM:")
		_, _ = fmt.Sscan(rest, &kib)
		sum += kib << 10
	}
	return sum
}

func median[T cmp.Ordered](values []T) T {
	slices.Sort(values)
	return values[len(values)/2]
}

func printTable(out io.Writer, ways []way, results [][]measurement, size int64, runs int) error {
	fmt.Fprintf(out, "Image of %d MiB, half of it holes, from HTTP on loopback to a loop device; medians of %d runs.\n", size>>20, runs)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "way\twall (s)\tratio\tMiB/s\tpeak memory (MiB)\tratio\ttemporary files (MiB)\t")
	var baseWall time.Duration
	var baseMemory int64
	group := ""
	for i, w := range ways {
		var walls []time.Duration
		var memories []int64
		for _, m := range results[i] {
			walls, memories = append(walls, m.wall), append(memories, m.memory)
		}
		wall, memory := median(walls), median(memories)
		if w.group != group {
			group, baseWall, baseMemory = w.group, wall, memory
		}
		fmt.Fprintf(t, "%s\t%.2f\t%.2f\t%.0f\t%d\t%.2f\t%d\t\n", w.name, wall.Seconds(), wall.Seconds()/baseWall.Seconds(),
			float64(size>>20)/wall.Seconds(), memory>>20, float64(memory)/float64(baseMemory), w.scratch>>20)
	}
	return t.Flush()
}
