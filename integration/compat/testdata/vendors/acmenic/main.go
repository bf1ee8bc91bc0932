// Acmenic stands in for the vendor's program of an imaginary network card, as
// hwmanager/example/host does on a host that is made up. The card's memory is in
// the middle of the disk with the serial number "acmenic", so that it outlives
// the ramdisk, and cleaning: the version that runs, the one that was flashed and
// runs from the next boot on, and the boot of the machine in which it was.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const (
	serial = "acmenic"
	offset = 32 << 20
	size   = 512
)

type card struct{ Running, Next, Boot string }

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "acmenic:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	memory, err := open()
	if err != nil {
		return err
	}
	defer memory.Close()
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return err
	}
	data := make([]byte, size)
	if _, err := memory.ReadAt(data, offset); err != nil {
		return err
	}
	c := card{Running: "1.0.0"}
	if text := strings.TrimRight(string(data), "\x00"); text != "" {
		if err := json.Unmarshal([]byte(text), &c); err != nil {
			return err
		}
	}
	if c.Next != "" && c.Boot != string(boot) {
		c = card{Running: c.Next}
	}
	switch {
	case len(args) == 1 && args[0] == "version":
		fmt.Println(c.Running)
		return nil
	case len(args) == 2 && args[0] == "flash":
		image, err := os.ReadFile(args[1])
		if err != nil {
			return err
		}
		var magic string
		if _, err := fmt.Sscan(string(image), &magic, &c.Next); err != nil || magic != "ACMENIC" {
			return fmt.Errorf("%s is no image for this card", args[1])
		}
		c.Boot = string(boot)
	default:
		return errors.New("acmenic version | acmenic flash FILE")
	}
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	data = make([]byte, size)
	copy(data, text)
	_, err = memory.WriteAt(data, offset)
	return errors.Join(err, memory.Sync())
}

func open() (*os.File, error) {
	files, err := filepath.Glob("/sys/block/*/serial")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(text)) == serial {
			return os.OpenFile(filepath.Join("/dev", filepath.Base(filepath.Dir(file))), os.O_RDWR, 0)
		}
	}
	return nil, errors.New("the machine has no card")
}
