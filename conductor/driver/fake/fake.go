// Package fake is hardware that does what it is told and does not exist:
// the implementations named "fake", as Ironic has them, for trying out clients.
package fake

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"ferric/conductor/store"
)

// Config says how long this hardware takes: seconds, with a fraction where there
// is one, or "least,most" for a random time that is rather near to the first.
type Config struct {
	// PowerDelay is that of the power interface, and so on.
	PowerDelay      string `ini:"fake.power_delay"`
	BootDelay       string `ini:"fake.boot_delay"`
	DeployDelay     string `ini:"fake.deploy_delay"`
	VendorDelay     string `ini:"fake.vendor_delay"`
	ManagementDelay string `ini:"fake.management_delay"`
	InspectDelay    string `ini:"fake.inspect_delay"`
	RAIDDelay       string `ini:"fake.raid_delay"`
	BIOSDelay       string `ini:"fake.bios_delay"`
	StorageDelay    string `ini:"fake.storage_delay"`
	RescueDelay     string `ini:"fake.rescue_delay"`
	FirmwareDelay   string `ini:"fake.firmware_delay"`
}

// DefaultConfig takes no time.
func DefaultConfig() Config {
	return Config{
		PowerDelay: "0", BootDelay: "0", DeployDelay: "0", VendorDelay: "0", ManagementDelay: "0", InspectDelay: "0",
		RAIDDelay: "0", BIOSDelay: "0", StorageDelay: "0", RescueDelay: "0", FirmwareDelay: "0",
	}
}

// Hardware is one implementation of each kind.
type Hardware struct {
	Power      Power
	Management Management
	Boot       Boot
	Deploy     Deploy
	Inspect    Inspect
	Rescue     Rescue
	Console    Console
	RAID       RAID
	BIOS       BIOS
	Firmware   Firmware
	Vendor     Vendor
	Storage    Storage
}

// New makes the hardware that the configuration describes.
func New(cfg Config) (Hardware, error) {
	var h Hardware
	for _, d := range []struct {
		option, text string
		delay        *delay
	}{
		{"power", cfg.PowerDelay, &h.Power.delay}, {"boot", cfg.BootDelay, &h.Boot.delay}, {"deploy", cfg.DeployDelay, &h.Deploy.delay},
		{"vendor", cfg.VendorDelay, &h.Vendor.delay}, {"management", cfg.ManagementDelay, &h.Management.delay},
		{"inspect", cfg.InspectDelay, &h.Inspect.delay}, {"raid", cfg.RAIDDelay, &h.RAID.delay}, {"bios", cfg.BIOSDelay, &h.BIOS.delay},
		{"storage", cfg.StorageDelay, &h.Storage.delay}, {"rescue", cfg.RescueDelay, &h.Rescue.delay}, {"firmware", cfg.FirmwareDelay, &h.Firmware.delay},
	} {
		var err error
		if *d.delay, err = parseDelay(d.text); err != nil {
			return h, fmt.Errorf("[fake]%s_delay: %w", d.option, err)
		}
	}
	return h, nil
}

// none needs nothing of a node.
type none struct{}

func (none) Validate(context.Context, *store.Node) error { return nil }
func (none) Properties() map[string]string               { return map[string]string{} }

// delay is how long something takes.
type delay struct{ least, most time.Duration }

// maxDelay is in seconds.
const maxDelay = 1 << 20

func parseDelay(text string) (delay, error) {
	var d delay
	if text = strings.TrimSpace(text); text == "" {
		return d, nil
	}
	first, second, ranged := strings.Cut(text, ",")
	for _, part := range []struct {
		text string
		to   *time.Duration
	}{{first, &d.least}, {second, &d.most}} {
		if part.to == &d.most && !ranged {
			d.most = d.least
			break
		}
		seconds, err := strconv.ParseFloat(strings.TrimSpace(part.text), 64)
		if err != nil || !(seconds >= 0 && seconds <= maxDelay) {
			return d, fmt.Errorf("%q is neither a number of seconds nor two of them with a comma between", text)
		}
		*part.to = time.Duration(seconds * float64(time.Second))
	}
	if d.most < d.least {
		return d, fmt.Errorf("in %q the second number is less than the first", text)
	}
	return d, nil
}

// wait takes the time. It ends early, with an error, when ctx does.
func (d delay) wait(ctx context.Context) error {
	if d.most == 0 {
		return nil
	}
	timer := time.NewTimer(d.random())
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// random is triangular with its peak at least, by the inverse of the distribution.
func (d delay) random() time.Duration {
	return d.least + time.Duration(float64(d.most-d.least)*(1-math.Sqrt(1-rand.Float64())))
}
