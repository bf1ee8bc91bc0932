package ipmi

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/bougou/go-ipmi/pkg/types"
)

// maxSELPage is how many entries of the event log are read at a time.
const (
	maxSELPage     = 1000
	selRecordSize  = 16
	selErasePause  = 200 * time.Millisecond
	maxSELErasures = 100
)

// Event is an entry of a BMC's event log, in words as far as there are any.
type Event struct {
	ID          uint16 `json:"id"`
	Time        string `json:"time,omitempty"` // of the BMC's clock; absent where it had none
	Sensor      string `json:"sensor,omitempty"`
	SensorType  string `json:"sensor_type,omitempty"`
	Description string `json:"event"`
	Direction   string `json:"direction,omitempty"` // asserted or deasserted
	Raw         string `json:"raw"`
}

// EventLog is a page of a BMC's event log, oldest first.
type EventLog struct {
	Events []Event `json:"events"`
	// Next is where the next page begins; absent at the end.
	Next *uint16 `json:"next,omitempty"`
}

// Events reads a page of the event log, from the entry from, 0 is the oldest; sensors are named as the BMC does.
func (b *BMCs) Events(ctx context.Context, info Info, from uint16, limit int) (EventLog, error) {
	ctx, o, end, err := b.begin(ctx, info, "event log", walkLimit)
	if err != nil {
		return EventLog{}, err
	}
	defer end()
	o.isWalk = true
	page, names := EventLog{Events: []Event{}}, map[types.SensorNumber]string{}
	err = o.walkSDRs(ctx, func(r *types.SDR) error { names[r.SensorNumber()] = sensorName(r); return nil })
	if err != nil && !answered(err) {
		return EventLog{}, err
	}
	limit = min(limit, maxSELPage)
	for id := from; ; {
		request := binary.LittleEndian.AppendUint16([]byte{0, 0}, id) // whole entries need no reservation
		data, err := o.command(ctx, types.CommandGetSELEntry, append(request, 0, 0xff))
		if refusedWith(err, codeNoRecord) {
			return page, nil // the log is empty, or was cleared meanwhile
		}
		if err != nil {
			return EventLog{}, err
		}
		if len(data) < 2+selRecordSize {
			return EventLog{}, o.explain(fmt.Errorf("%s: an entry of %d bytes", types.CommandGetSELEntry.Name, len(data)))
		}
		next := binary.LittleEndian.Uint16(data)
		page.Events = append(page.Events, parseEvent(data[2:2+selRecordSize], names))
		if next == lastRecord || next == id {
			return page, nil
		}
		if id = next; len(page.Events) >= limit {
			page.Next = &next
			return page, nil
		}
	}
}

// parseEvent puts an entry into words; record has 16 bytes.
func parseEvent(record []byte, names map[types.SensorNumber]string) (e Event) {
	e = Event{ID: binary.LittleEndian.Uint16(record), Raw: fmt.Sprintf("%x", record)}
	defer func() {
		if recover() != nil { // the library's parser is not relied on to bear with every entry
			e.Description = "unknown"
		}
	}()
	sel, err := types.ParseSEL(record)
	if err != nil {
		e.Description = "unknown"
		return e
	}
	stamp := func(t time.Time) string {
		const sinceStart = 0x20000000 // less is the time since the BMC began
		if t.Unix() < sinceStart || t.Unix() == 0xffffffff {
			return ""
		}
		return t.UTC().Format(time.RFC3339)
	}
	switch {
	case sel.Standard != nil:
		s := sel.Standard
		e.Time, e.SensorType, e.Description = stamp(s.Timestamp), s.SensorType.String(), s.EventString()
		e.Sensor = names[s.SensorNumber]
		if e.Sensor == "" {
			e.Sensor = fmt.Sprintf("sensor 0x%02x", uint8(s.SensorNumber))
		}
		e.Direction = "asserted"
		if s.EventDir {
			e.Direction = "deasserted"
		}
		if e.Description == "" {
			e.Description = fmt.Sprintf("event %02x %02x %02x of type 0x%02x", s.EventData.EventData1, s.EventData.EventData2, s.EventData.EventData3, uint8(s.EventReadingType))
		}
	case sel.OEMTimestamped != nil:
		e.Time = stamp(sel.OEMTimestamped.Timestamp)
		e.Description = fmt.Sprintf("of manufacturer %d: %x", sel.OEMTimestamped.ManufacturerID, sel.OEMTimestamped.OEMDefined)
	default:
		e.Description = fmt.Sprintf("of the manufacturer: %x", record[3:])
	}
	return e
}

// ClearEvents empties the event log, and returns when the BMC has done so.
func (b *BMCs) ClearEvents(ctx context.Context, info Info) error {
	ctx, o, end, err := b.begin(ctx, info, "clear event log", walkLimit)
	if err != nil {
		return err
	}
	defer end()
	o.isWalk = true
	const start, status, done = 0xaa, 0x00, 0x01
	what := uint8(start)
	var reservation []byte
	for range maxSELErasures {
		if reservation == nil {
			if reservation, err = o.command(ctx, types.CommandReserveSEL, nil); err != nil {
				return err
			}
			if len(reservation) < 2 {
				return o.explain(errors.New("a reservation without a number"))
			}
		}
		data, err := o.command(ctx, types.CommandClearSEL, []byte{reservation[0], reservation[1], 'C', 'L', 'R', what})
		switch {
		case refusedWith(err, codeReservationLost): // an event has come
			reservation, what = nil, start
			continue
		case err != nil:
			return err
		case len(data) > 0 && data[0]&0x0f == done:
			return nil
		}
		what = status
		if err := pause(ctx, selErasePause); err != nil {
			return o.explain(o.interrupted(ctx, err))
		}
	}
	return o.explain(errors.New("the BMC does not come to an end with it"))
}
