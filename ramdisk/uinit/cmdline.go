package main

import (
	"fmt"
	"net"
	"os"
	"strings"
)

// cmdline is the kernel command line: whitespace-separated key=value without quoting
// (agent contract 10). Of a repeated key the last counts.
type cmdline map[string]string

func readCmdline(path string) (cmdline, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return cmdline{}, fmt.Errorf("read the kernel command line: %w", err)
	}
	return parseCmdline(string(text)), nil
}

func parseCmdline(text string) cmdline {
	c := cmdline{}
	for _, word := range strings.Fields(text) {
		key, value, _ := strings.Cut(word, "=")
		c[key] = value
	}
	return c
}

// bool reads a truth value as the agent does (agent contract 10).
func (c cmdline) bool(key string) bool {
	switch strings.ToLower(c[key]) {
	case "1", "true", "on", "yes":
		return true
	}
	return false
}

// bootif is the address of the NIC that the machine booted from, or nil. iPXE gives
// aa:bb:cc:dd:ee:ff, pxelinux 01-aa-bb-cc-dd-ee-ff with the hardware type in front.
func (c cmdline) bootif() net.HardwareAddr {
	value := strings.ReplaceAll(c["BOOTIF"], "-", ":")
	if len(value) == len("01:aa:bb:cc:dd:ee:ff") {
		value = value[len("01:"):]
	}
	mac, err := net.ParseMAC(value)
	if err != nil {
		return nil
	}
	return mac
}
