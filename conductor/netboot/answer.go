package netboot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"
)

// file is what is served: a file of a disk, or a text that was made on request.
type file interface {
	io.ReadSeeker
	io.ReaderAt
	io.Closer
	Stat() (fs.FileInfo, error)
}

// question is a request for a path, by TFTP or HTTP.
type question struct {
	protocol string // ProtocolTFTP or ProtocolHTTP
	path     string
	peer     netip.Addr
	mac      string // as the URL has it, or empty
	ipxe     bool   // asked by iPXE
}

// answer is what a question led to. Of an error too it says whose it was.
type answer struct {
	target
	file    file
	text    bool // file is a script
	machine Machine
	owner   net.HardwareAddr // of the machine, nil if it is not known
}

// events of an answer: when it begins to be sent, and when its last byte was; empty for none.
func (a *answer) events(protocol string) (begin, end string) {
	switch a.kind {
	case kindKernel:
		return EventKernel, EventKernelSent
	case kindRamdisk, kindISO:
		return EventRamdisk, EventRamdiskSent
	case kindPXELinux, kindMachine, kindConfig:
		return EventScript, ""
	}
	if protocol == ProtocolTFTP {
		return "", EventTFTP
	}
	return "", ""
}

// NodeDirectory is a Directory that finds machines by the UUID of their node
// too. Without it, who asks for a machine's files has to be known by its address.
type NodeDirectory interface {
	Directory
	// Node returns ErrUnknownMAC for a UUID that is no node's, and the address of a port.
	Node(ctx context.Context, uuid string) (net.HardwareAddr, Machine, error)
}

// answer finds what a path stands for. The caller closes the file.
func (s *Server) answer(ctx context.Context, q question) (answer, error) {
	slow := ctx // for files that have to be fetched first
	ctx, cancel := context.WithTimeout(ctx, directoryTimeout)
	defer cancel()
	a := answer{target: parsePath(q.path, s.roots())}
	var err error
	switch a.kind {
	case kindFile:
		a.file, err = s.files.open(q.protocol, q.path)
		a.owner, a.machine = s.guess(ctx, q)
		return a, err
	case kindStage:
		a.owner, a.machine = s.guess(ctx, q)
		return a, a.say(s.scripts.boot(s.IPXEFallbackScript))
	case kindGRUB:
		a.owner, a.machine = s.guess(ctx, q)
		if a.file, err = s.files.open(q.protocol, q.path); err == nil { // the operator's own
			return a, nil
		}
		return a, a.say(s.scripts.grubStage(s.base(q)))
	}
	if err = s.findMachine(ctx, &a, q); err != nil {
		if a.kind == kindPXELinux && a.asks && a.key == "" { // the operator's "default"
			if file, openErr := s.files.open(q.protocol, q.path); openErr == nil {
				a.kind, a.file = kindFile, file
				return a, nil
			}
		}
		return a, err
	}
	switch a.kind {
	case kindKernel:
		a.file, err = s.machineFile(slow, a.machine, a.machine.Kernel)
	case kindRamdisk:
		a.file, err = s.machineFile(slow, a.machine, a.machine.Ramdisk)
	case kindISO:
		a.file, err = s.machineFile(slow, a.machine, a.machine.ISO)
	default:
		if a.machine.Action == Ignore {
			return a, fmt.Errorf("the port %v does not boot from the network: %w", a.owner, fs.ErrNotExist)
		}
		err = a.say(s.config(q, a))
	}
	return a, err
}

// say makes a text the answer.
func (a *answer) say(text string, err error) error {
	if err != nil {
		return err
	}
	a.file, a.text = &textFile{Reader: strings.NewReader(text), name: a.path}, true
	return nil
}

// config renders what a machine is to boot for who asks: by the name of what it
// asks for, or where that leaves it open, for the machine's boot loader.
func (s *Server) config(q question, a answer) (string, error) {
	grub := a.kind == kindMachine
	ipxe := false
	switch {
	case a.kind == kindConfig:
		ipxe, grub = a.machine.ipxe(), a.machine.BootMode != "bios"
	case a.kind == kindPXELinux && q.protocol == ProtocolHTTP && q.ipxe && a.bare: // from our boot.ipxe
		ipxe = true
	case a.kind == kindPXELinux && q.protocol == ProtocolHTTP:
		ipxe, grub = a.machine.ipxe() || a.machine.Loader == LoaderPXE && a.bare, a.machine.Loader == LoaderHTTP
	case a.kind == kindPXELinux && a.bare:
		ipxe = a.machine.ipxe()
	}
	switch {
	case ipxe:
		return s.scripts.machine(a.machine, s.baseURL(q.peer), hexhyp(a.owner), s.IPXETimeout)
	case grub:
		return s.scripts.grub(a.machine, s.base(q), a.owner)
	}
	return s.scripts.pxelinux(a.machine, a.owner)
}

// base is what stands before paths of ours on a boot loader's own server: the
// path of http_url, where it has one.
func (s *settings) base(q question) string {
	if q.protocol == ProtocolTFTP {
		return ""
	}
	_, rest, _ := strings.Cut(s.baseURL(q.peer), "://")
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		return rest[i:]
	}
	return ""
}

func (s *settings) roots() []string {
	roots := []string{strings.Trim(s.TFTPRoot, "/"), strings.Trim(s.HTTPRoot, "/")}
	return append(roots, defaultRoots...)
}

// findMachine finds whose the target is: by the path, else by who asks.
func (s *Server) findMachine(ctx context.Context, a *answer, q question) error {
	switch {
	case a.mac != nil:
		a.owner = a.mac
	case a.ip.IsValid():
		a.owner = s.macOfAddr(a.ip)
	case q.mac != "":
		mac, err := parseMAC(q.mac)
		if err != nil {
			return err
		}
		a.owner = mac
	default:
		a.owner = s.macOfAddr(q.peer)
	}
	named := a.key
	if a.asks || a.mac != nil {
		named = "" // the firmware's own UUID, or no UUID at all
	}
	if nodes, ok := s.dir.(NodeDirectory); ok && named != "" && a.owner == nil {
		mac, m, err := nodes.Node(ctx, named)
		if err != nil {
			return fmt.Errorf("look up the node %s: %w", named, err)
		}
		a.owner, a.machine = mac, m
		return nil
	}
	if a.owner == nil {
		hint := ""
		if q.protocol == ProtocolHTTP {
			hint = "give ?mac=, for "
		}
		return fmt.Errorf("%s: %s%v is not a known client: %w", q.path, hint, q.peer, fs.ErrNotExist)
	}
	m, err := s.machine(ctx, a.owner)
	if err == nil && named != "" && !strings.EqualFold(m.NodeUUID, named) {
		if nodes, ok := s.dir.(NodeDirectory); ok && q.mac == "" {
			// A machine may ask through a port that is not one of the node's.
			if mac, other, otherErr := nodes.Node(ctx, named); otherErr == nil {
				a.owner, a.machine = mac, other
				return nil
			}
		}
		err = fmt.Errorf("%v is no port of node %s: %w", a.owner, named, ErrUnknownMAC)
	}
	a.machine = m
	return err
}

// guess tells who asks for something that is everybody's.
func (s *Server) guess(ctx context.Context, q question) (net.HardwareAddr, Machine) {
	mac := s.macOfAddr(q.peer)
	if mac == nil {
		return nil, Machine{}
	}
	m, err := s.machine(ctx, mac)
	if err != nil {
		return mac, Machine{}
	}
	return mac, m
}

func (s *Server) machine(ctx context.Context, mac net.HardwareAddr) (Machine, error) {
	m, err := s.dir.Machine(ctx, mac)
	if err != nil {
		return Machine{}, fmt.Errorf("look up the port %v: %w", mac, err)
	}
	return m, nil
}

// machineFile opens a kernel, ramdisk or image of a machine.
func (s *Server) machineFile(ctx context.Context, m Machine, ref string) (file, error) {
	if m.Action != Ramdisk && m.Action != BootISO || ref == "" || isURL(ref) && m.ipxe() {
		return nil, fmt.Errorf("node %s has no such file now, its action is %v: %w", m.NodeUUID, m.Action, fs.ErrNotExist)
	}
	if isURL(ref) { // iPXE fetches it itself, others cannot
		ctx, cancel := context.WithTimeout(ctx, downloadPatience)
		defer cancel()
		f, err := s.downloads.open(ctx, ref)
		if err != nil {
			return nil, fmt.Errorf("boot file of node %s: %w", m.NodeUUID, err)
		}
		return f, nil
	}
	name, err := localPath(ref)
	if err != nil {
		return nil, fmt.Errorf("boot file of node %s: %w", m.NodeUUID, err)
	}
	f, err := openRegular(os.Stat, os.Open, name)
	if err != nil {
		return nil, fmt.Errorf("boot file of node %s: %w", m.NodeUUID, err)
	}
	return f, nil
}

// notFound tells whether an answer is missing in the ordinary course: boot
// loaders try names until there is one.
func notFound(err error) bool {
	return errors.Is(err, ErrUnknownMAC) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, errMAC)
}

// textFile is a text as a file.
type textFile struct {
	*strings.Reader
	name string
}

func (f *textFile) Close() error               { return nil }
func (f *textFile) Stat() (fs.FileInfo, error) { return textInfo{f}, nil }

// textInfo describes a textFile.
type textInfo struct{ f *textFile }

func (i textInfo) Name() string     { return i.f.name }
func (i textInfo) Size() int64      { return i.f.Size() }
func (textInfo) Mode() fs.FileMode  { return 0o644 }
func (textInfo) ModTime() time.Time { return time.Time{} }
func (textInfo) IsDir() bool        { return false }
func (textInfo) Sys() any           { return nil }
