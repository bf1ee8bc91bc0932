package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// loadModules loads the kernel modules that dir/list names, in its order. A
// line is a condition and a file: "*", or "class=" or "vendor=" with the
// beginning of what some PCI device has in that file of sysfs.
func loadModules(dir string) error {
	list, err := os.Open(filepath.Join(dir, "list"))
	if err != nil {
		return fmt.Errorf("list of modules: %w", err)
	}
	defer list.Close()
	for lines := bufio.NewScanner(list); lines.Scan(); {
		condition, file, ok := strings.Cut(lines.Text(), " ")
		if !ok {
			return fmt.Errorf("list of modules: line %q is not condition and file", lines.Text())
		}
		if condition != "*" && !pciHas(condition) {
			continue
		}
		if err := loadModule(filepath.Join(dir, file)); err != nil {
			return err
		}
	}
	return nil
}

func pciHas(condition string) bool {
	file, prefix, _ := strings.Cut(condition, "=")
	paths, _ := filepath.Glob("/sys/bus/pci/devices/*/" + file) // the pattern is well-formed
	for _, path := range paths {
		if value, err := os.ReadFile(path); err == nil && strings.HasPrefix(string(value), prefix) {
			return true
		}
	}
	return false
}

// loadModule loads one file. A module that the kernel has, or that finds no
// hardware (crc32c-intel on an old CPU), is no failure.
func loadModule(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.FinitModule(int(f.Fd()), "", 0)
	if err != nil && !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("load module %s: %w", filepath.Base(path), err)
	}
	return nil
}
