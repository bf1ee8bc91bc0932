package ipmi

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bougou/go-ipmi/pkg/types"
)

// sdrSource is a repository with a temperature that is read by a line, one that is another controller's, and a watchdog.
const sdrSource = `
sdr type 3
	sensor_owner_id 0x20
	sensor_owner_lun 0
	channel_number 0
	sensor_number 0
	entity_id system_board
	entity_instance 1
	sensor_type Watchdog_2
	event_reading_type_code 0x6f
	id_string "watchdog"
endsdr
sdr type 1
	sensor_owner_id 0x20
	sensor_owner_lun 0
	channel_number 0
	sensor_number 1
	entity_id system_board
	entity_instance 1
	sensor_type Temperature
	init_scanning true
	init_sensor_type true
	default_sensor_scan_on true
	event_reading_type_code 1
	analog_data_format unsigned
	rate_unit none
	modifier_unit none
	percentage false
	base_unit degrees_C
	modifier_unit_code unspecified
	linearization linear
	m 3
	tolerance 1
	b -7
	accuracy 1
	accuracy_exp 0
	sensor_direction input
	r_exp -1
	b_exp 1
	sensor_maximum 255
	sensor_minimum 0
	id_string "MBTemp"
endsdr
`

// startSensors is ipmi_sim with these sensors; the temperature reads 120.
func startSensors(t *testing.T) *simulator {
	t.Helper()
	compiler := tool(t, "sdrcomp")
	source := filepath.Join(t.TempDir(), "main.sdrs")
	if err := os.WriteFile(source, []byte(sdrSource), 0o644); err != nil {
		t.Fatal(err)
	}
	return startSimulatorIn(t, "", func(dir string) {
		state := filepath.Join(dir, "state", "ipmi_sim", "sim")
		if err := os.MkdirAll(state, 0o755); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(compiler, "-o", filepath.Join(state, "sdr.20.main"), source).CombinedOutput(); err != nil {
			t.Fatalf("sdrcomp: %v: %s", err, out)
		}
		sensors := `sensor_add 0x20 0 0 35 0x6f event-only
sensor_add 0x20 0 1 0x01 0x01
sensor_set_value 0x20 0 1 120 0
sensor_set_threshold 0x20 0 1 settable 111000 0xa0 0x90 0x70 00 00 00
sensor_set_event_support 0x20 0 1 enable scanning per-state 000111111000000 000111111000000 000111111000000 000111111000000
mc_enable 0x20
`
		emu := filepath.Join(dir, "sim.emu")
		text, err := os.ReadFile(emu)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(emu, []byte(strings.Replace(string(text), "mc_enable 0x20\n", sensors, 1)), 0o644); err != nil {
			t.Fatal(err)
		}
	})
}

// TestSensors reads what ipmitool reads, in Ironic's shape.
func TestSensors(t *testing.T) {
	sim := startSensors(t)
	bmcs := newBMCs(t, nil)
	info, p := behindProxy(t, sim.info, nil)
	all, err := bmcs.Sensors(t.Context(), info)
	if err != nil {
		t.Fatal(err)
	}
	fields := all["Temperature"]["MBTemp (0x1)"]
	if fields == nil {
		t.Fatalf("no temperature in %v", all)
	}
	witness := sim.ipmitool(t, "sdr", "get", "MBTemp")
	value := fmt.Sprint(fields["Sensor Value"])
	if !strings.Contains(witness, "Sensor Reading        : "+value+" (") || fields["Sensor Value"] != 29. {
		t.Errorf("reads %v; ipmitool says\n%s", fields, witness)
	}
	if got := fields["Sensor Reading"].(string); !strings.HasPrefix(got, value+" (+/- ") || !strings.HasSuffix(got, " degrees C") {
		t.Errorf("Sensor Reading %q", got)
	}
	if fields["Status"] != "ok" || !strings.Contains(witness, "Status                : ok") {
		t.Errorf("status %v; ipmitool says\n%s", fields["Status"], witness)
	}
	if fields["Entity ID"] != "7.1 (system board)" && fields["Entity ID"] != "7.1 (System Board)" {
		t.Errorf("Entity ID %q", fields["Entity ID"])
	}
	if got := p.Requests(); got > 40 {
		t.Errorf("%d datagrams for two records in one session", got)
	}
	empty := startSimulator(t)
	if all, err := bmcs.Sensors(t.Context(), empty.info); err != nil || len(all) != 0 {
		t.Errorf("an empty repository: %v, %v", all, err)
	}
}

// TestEventLog reads, pages through and empties a log that ipmitool shows, too.
func TestEventLog(t *testing.T) {
	sim := startSensors(t)
	bmcs := newBMCs(t, nil)
	if page, err := bmcs.Events(t.Context(), sim.info, 0, 10); err != nil || len(page.Events) != 0 || page.Next != nil {
		t.Fatalf("an empty log: %+v, %v", page, err)
	}
	add := func(data ...byte) {
		t.Helper()
		if err := bmcs.SendRaw(t.Context(), sim.info, append([]byte{0x0a, 0x44, 0, 0}, data...)); err != nil {
			t.Fatal(err)
		}
	}
	at := binary.LittleEndian.AppendUint32(nil, 1_700_000_000)
	for n := range 5 {
		add(0x02, at[0], at[1], at[2], at[3], 0x20, 0, 4, 0x01, 1, 0x01|byte(n%2)<<7, 0x57, 0xa0, 0x90) // upper non-critical going high
	}
	add(0xc1, at[0], at[1], at[2], at[3], 1, 2, 3, 9, 8, 7, 6, 5, 4)
	var all []Event
	for from, pages := uint16(0), 0; ; pages++ {
		page, err := bmcs.Events(t.Context(), sim.info, from, 4)
		if err != nil || pages > 1 {
			t.Fatalf("page %d: %v", pages, err)
		}
		all = append(all, page.Events...)
		if page.Next == nil {
			break
		}
		from = *page.Next
	}
	if len(all) != 6 {
		t.Fatalf("%d events: %+v", len(all), all)
	}
	witness := sim.ipmitool(t, "sel", "list")
	if first := all[0]; first.Sensor != "MBTemp" || first.SensorType != "Temperature" || first.Direction != "asserted" || first.Time != "" || // ipmi_sim counts from its start
		!strings.Contains(strings.ToLower(first.Description), "upper non-critical") || all[1].Direction != "deasserted" {
		t.Errorf("event %+v, then %+v; ipmitool says\n%s", first, all[1], witness)
	}
	if last := all[5]; !strings.Contains(last.Description, "090807060504") || !strings.Contains(witness, "090807060504") {
		t.Errorf("event %+v; ipmitool says\n%s", last, witness)
	}
	if lines := strings.Count(witness, "\n") + 1; lines != len(all) {
		t.Errorf("ipmitool lists %d events", lines)
	}
	if err := bmcs.ClearEvents(t.Context(), sim.info); err != nil {
		t.Fatal(err)
	}
	if got := sim.ipmitool(t, "sel", "info"); !strings.Contains(got, "Entries          : 0") {
		t.Errorf("after it was emptied:\n%s", got)
	}
}

func TestEventTime(t *testing.T) {
	record := []byte{1, 0, 2, 0, 0xf1, 0x53, 0x65, 0x20, 0, 4, 1, 1, 1, 0x57, 0xa0, 0x90}
	if e := parseEvent(record, nil); e.Time != "2023-11-14T22:13:20Z" || e.Sensor != "sensor 0x01" {
		t.Errorf("%+v", e)
	}
}

func FuzzSDR(f *testing.F) {
	f.Add([]byte{1, 0, 0x51, 1, 0x30, 0x20, 0, 1, 7, 1, 0x7f, 0x68, 1, 1}, []byte{0x28, 0xc0, 0})
	f.Add([]byte{2, 0, 0x51, 2, 0x20, 0x20, 0, 0, 7, 1, 0, 0, 35, 0x6f}, []byte{0, 0xc0, 1, 0x80})
	f.Fuzz(func(t *testing.T, record, answer []byte) {
		r := parseSDR(record, lastRecord)
		if r == nil {
			return
		}
		if sensorName(r) == "" {
			t.Error("a sensor without a name")
		}
		if r.EventOnly != nil {
			return
		}
		_, fields := reading(r, answer)
		if v, ok := fields["Sensor Value"].(float64); ok && (math.IsNaN(v) || math.IsInf(v, 0)) {
			t.Errorf("reads %v", v)
		}
	})
}

func FuzzSEL(f *testing.F) {
	f.Add([]byte{1, 0, 2, 0, 0, 0, 0x60, 0x20, 0, 4, 1, 1, 1, 0x57, 0xa0, 0x90})
	f.Add([]byte{1, 0, 0xe0, 0, 0, 0, 0x60, 0x20, 0, 4, 1, 1, 1, 0x57, 0xa0, 0x90})
	f.Fuzz(func(t *testing.T, record []byte) {
		if len(record) != selRecordSize {
			return
		}
		if e := parseEvent(record, map[types.SensorNumber]string{}); e.Description == "" {
			t.Errorf("an event without words: %+v", e)
		}
	})
}
