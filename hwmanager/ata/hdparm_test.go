package ata_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"ferric/hwmanager/ata"
	"ferric/hwmanager/ata/atamodel"
	"ferric/hwmanager/sgio"
)

// hdparm is what hdparm makes of IDENTIFY DEVICE data, with single blanks.
func hdparm(t *testing.T, data []byte) string {
	t.Helper()
	if _, err := exec.LookPath("hdparm"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("hdparm is missing")
	}
	var words strings.Builder
	for i := 0; i < len(data); i += 2 {
		fmt.Fprintf(&words, "%04x ", binary.LittleEndian.Uint16(data[i:]))
	}
	cmd := exec.Command("hdparm", "--Istdin")
	cmd.Stdin = strings.NewReader(words.String())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("hdparm: %v: %s", err, out)
	}
	return strings.Join(strings.Fields(string(out)), " ")
}

// said is the security section of hdparm.
func said(s ata.Security) string {
	if !s.Supported {
		return ""
	}
	not := func(is bool) string {
		if is {
			return ""
		}
		return "not "
	}
	minutes := func(t ata.EraseTime, what string) string {
		if t.More {
			return fmt.Sprintf("more than %dmin for %sSECURITY ERASE UNIT.", t.Announced/time.Minute, what)
		}
		return fmt.Sprintf("%dmin for %sSECURITY ERASE UNIT.", t.Announced/time.Minute, what)
	}
	text := fmt.Sprintf("supported %senabled %slocked %sfrozen %sexpired: security count",
		not(s.Enabled), not(s.Locked), not(s.Frozen), not(s.Expired))
	if s.Enhanced {
		text += " supported: enhanced erase"
	} else {
		text += " not supported: enhanced erase"
	}
	if s.Enabled {
		text += map[bool]string{false: " Security level high", true: " Security level maximum"}[s.Maximum]
	}
	if s.EraseTime.Announced > 0 {
		text += " " + minutes(s.EraseTime, "")
	}
	if s.EnhancedEraseTime.Announced > 0 {
		text += " " + minutes(s.EnhancedEraseTime, "ENHANCED ")
	}
	return text
}

// TestHdparm: hdparm sees in the model's IDENTIFY DEVICE data what is seen here.
func TestHdparm(t *testing.T) {
	for name, test := range map[string]struct {
		config  atamodel.Config
		prepare func(*atamodel.Disk)
	}{
		"fresh":           {config: atamodel.Config{EraseTime: 30, EnhancedTime: 1}},
		"no enhanced":     {config: atamodel.Config{EraseTime: 254, NoEnhanced: true}},
		"more than 508":   {config: atamodel.Config{EraseTime: 255, EnhancedTime: 255}},
		"extended format": {config: atamodel.Config{EraseTime: 0x8000 | 1000, EnhancedTime: 0x8000 | 2}},
		"large sectors":   {config: atamodel.Config{Sector: 4096}},
		"no security":     {config: atamodel.Config{NoSecurity: true}},
		"frozen":          {prepare: (*atamodel.Disk).Freeze},
		"enabled":         {prepare: func(d *atamodel.Disk) { d.SetPassword("x") }},
		"locked":          {prepare: func(d *atamodel.Disk) { d.SetPassword("x"); d.PowerCycle() }},
	} {
		t.Run(name, func(t *testing.T) {
			test.config.Serial, test.config.Firmware, test.config.Model = "S3R1AL", "FW1.2", "A Model Of A Disk"
			test.config.Size = 64 << 30
			d := atamodel.New(test.config)
			if test.prepare != nil {
				test.prepare(d)
			}
			data := make([]byte, 512)
			cdb := []byte{0x85, 4 << 1, 1<<3 | 1<<2 | 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, identifyDevice, 0}
			if r, err := d.Do(t.Context(), sgio.Command{CDB: cdb, Data: data}); err != nil || r.Status != sgio.Good || bytes.Count(data, []byte{0}) == 512 {
				t.Fatalf("%+v, %v", r, err)
			}
			id, err := ata.ParseIdentity(data)
			if err != nil {
				t.Fatal(err)
			}
			text := hdparm(t, data)
			for _, part := range []string{
				"Model Number: " + id.Model + " ", "Serial Number: " + id.Serial + " ", "Firmware Revision: " + id.Firmware + " ",
				fmt.Sprintf("device size with M = 1024*1024: %d MBytes", id.Size>>20), "Checksum: correct",
				said(id.Security),
			} {
				if !strings.Contains(text, part) {
					t.Errorf("hdparm does not say %q but\n%s", part, text)
				}
			}
			if !id.Security.Supported && strings.Contains(text, "Security:") {
				t.Errorf("hdparm sees security:\n%s", text)
			}
		})
	}
}
