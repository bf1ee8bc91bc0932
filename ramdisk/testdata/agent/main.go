// Command agent stands in for ferric-agent where only the ramdisk is tested. It listens
// where the agent does, says so, and serves what the machine looks like to it.
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"
)

func main() {
	http.HandleFunc("/file", serveFile)
	http.HandleFunc("/mount", mountAndRead)
	http.HandleFunc("/list", list)
	http.HandleFunc("/exit", func(http.ResponseWriter, *http.Request) { os.Exit(3) })
	http.HandleFunc("/rescue", rescue)
	http.HandleFunc("/poweroff", func(http.ResponseWriter, *http.Request) { _ = exec.Command("poweroff").Run() })
	l, err := net.Listen("tcp", ":9999")
	if err == nil {
		fmt.Println("agent listening")
		err = http.Serve(l, nil)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func serveFile(w http.ResponseWriter, r *http.Request) {
	answer(w)(os.ReadFile(r.FormValue("path")))
}

// mountAndRead mounts a disk with a file system that the kernel has to load a module for.
func mountAndRead(w http.ResponseWriter, r *http.Request) {
	err := unix.Mount(r.FormValue("disk"), "/mnt", r.FormValue("type"), unix.MS_RDONLY, "")
	if err != nil {
		answer(w)(nil, err)
		return
	}
	answer(w)(os.ReadFile("/mnt/" + r.FormValue("path")))
}

// rescue leaves what the agent leaves for a rescue, and ends as it does.
func rescue(_ http.ResponseWriter, r *http.Request) {
	err := os.WriteFile("/etc/ipa-rescue-config/ipa-rescue-password", []byte(r.FormValue("hash")), 0o600)
	if err == nil {
		err = os.WriteFile("/etc/.rescued", nil, 0o600)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func list(w http.ResponseWriter, r *http.Request) {
	names, err := filepath.Glob(r.FormValue("path"))
	answer(w)(fmt.Append(nil, names), err)
}

func answer(w http.ResponseWriter) func([]byte, error) {
	return func(text []byte, err error) {
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = w.Write(text)
	}
}
