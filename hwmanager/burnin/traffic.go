package burnin

import (
	"net"

	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// InterfaceLoad is what an interface counted during the load: the statistics of
// sysfs by their names (Documentation/ABI/testing/sysfs-class-net-statistics), as
// far as they grew.
type InterfaceLoad struct {
	Name  string           `json:"name"`
	Grown map[string]int64 `json:"counted"`
}

// traffic are the statistics of all interfaces at one time.
type traffic map[string]map[string]int64

func trafficOf(sys string) traffic {
	all := traffic{}
	paths, _ := filepath.Glob(filepath.Join(sys, "class/net/*/statistics/*"))
	for _, path := range paths {
		name := filepath.Base(filepath.Dir(filepath.Dir(path)))
		if n, ok := number(path); ok {
			if all[name] == nil {
				all[name] = map[string]int64{}
			}
			all[name][filepath.Base(path)] = n
		}
	}
	return all
}

// since adds to a list what the interface with the local address has counted.
func (t traffic) since(sys, local string, list []InterfaceLoad) []InterfaceLoad {
	name := interfaceOf(local)
	if name == "" || slices.ContainsFunc(list, func(l InterfaceLoad) bool { return l.Name == name }) {
		return list
	}
	load := InterfaceLoad{Name: name, Grown: map[string]int64{}}
	for counter, after := range trafficOf(sys)[name] {
		if grown := after - t[name][counter]; grown > 0 {
			load.Grown[counter] = grown
		}
	}
	return append(list, load)
}

// Troubles are the counters of an interface that grow when something is wrong.
func (l InterfaceLoad) Troubles() []string {
	var names []string
	for counter := range l.Grown {
		if strings.Contains(counter, "error") || strings.Contains(counter, "dropped") || counter == "collisions" {
			names = append(names, counter)
		}
	}
	slices.Sort(names)
	return names
}

// interfaceOf is the interface that has the address (with a port); "" for none.
func interfaceOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return ""
	}
	host, _, _ = strings.Cut(host, "%")
	ip := net.ParseIP(host)
	interfaces, _ := net.Interfaces()
	for _, nic := range interfaces {
		addresses, _ := nic.Addrs()
		for _, a := range addresses {
			if network, ok := a.(*net.IPNet); ok && (network.IP.Equal(ip) || ip.IsLoopback() && network.Contains(ip)) {
				return nic.Name
			}
		}
	}
	return ""
}

// retransmits are the segments that a connection had to send again so far.
func retransmits(c net.Conn) int64 {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return 0
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return 0
	}
	var total int64
	_ = raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			total = int64(info.Total_retrans)
		}
	})
	return total
}
