package ironicd

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"ferric/integration/lab"
)

// dnsmasq is the command line of the segment's DHCP and TFTP server, the
// operator's own as far as Ironic is concerned (dhcp_provider = none). iPXE,
// known by option 175, gets Ironic's first script; firmware gets iPXE (lab
// notes, section 3). Router advertisements are the rack's.
func dnsmasq(dir string) []string {
	return []string{"dnsmasq",
		"--no-daemon", "--conf-file=/dev/null", "--user=root", "--group=root", // other users do not exist in the namespace
		"--port=0", "--interface=" + lab.Bridge, "--bind-interfaces", "--no-ping", "--log-dhcp",
		"--dhcp-leasefile=" + filepath.Join(dir, leases), "--dhcp-range=192.168.77.100,192.168.77.150,1h",
		"--enable-tftp", "--tftp-root=" + filepath.Join(dir, "tftp"),
		"--dhcp-match=set:ipxe,175",
		"--dhcp-match=set:efi,option:client-arch,7",
		"--dhcp-match=set:efi,option:client-arch,9",
		"--dhcp-match=set:efihttp,option:client-arch,16",
		"--dhcp-option-force=tag:efihttp,60,HTTPClient",
		"--dhcp-boot=tag:efihttp,tag:!ipxe," + httpURL + "/snponly.efi",
		"--dhcp-boot=tag:efi,tag:!ipxe,tag:!efihttp,snponly.efi",
		"--dhcp-boot=tag:!efi,tag:!ipxe,tag:!efihttp,undionly.kpxe",
		"--dhcp-boot=tag:ipxe," + httpURL + "/boot.ipxe",
	}
}

const leases = "leases"

// Addresses returns the addresses that the card with a MAC address has leased.
func (i *Ironic) Addresses(mac string) ([]string, error) {
	text, err := os.ReadFile(filepath.Join(i.Dir, leases))
	if err != nil {
		return nil, err
	}
	var found []string
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[1] == mac { // expiry, MAC, address, …
			found = append(found, fields[2])
		}
	}
	return found, nil
}

// Where the parts of what is served lie.
const (
	imagePath   = "/images/"
	stallPath   = "/stalling/"
	ramdiskPath = "/ramdisk/"
)

// serveFiles serves what the machines and Ironic fetch.
func (i *Ironic) serveFiles() error {
	listener, err := net.Listen("tcp", net.JoinHostPort(lab.Address, strconv.Itoa(httpPort)))
	if err != nil {
		return fmt.Errorf("serve files: %w", err)
	}
	images := http.FileServer(http.Dir(i.options.ImageDir))
	mux := http.NewServeMux()
	mux.Handle(imagePath, http.StripPrefix(imagePath, images))
	mux.Handle(ramdiskPath, http.StripPrefix(ramdiskPath, http.FileServer(http.Dir(i.options.RamdiskDir))))
	mux.Handle("HEAD "+stallPath, http.StripPrefix(stallPath, images))
	mux.Handle("GET "+stallPath, http.StripPrefix(stallPath, http.HandlerFunc(i.stall)))
	mux.Handle("/", http.FileServer(http.Dir(i.httpRoot())))
	i.server = &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { _ = i.server.Serve(listener) }() // returns when it is closed
	return nil
}

// stall sends the first half of a file of the image directory and no more,
// until the client gives up.
func (i *Ironic) stall(w http.ResponseWriter, r *http.Request) {
	file, err := os.OpenInRoot(i.options.ImageDir, r.URL.Path)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Length", strconv.FormatInt(info.Size(), 10))
	if _, err := io.CopyN(w, file, info.Size()/2); err != nil {
		return
	}
	if err := http.NewResponseController(w).Flush(); err != nil {
		return
	}
	select {
	case i.Stalled <- struct{}{}:
	default: // nobody has looked after the last one
	}
	<-r.Context().Done()
}

// ImageURL is where machines fetch a file of the image directory.
func (i *Ironic) ImageURL(path string) string { return httpURL + imagePath + i.inImages(path) }

// StallingURL is where they get half of it only; Stalled tells when they have.
func (i *Ironic) StallingURL(path string) string { return httpURL + stallPath + i.inImages(path) }

// Serve has machines find content at the URL that it answers.
func (i *Ironic) Serve(name string, content []byte) (string, error) {
	return httpURL + "/" + name, os.WriteFile(filepath.Join(i.httpRoot(), name), content, 0o644)
}

func (i *Ironic) inImages(path string) string {
	rel, err := filepath.Rel(i.options.ImageDir, path)
	if err != nil {
		rel = filepath.Base(path)
	}
	return filepath.ToSlash(rel)
}
