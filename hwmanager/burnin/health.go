package burnin

import (
	"bufio"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Health is what the machine's own sensors and counters said while it was
// under load. What a machine does not have is absent.
type Health struct {
	// Temperatures in degrees Celsius, by sensor.
	Temperatures map[string]Temperature `json:"temperatures,omitempty"`
	// Counters by their names: throttling by processor, corrected and
	// uncorrected errors by memory controller, machine checks. Those that were
	// and stayed 0 are left out.
	Counters map[string]Counter `json:"counters,omitempty"`
}

// Temperature of one sensor.
type Temperature struct {
	Before  float64 `json:"before"`
	Highest float64 `json:"highest"`
}

// Counter before and after the load.
type Counter struct {
	Before int64 `json:"before"`
	After  int64 `json:"after"`
}

// Grown are the counters that the load made grow, as text.
func (h *Health) Grown() []string {
	var grown []string
	for _, name := range slices.Sorted(maps.Keys(h.Counters)) {
		if c := h.Counters[name]; c.After > c.Before {
			grown = append(grown, fmt.Sprintf("%s grew from %d to %d", name, c.Before, c.After))
		}
	}
	return grown
}

// Names of counters.
const (
	machineChecks = "machine checks"
	uncorrected   = "uncorrected memory errors"
)

// fault is an error if the machine noticed faults that are not corrected.
func (h *Health) fault() error {
	for _, name := range slices.Sorted(maps.Keys(h.Counters)) {
		c := h.Counters[name]
		if c.After > c.Before && (name == machineChecks || strings.HasSuffix(name, uncorrected)) {
			return fmt.Errorf("%s: %d while under load", name, c.After-c.Before)
		}
	}
	return nil
}

// sensors are where a machine tells of itself: sysfs and procfs.
type sensors struct{ sys, proc string }

// temperatures in degrees Celsius (Documentation/hwmon/sysfs-interface.rst:
// temp[1-*]_input in millidegrees).
func (s sensors) temperatures() map[string]float64 {
	found := map[string]float64{}
	inputs, _ := filepath.Glob(filepath.Join(s.sys, "class/hwmon/hwmon*/temp*_input"))
	for _, input := range inputs {
		value, ok := number(input)
		if !ok {
			continue
		}
		dir := filepath.Dir(input)
		sensor := strings.TrimSuffix(filepath.Base(input), "_input")
		name := filepath.Base(dir) + " " + word(filepath.Join(dir, "name")) + " " + sensor
		if label := word(filepath.Join(dir, sensor+"_label")); label != "" {
			name += " " + label
		}
		found[name] = float64(value) / 1000
	}
	return found
}

// counters of faults and of throttling.
func (s sensors) counters() map[string]int64 {
	found := map[string]int64{}
	add := func(pattern string, name func(path string) string) {
		paths, _ := filepath.Glob(filepath.Join(s.sys, pattern))
		for _, path := range paths {
			if n, ok := number(path); ok {
				found[name(path)] = n
			}
		}
	}
	// Documentation/admin-guide/RAS/main.rst: ce_count and ue_count.
	controller := func(path string) string { return filepath.Base(filepath.Dir(path)) }
	add("devices/system/edac/mc/mc*/ce_count", func(path string) string { return controller(path) + " corrected memory errors" })
	add("devices/system/edac/mc/mc*/ue_count", func(path string) string { return controller(path) + " " + uncorrected })
	// linux/arch/x86/kernel/cpu/mce/therm_throt.c
	processor := func(path string) string { return filepath.Base(filepath.Dir(filepath.Dir(path))) }
	add("devices/system/cpu/cpu[0-9]*/thermal_throttle/core_throttle_count", func(path string) string { return processor(path) + " throttled" })
	add("devices/system/cpu/cpu[0-9]*/thermal_throttle/package_throttle_count", func(path string) string { return processor(path) + " throttled with its package" })
	s.interrupts(found)
	return found
}

// interrupts adds machine-check exceptions and thermal events, summed over all
// processors (linux/arch/x86/kernel/irq.c: rows "MCE" and "TRM").
func (s sensors) interrupts(found map[string]int64) {
	f, err := os.Open(filepath.Join(s.proc, "interrupts"))
	if err != nil {
		return
	}
	defer f.Close()
	rows := map[string]string{"MCE:": machineChecks, "TRM:": "thermal events"}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20) // a row has 11 bytes for each processor
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 || rows[fields[0]] == "" {
			continue
		}
		total := int64(0)
		for _, field := range fields[1:] {
			n, err := strconv.ParseInt(field, 10, 64)
			if err != nil {
				break // the description
			}
			total += n
		}
		found[rows[fields[0]]] = total
	}
}

// watch looks at the sensors until it is ended.
type watch struct {
	sensors      sensors
	temperatures map[string]Temperature
	before       map[string]int64
	quit, gone   chan struct{}
}

// watchInterval is how often temperatures are read.
const watchInterval = time.Second

func (s sensors) watch() *watch {
	w := &watch{sensors: s, temperatures: map[string]Temperature{}, before: s.counters(), quit: make(chan struct{}), gone: make(chan struct{})}
	for name, degrees := range s.temperatures() {
		w.temperatures[name] = Temperature{degrees, degrees}
	}
	go func() {
		defer close(w.gone)
		ticker := time.NewTicker(watchInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				w.look()
			case <-w.quit:
				w.look()
				return
			}
		}
	}()
	return w
}

func (w *watch) look() {
	for name, degrees := range w.sensors.temperatures() {
		t, known := w.temperatures[name]
		if !known {
			t = Temperature{degrees, degrees}
		}
		t.Highest = max(t.Highest, degrees)
		w.temperatures[name] = t
	}
}

// end is what was seen; it must be called once.
func (w *watch) end() *Health {
	close(w.quit)
	<-w.gone
	h := &Health{Temperatures: w.temperatures, Counters: map[string]Counter{}}
	for name, after := range w.sensors.counters() {
		if c := (Counter{w.before[name], after}); c != (Counter{}) {
			h.Counters[name] = c
		}
	}
	return h
}

// number reads an attribute that is one.
func number(path string) (int64, bool) {
	n, err := strconv.ParseInt(word(path), 10, 64)
	return n, err == nil
}

// word reads a short attribute; "" if there is none.
func word(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	const most = 64
	return strings.ToValidUTF8(strings.TrimSpace(string(data[:min(len(data), most)])), "?")
}
