package netboot

import (
	"net/http"
	"os"
	"strings"
	"testing"
)

// TestFileVanishes: a file of the ramdisk that has gone since the node was
// validated is refused, and the machine's events name it.
func TestFileVanishes(t *testing.T) {
	kernel, ramdisk := writeFile(t, "kernel"), writeFile(t, "ramdisk")
	dir := mapDirectory{testMAC.String(): {NodeUUID: bootUUID, Action: Ramdisk, Kernel: kernel, Ramdisk: ramdisk}}
	web, events := offServer(t, dir, nil)
	for name, file := range map[string]string{"deploy_kernel": kernel, "deploy_ramdisk": ramdisk} {
		url := web.URL + "/" + bootUUID + "/" + name + "?mac=52-54-00-77-00-01"
		if code, _, _ := fetch(t, "GET", url); code != http.StatusOK {
			t.Fatalf("%s: %d; want 200", name, code)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		if code, _, _ := fetch(t, "GET", url); code != http.StatusNotFound {
			t.Errorf("%s that is gone: %d; want 404", name, code)
		}
		if told := events.String(); !events.has(EventError) || !strings.Contains(told, file) {
			t.Errorf("the events of %s that is gone are %s; want an error with the file", name, told)
		}
	}
}
