package ipmi

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/bougou/go-ipmi/pkg/command/sensor"
	"github.com/bougou/go-ipmi/pkg/types"

	"ferric/conductor/driver"
	"ferric/conductor/store"
)

// Limits of reading a BMC's repositories, whose records come one by one.
const (
	walkLimit       = 5 * time.Minute
	maxSDRs         = 4096
	maxReservations = 20 // that a BMC may cancel under one walk
	lastRecord      = 0xffff
	sdrHeaderSize   = 5
)

// Completion codes that a walk goes on after (IPMI 2.0 table 5-2).
const (
	codeReservationLost = 0xc5
	codeTooManyBytes    = 0xca
	codeNoRecord        = 0xcb
)

func refusedWith(err error, code types.CompletionCode) bool {
	var refused *CompletionError
	return errors.As(err, &refused) && refused.Code == code
}

// walkSDRs reads the sensor data records one after another (section 33). Records that cannot be read, and kinds that
// are none of sensors, are left out.
func (o *operation) walkSDRs(ctx context.Context, visit func(*types.SDR) error) error {
	var reservation []byte
	chunk, lost, seen := 32, 0, map[uint16]bool{}
	reserve := func() (err error) {
		reservation, err = o.command(ctx, types.CommandReserveSDRRepo, nil)
		if err == nil && len(reservation) < 2 {
			err = o.explain(errors.New("a reservation without a number"))
		}
		return err
	}
	if err := reserve(); err != nil {
		return err
	}
	for id := uint16(0); id != lastRecord && !seen[id] && len(seen) < maxSDRs; {
		seen[id] = true
		record, next, err := o.readSDR(ctx, reservation, id, &chunk)
		switch {
		case refusedWith(err, codeReservationLost) && lost < maxReservations:
			lost++
			delete(seen, id)
			if err := reserve(); err != nil {
				return err
			}
			continue
		case refusedWith(err, codeNoRecord): // the repository is empty
			return nil
		case err != nil:
			return err
		}
		if r := parseSDR(record, next); r != nil {
			if err := visit(r); err != nil {
				return err
			}
		}
		id = next
	}
	return nil
}

// readSDR reads one record: its header, which says how long it is, and the rest in pieces that the BMC can carry.
func (o *operation) readSDR(ctx context.Context, reservation []byte, id uint16, chunk *int) (record []byte, next uint16, err error) {
	size := sdrHeaderSize
	for len(record) < size {
		n := min(size-len(record), *chunk)
		request := binary.LittleEndian.AppendUint16([]byte{reservation[0], reservation[1]}, id)
		data, err := o.command(ctx, types.CommandGetSDR, append(request, uint8(len(record)), uint8(n)))
		if refusedWith(err, codeTooManyBytes) && *chunk > 8 {
			*chunk /= 2
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		if len(data) < 3 {
			return nil, 0, o.explain(fmt.Errorf("%s: record %#04x ends after %d bytes of %d", types.CommandGetSDR.Name, id, len(record), size))
		}
		next = binary.LittleEndian.Uint16(data)
		record = append(record, data[2:min(len(data), 2+n)]...)
		if size == sdrHeaderSize && len(record) >= sdrHeaderSize {
			size += int(record[4])
		}
	}
	return record, next, nil
}

// parseSDR reads a record of a sensor; nil is one that is broken, or of something else. The library's parser is not
// relied on to bear with every record.
func parseSDR(record []byte, next uint16) (r *types.SDR) {
	defer func() {
		if recover() != nil {
			r = nil
		}
	}()
	r, err := types.ParseSDR(record, next)
	if err != nil || r.Full == nil && r.Compact == nil && r.EventOnly == nil {
		return nil
	}
	return r
}

// sensorName is printable, whatever the BMC calls it.
func sensorName(r *types.SDR) string {
	name := strings.TrimSpace(strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return -1
		}
		return c
	}, strings.ToValidUTF8(r.SensorName(), "")))
	if name == "" {
		return fmt.Sprintf("sensor %#02x", uint8(r.SensorNumber()))
	}
	return name
}

// Sensors reads all sensors of the BMC that have something to say, by kind and name, in Ironic's shape.
func (b *BMCs) Sensors(ctx context.Context, info Info) (map[string]map[string]map[string]any, error) {
	ctx, o, end, err := b.begin(ctx, info, "sensors", walkLimit)
	if err != nil {
		return nil, err
	}
	defer end()
	o.isWalk = true
	all := map[string]map[string]map[string]any{}
	err = o.walkSDRs(ctx, func(r *types.SDR) error {
		if owner := ownerOf(r); r.EventOnly != nil || owner != types.BMC_SA && owner != 0 {
			return nil // has no reading, or is another controller's
		}
		data, err := o.command(ctx, types.CommandGetSensorReading, []byte{uint8(r.SensorNumber())})
		if answered(err) {
			return nil // the sensor is not there
		}
		if err != nil {
			return err
		}
		kind, fields := reading(r, data)
		if fields == nil {
			return nil
		}
		if all[kind] == nil {
			all[kind] = map[string]map[string]any{}
		}
		all[kind][fields["Sensor ID"].(string)] = fields
		return nil
	})
	if answered(err) {
		return all, nil // a BMC without a repository
	}
	return all, err
}

func ownerOf(r *types.SDR) uint8 {
	switch {
	case r.Full != nil:
		return uint8(r.Full.GeneratorID)
	case r.Compact != nil:
		return uint8(r.Compact.GeneratorID)
	}
	return types.BMC_SA
}

// reading makes the fields of a sensor out of its record and the answer to Get Sensor Reading. No fields are one that
// does not measure now.
func reading(r *types.SDR, data []byte) (kind string, fields map[string]any) {
	var answer sensor.GetSensorReadingResponse
	if answer.Unpack(data) != nil || answer.ReadingUnavailable || answer.SensorScanningDisabled {
		return "", nil
	}
	sensorType, event := types.SensorType(0), types.EventReadingType(0)
	entity, instance := uint8(0), uint8(0)
	if r.Full != nil {
		sensorType, event, entity, instance = r.Full.SensorType, r.Full.SensorEventReadingType, uint8(r.Full.SensorEntityID), uint8(r.Full.SensorEntityInstance)
	} else {
		sensorType, event, entity, instance = r.Compact.SensorType, r.Compact.SensorEventReadingType, uint8(r.Compact.SensorEntityID), uint8(r.Compact.SensorEntityInstance)
	}
	kind = sensorType.String()
	fields = map[string]any{
		"Sensor ID":     fmt.Sprintf("%s (0x%x)", sensorName(r), uint8(r.SensorNumber())),
		"Sensor Number": int(r.SensorNumber()),
		"Entity ID":     fmt.Sprintf("%d.%d (%s)", entity, instance&0x7f, types.EntityID(entity)),
	}
	if !event.IsThreshold() || r.Full == nil || !r.Full.HasAnalogReading() {
		states := uint16(0)
		if len(data) > 2 {
			states = uint16(data[2])
		}
		if len(data) > 3 {
			states |= uint16(data[3]&0x7f) << 8
		}
		asserted := []string{}
		for bit := range uint8(15) {
			if states&(1<<bit) == 0 {
				continue
			}
			name := fmt.Sprintf("state %d", bit)
			if e := event.EventForOffset(sensorType, bit); e != nil && e.EventName != "" {
				name = e.EventName
			}
			asserted = append(asserted, name)
		}
		fields["Sensor Type (Discrete)"], fields["States Asserted"] = kind, asserted
		fields["Sensor Reading"] = fmt.Sprintf("0x%x", answer.Reading)
		return kind, fields
	}
	value := r.Full.ConvertReading(answer.Reading)
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return "", nil
	}
	status := "ok"
	switch {
	case answer.Above_UNR || answer.Below_LNR:
		status = "nr"
	case answer.Above_UCR || answer.Below_LCR:
		status = "cr"
	case answer.Above_UNC || answer.Below_LNC:
		status = "nc"
	}
	tolerance := math.Abs(r.Full.ConvertSensorTolerance(uint8(r.Full.Tolerance)))
	fields["Sensor Type (Threshold)"], fields["Status"], fields["Sensor Units"], fields["Sensor Value"] = kind, status, r.Full.SensorUnit.String(), value
	fields["Sensor Reading"] = fmt.Sprintf("%s (+/- %s) %s", decimal(value), decimal(tolerance), r.Full.SensorUnit)
	return kind, fields
}

func decimal(v float64) string { return strings.TrimSuffix(fmt.Sprintf("%.3f", v), ".000") }

// SensorsData reads the machine's sensors.
func (m *Management) SensorsData(ctx context.Context, n *store.Node) (map[string]map[string]map[string]any, error) {
	info, err := nodeInfo(n)
	if err != nil {
		return nil, err
	}
	return m.bmcs.Sensors(ctx, info)
}

var _ driver.Sensors = (*Management)(nil)
