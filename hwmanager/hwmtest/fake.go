package hwmtest

import (
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"ferric/hwmanager"
)

// The files of a fake host's directory that are no part of the machine.
const (
	machineFile  = "host.machine" // in the notation of Machine, beside the trees
	commandsFile = "commands.txt" // what programs answer
	programsDir  = "bin"          // programs
)

//go:embed default.machine
var defaultMachine string

// Fake is a made-up machine. It is a copy: whatever is done to it leaves the
// directory alone that it was made of.
type Fake struct {
	*hwmanager.Host
	root string // of the copy, with sys, proc, dev, etc
	runs string // directory with a record per run of a program
	logs *logs
}

// Open makes the machine that dir describes; "" is a server that is built in: two
// disks behind a RAID controller, NVMe, two network ports, UEFI, no BMC. In dir are
//
//	sys proc dev etc   what the machine shows, as files; all may be missing
//	host.machine       the same as text, in the notation of Machine
//	bin                programs that stand in for the machine's
//	commands.txt       what programs answer that are not in bin, or not always
//
// A line of commands.txt is a command line, in which * and ? stand for any
// characters, and the file of dir that has the standard output; "exit N" before
// it, or alone, is for a status other than 0. The first line that fits is taken;
// where the same command line stands several times, the first run gets the first
// answer, the second run the next, and the last one stays:
//
//	storcli64 /c0 show J    -> answers/c0-show.json
//	storcli64 /c0 set *     -> exit 1 answers/denied.txt
//
// Programs find the machine's directory in FAKE_HOST, where they may keep what
// they want to know in their next run. A manager's runner knows no programs but
// these; executables find the others of this computer behind them on the PATH
// (`ferric plugin test` withholds those that change a machine). Nothing may be
// written to but what lies in dev.
func Open(dir string) (*Fake, error) {
	if dir == "" {
		return open(func(root string) error { return grow(root, defaultMachine) })
	}
	return open(func(root string) error {
		if err := copyTree(root, dir); err != nil {
			return err
		}
		text, err := os.ReadFile(filepath.Join(root, machineFile))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := grow(root, string(text)); err != nil {
			return fmt.Errorf("%s:%w", machineFile, err)
		}
		return nil
	})
}

// Empty makes a machine without any hardware.
func Empty() (*Fake, error) {
	return open(func(root string) error {
		return grow(root, `proc/cpuinfo = processor\t: 0\nmodel name\t: none\n\n
proc/meminfo = MemTotal:         502480 kB\nMemFree:          401112 kB\n
proc/mounts = rootfs / rootfs rw 0 0\n
proc/cmdline = quiet\n`)
	})
}

// New is Open for the time of a test.
func New(t testing.TB, dir string) *Fake {
	t.Helper()
	fake, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := fake.Close(); err != nil {
			t.Error(err)
		}
	})
	return fake
}

// Host is Open for those who want the machine and no more.
func Host(dir string) (*hwmanager.Host, func(), error) {
	fake, err := Open(dir)
	if err != nil {
		return nil, nil, err
	}
	return fake.Host, func() { _ = fake.Close() }, nil
}

// WriteHost writes the machine that is built in to dir, which it makes, as a
// beginning for one's own.
func WriteHost(dir string) error {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("write the fake host: %s is not empty", dir)
	}
	for name, text := range map[string]string{machineFile: defaultMachine, commandsFile: defaultCommands} {
		if err := os.MkdirAll(filepath.Join(dir, programsDir), 0o755); err != nil {
			return fmt.Errorf("write the fake host: %w", err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return fmt.Errorf("write the fake host: %w", err)
		}
	}
	return nil
}

const defaultCommands = `# What programs of this host answer: a command line (* and ? stand for any
# characters) and the file, in this directory, with its standard output.
# "exit N" before the file is for another status than 0. A command line that
# stands here twice is answered in turn. Programs may also lie in bin.
#
# storcli64 /c0 show J      -> answers/c0-show.json
# storcli64 /c9 *           -> exit 1 answers/no-such-controller.txt
`

func open(fill func(root string) error) (*Fake, error) {
	// A path with symbolic links in it would not match the guard's.
	temp, err := filepath.EvalSymlinks(os.TempDir())
	if err != nil {
		return nil, fmt.Errorf("make a fake host: %w", err)
	}
	top, err := os.MkdirTemp(temp, "ferric-host-")
	if err != nil {
		return nil, fmt.Errorf("make a fake host: %w", err)
	}
	f := &Fake{root: filepath.Join(top, "host"), runs: filepath.Join(top, "runs"), logs: &logs{}}
	if err := f.build(top, fill); err != nil {
		return nil, errors.Join(fmt.Errorf("make a fake host: %w", err), os.RemoveAll(top))
	}
	return f, nil
}

func (f *Fake) build(top string, fill func(root string) error) error {
	// A kernel has these whatever the machine.
	for _, dir := range []string{"sys/block", "sys/bus/pci/devices", "sys/bus/usb/devices", "sys/class/net", "sys/devices/system/cpu", "proc/self", "dev", "etc"} {
		if err := os.MkdirAll(filepath.Join(f.root, dir), 0o755); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(f.runs, 0o755); err != nil {
		return err
	}
	if err := fill(f.root); err != nil {
		return err
	}
	programs := filepath.Join(top, "programs")
	known, err := f.install(programs)
	if err != nil {
		return err
	}
	log := logrus.New()
	log.SetLevel(logrus.DebugLevel)
	log.SetOutput(f.logs)
	log.SetFormatter(&logrus.TextFormatter{DisableColors: true, DisableTimestamp: true})
	f.Host = &hwmanager.Host{
		Sys: filepath.Join(f.root, "sys"), Proc: filepath.Join(f.root, "proc"),
		Dev: filepath.Join(f.root, "dev"), Etc: filepath.Join(f.root, "etc"),
		Run: runner{programs, known}, Programs: programs, Log: logrus.NewEntry(log),
		Guard: hwmanager.DeviceGuard{Allowed: []string{filepath.Join(f.root, "dev/*")}},
		Settings: hwmanager.Settings{
			MD5Enabled: true, GuardSpecialFilesystems: true, LLDPTimeout: 100 * time.Millisecond,
			ConnectTimeout: time.Second, CheckDeviceInterval: 10 * time.Millisecond, CheckDeviceMaxRetries: 3,
		},
	}
	return nil
}

// Close removes the machine.
func (f *Fake) Close() error { return os.RemoveAll(filepath.Dir(f.root)) }

// Logged is what was logged, as text.
func (f *Fake) Logged() string { return f.logs.String() }

// maxLogs bounds what is kept of a log, in bytes.
const maxLogs = 8 << 20

// logs keeps what is logged.
type logs struct {
	mu   sync.Mutex
	text strings.Builder
	copy io.Writer // nil for none
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.text.Len() < maxLogs {
		l.text.Write(p)
	}
	if l.copy != nil {
		return l.copy.Write(p)
	}
	return len(p), nil
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// copyTree copies the directory at from to the one at to: directories, files with
// their holes, symbolic links as they are.
func copyTree(to, from string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch entry.Type() {
		case fs.ModeDir:
			return os.MkdirAll(target, 0o755)
		case fs.ModeSymlink:
			link, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(link, target)
		case 0:
			return copyFile(target, path)
		}
		return fmt.Errorf("%s is neither a file nor a directory nor a symbolic link", path)
	})
}

// copyFile copies what a file holds, and leaves out its holes: a disk is large.
func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := create(to, info.Mode().Perm()|0o200)
	if err != nil {
		return err
	}
	defer out.close()
	for at := int64(0); at < info.Size(); {
		begin, err := in.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // nothing but a hole up to the end
		}
		if err != nil {
			return err
		}
		end, err := in.Seek(begin, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.NewOffsetWriter(out, begin), io.NewSectionReader(in, begin, end-begin)); err != nil {
			return err
		}
		at = end
	}
	return out.Truncate(info.Size())
}
