package burnin

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// CPUOptions are the keys agent_burnin_cpu_* of a node's driver_info.
type CPUOptions struct {
	Workers int // 0 for one on each processor
	Time    time.Duration
	Output  string // path of the report; "" for none
}

// MemoryOptions are the keys agent_burnin_vm_*.
type MemoryOptions struct {
	Workers int // 0 for one on each processor
	Size    Size
	Time    time.Duration
	Output  string
}

// Size is an amount of memory, of all workers together: a share of what is
// available, or bytes.
type Size struct {
	Percent int // 1 to 100; 0 where Bytes counts
	Bytes   int64
}

// DiskOptions are the keys agent_burnin_fio_disk_*.
type DiskOptions struct {
	Loops     int           // each writes and verifies every disk once
	Time      time.Duration // of all loops; 0 for no limit
	SMARTTest bool          // followed by the extended self-test of the disks
	Output    string
}

// NetworkOptions are the keys agent_burnin_fio_network_*.
type NetworkOptions struct {
	Writer  bool   // sends first, then receives
	Partner string // name or address of the other node
	Time    time.Duration
	Wait    time.Duration // for the partner
	Output  string
}

// Defaults and bounds. A worker more than these, or a longer time, is a mistake.
const (
	dayTime        = 86400 * time.Second // agent contract: timeout of CPU and memory
	defaultPercent = 98
	defaultLoops   = 4
	networkTime    = 21600 * time.Second
	pairingTime    = 900 * time.Second

	mostWorkers = 1 << 12
	mostTime    = 366 * 24 * time.Hour
	mostLoops   = 1 << 20
	leastMemory = 1 << 20 // bytes
)

// CPUOptionsOf reads the options of driver_info; what is wrong is all named.
func CPUOptionsOf(info map[string]any) (CPUOptions, error) {
	o := CPUOptions{Time: dayTime}
	err := errors.Join(
		count(info, "agent_burnin_cpu_cpu", 0, mostWorkers, &o.Workers),
		seconds(info, "agent_burnin_cpu_timeout", time.Second, &o.Time),
		text(info, "agent_burnin_cpu_outputfile", &o.Output),
	)
	return o, errors.Join(err, checkOutput(o.Output))
}

// MemoryOptionsOf is as CPUOptionsOf.
func MemoryOptionsOf(info map[string]any) (MemoryOptions, error) {
	o := MemoryOptions{Time: dayTime, Size: Size{Percent: defaultPercent}}
	err := errors.Join(
		count(info, "agent_burnin_vm_vm", 0, mostWorkers, &o.Workers),
		size(info, "agent_burnin_vm_vm-bytes", &o.Size),
		seconds(info, "agent_burnin_vm_timeout", time.Second, &o.Time),
		text(info, "agent_burnin_vm_outputfile", &o.Output),
	)
	return o, errors.Join(err, checkOutput(o.Output))
}

// DiskOptionsOf is as CPUOptionsOf.
func DiskOptionsOf(info map[string]any) (DiskOptions, error) {
	o := DiskOptions{Loops: defaultLoops}
	err := errors.Join(
		count(info, "agent_burnin_fio_disk_loops", 1, mostLoops, &o.Loops),
		seconds(info, "agent_burnin_fio_disk_runtime", 0, &o.Time),
		truth(info, "agent_burnin_fio_disk_smart_test", &o.SMARTTest),
		text(info, "agent_burnin_fio_disk_outputfile", &o.Output),
	)
	return o, errors.Join(err, checkOutput(o.Output))
}

// NetworkOptionsOf is as CPUOptionsOf. Pairing by way of a coordination
// service is refused: the error says what to set instead.
func NetworkOptionsOf(info map[string]any) (NetworkOptions, error) {
	const prefix = "agent_burnin_fio_network_"
	o := NetworkOptions{Time: networkTime}
	var backend string
	err := errors.Join(
		seconds(info, prefix+"runtime", time.Second, &o.Time),
		seconds(info, prefix+"pairing_timeout", time.Second, &o.Wait),
		text(info, prefix+"pairing_backend_url", &backend),
		text(info, prefix+"outputfile", &o.Output),
	)
	if o.Wait == 0 {
		// The partner may have another step to end first, so that it is worth
		// waiting as long as the load lasts.
		o.Wait = max(o.Time, pairingTime)
	}
	config, given := info[prefix+"config"]
	switch {
	case given && config != nil:
		err = errors.Join(err, o.pair(prefix+"config", config))
	case backend != "":
		err = errors.Join(err, errors.New(prefix+"pairing_backend_url is set, and pairing through a coordination service is not supported: set "+prefix+`config to {"role": "writer" or "reader", "partner": "address of the other node"}`))
	default:
		err = errors.Join(err, errors.New(prefix+`config is not set: it must be {"role": "writer" or "reader", "partner": "address of the other node"}`))
	}
	return o, errors.Join(err, checkOutput(o.Output))
}

// pair takes role and partner from the static configuration, an object or, as
// some clients send it, the text of one.
func (o *NetworkOptions) pair(key string, config any) error {
	if written, ok := config.(string); ok {
		config = nil
		if err := json.Unmarshal([]byte(written), &config); err != nil {
			return fmt.Errorf("%s is not JSON: %w", key, err)
		}
	}
	pairing, ok := config.(map[string]any)
	if !ok {
		return fmt.Errorf(`%s must be an object with "role" and "partner"`, key)
	}
	role, _ := pairing["role"].(string)
	if role != "writer" && role != "reader" {
		return fmt.Errorf(`%s: role must be "writer" or "reader", not %s`, key, shown(pairing["role"]))
	}
	partner, _ := pairing["partner"].(string)
	if partner == "" || len(partner) > 253 || strings.ContainsFunc(partner, func(r rune) bool { return r <= ' ' || r > '~' || r == '/' }) {
		return fmt.Errorf("%s: partner must be the name or address of a node, not %s", key, shown(pairing["partner"]))
	}
	o.Writer, o.Partner = role == "writer", partner
	return nil
}

// shown is a value of a node as an error quotes it.
func shown(value any) string {
	const most = 60
	s := fmt.Sprintf("%v", value)
	if written, ok := value.(string); ok {
		s = strconv.Quote(written)
	}
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// integer reads a number, or the text of one: operators write both.
func integer(value any) (int64, bool) {
	switch v := value.(type) {
	case float64:
		if v != math.Trunc(v) || math.Abs(v) > 1<<53 {
			return 0, false
		}
		return int64(v), true
	case string:
		n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
		return n, err == nil
	}
	return 0, false
}

func count(info map[string]any, key string, least, most int, target *int) error {
	value, given := info[key]
	if !given || value == nil {
		return nil
	}
	n, ok := integer(value)
	if !ok || n < int64(least) || n > int64(most) {
		return fmt.Errorf("%s must be an integer from %d to %d, not %s", key, least, most, shown(value))
	}
	*target = int(n)
	return nil
}

// seconds reads a time: a number of seconds, or one with a unit as the tools
// of the reference take it.
func seconds(info map[string]any, key string, least time.Duration, target *time.Duration) error {
	value, given := info[key]
	if !given || value == nil {
		return nil
	}
	unit := time.Second
	number := value
	if written, ok := value.(string); ok {
		units := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour}
		rest, last := cutUnit(written)
		if u, known := units[last]; known {
			number, unit = rest, u
		}
	}
	n, ok := integer(number)
	if !ok || n < 0 || n > int64(mostTime/unit) || time.Duration(n)*unit < least {
		return fmt.Errorf("%s must be a number of seconds from %d to %d, or have one of the units s, m, h, d; it is %s",
			key, int64(least/time.Second), int64(mostTime/time.Second), shown(value))
	}
	*target = time.Duration(n) * unit
	return nil
}

// cutUnit takes the last character off a text, in lower case.
func cutUnit(written string) (rest string, unit byte) {
	written = strings.ToLower(strings.TrimSpace(written))
	if written == "" {
		return "", 0
	}
	return written[:len(written)-1], written[len(written)-1]
}

// size reads an amount of memory: "98%", "4G", or a number of bytes.
func size(info map[string]any, key string, target *Size) error {
	value, given := info[key]
	if !given || value == nil {
		return nil
	}
	wrong := fmt.Errorf("%s must be a share from 1%% to 100%%, or at least %d bytes, with or without one of the units b, k, m, g, t; it is %s",
		key, leastMemory, shown(value))
	number, shift := value, 0
	if written, ok := value.(string); ok {
		rest, unit := cutUnit(written)
		if unit == '%' {
			n, ok := integer(rest)
			if !ok || n < 1 || n > 100 {
				return wrong
			}
			*target = Size{Percent: int(n)}
			return nil
		}
		if at := strings.IndexByte("bkmgt", unit); unit != 0 && at >= 0 {
			number, shift = rest, 10*at
		}
	}
	n, ok := integer(number)
	if !ok || n < 0 || n > math.MaxInt64>>shift || n<<shift < leastMemory {
		return wrong
	}
	*target = Size{Bytes: n << shift}
	return nil
}

func truth(info map[string]any, key string, target *bool) error {
	switch v := info[key].(type) {
	case nil:
		return nil
	case bool:
		*target = v
		return nil
	case string:
		switch strings.ToLower(strings.TrimSpace(v)) {
		case "true", "1", "yes", "on":
			*target = true
			return nil
		case "false", "0", "no", "off", "":
			*target = false
			return nil
		}
	}
	return fmt.Errorf("%s must be true or false, not %s", key, shown(info[key]))
}

func text(info map[string]any, key string, target *string) error {
	switch v := info[key].(type) {
	case nil:
		return nil
	case string:
		*target = v
		return nil
	}
	return fmt.Errorf("%s must be text, not %s", key, shown(info[key]))
}
