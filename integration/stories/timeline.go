package stories

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"ferric/api/ironic"
	"ferric/integration/lab"
)

// Mark is a stage of a deployment and when it was reached.
type Mark struct {
	Stage string
	Time  time.Time
}

// Stages between which the time of the ramdisk is measured.
const (
	stageLoaded    = "ramdisk loaded"
	stageListening = "agent listening"
	stageHeartbeat = "first heartbeat"
)

// stages of a deployment after power on, each with where it is seen: an event
// of the conductor, or a line on the console. Literal table.
var stages = []struct {
	name    string
	event   string
	console *regexp.Regexp
}{
	{name: "DHCP", event: "dhcp"},
	{name: "iPXE", event: "ipxe-script"},
	{name: stageLoaded, event: "ramdisk-sent"},
	{name: "kernel", console: regexp.MustCompile(`Linux version `)},
	{name: "agent started", console: regexp.MustCompile(`ferric-agent \S+ starting`)},
	{name: "lookup", event: "lookup"},
	{name: stageListening, console: regexp.MustCompile(`server listening`)},
	{name: stageHeartbeat, event: "heartbeat"},
	{name: "image written", event: "image"},
}

// errNoEvent says that the timeline lacks something that has to be there.
var errNoEvent = errors.New("was not seen")

// timeline collects the marks of a deployment that began at since, with the
// console at line, and ended with the first boot at last.
func (m *Machine) timeline(ctx context.Context, since time.Time, line int, last lab.Line) ([]Mark, error) {
	events, err := m.site.API.Events(ctx, m.Name)
	if err != nil {
		return nil, err
	}
	var marks []Mark
	for _, e := range m.Node.Events() {
		if e.What == lab.PoweredOn && e.Time.After(since) {
			marks = append(marks, Mark{"power on", e.Time})
			break
		}
	}
	if len(marks) == 0 {
		return nil, fmt.Errorf("%s: power on %w", m.Name, errNoEvent)
	}
	begin := marks[0].Time
	for _, s := range stages {
		at, ok := m.find(events, begin, line, s.event, s.console)
		if !ok {
			return nil, fmt.Errorf("%s: stage %q %w", m.Name, s.name, errNoEvent)
		}
		marks = append(marks, Mark{s.name, at})
	}
	return append(marks, Mark{"first boot of the deployed system", last.Time}), nil
}

// find looks a stage up among the events, or on the console, after begin.
func (m *Machine) find(events []ironic.Event, begin time.Time, line int, event string, console *regexp.Regexp) (time.Time, bool) {
	if console != nil {
		for _, l := range m.Console.Lines(line) {
			if l.Time.After(begin) && console.MatchString(l.Text) {
				return l.Time, true
			}
		}
		return time.Time{}, false
	}
	for _, e := range events {
		if e.Kind == event && e.Time.After(begin) {
			return e.Time, true
		}
	}
	return time.Time{}, false
}

// printTimeline writes the marks of a machine with seconds since power on.
func printTimeline(w io.Writer, name string, marks []Mark) {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetTitle(name)
	t.AppendHeader(table.Row{"stage", "s since power on", "s of its own"})
	previous := marks[0].Time
	for _, mark := range marks {
		t.AppendRow(table.Row{mark.Stage, fmt.Sprintf("%.1f", mark.Time.Sub(marks[0].Time).Seconds()), fmt.Sprintf("%.1f", mark.Time.Sub(previous).Seconds())})
		previous = mark.Time
	}
	t.SetStyle(table.StyleLight)
	t.Render()
	at := map[string]time.Time{}
	for _, mark := range marks {
		at[mark.Stage] = mark.Time
	}
	fmt.Fprintf(w, "From the last byte of the ramdisk: agent listening after %.1f s, first heartbeat after %.1f s.\n",
		at[stageListening].Sub(at[stageLoaded]).Seconds(), at[stageHeartbeat].Sub(at[stageLoaded]).Seconds())
}
