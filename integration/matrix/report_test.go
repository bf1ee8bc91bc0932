package matrix

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"ferric/integration/lab"
)

// report collects the results of cells, and tells each at once. It may be used
// concurrently.
type report struct {
	w    io.Writer
	mu   sync.Mutex
	rows []row
}

type row struct {
	*run
	err error
}

func (r *report) add(done *run, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rows = append(r.rows, row{done, err})
	fmt.Fprintf(r.w, "%s: clean %s, array %s, deploy %s, boot %s s: %s\n", done.cell.name(),
		seconds(done.clean), seconds(done.raid), seconds(done.deploy), seconds(done.boot), row{done, err}.result())
}

// result says how a cell ended, in one line.
func (r row) result() string {
	switch {
	case r.err != nil:
		first, _, _ := strings.Cut(r.err.Error(), "\n")
		return "FAILED: " + first[:min(len(first), 100)]
	case r.note == "":
		return string(r.cell.want)
	}
	return string(r.cell.want) + ": " + r.note
}

// print writes the table in the order of the cells.
func (r *report) print() {
	r.mu.Lock()
	defer r.mu.Unlock()
	slices.SortFunc(r.rows, func(a, b row) int { return slices.Index(cells[:], a.cell) - slices.Index(cells[:], b.cell) })
	t := table.NewWriter()
	t.SetOutputMirror(r.w)
	t.AppendHeader(table.Row{"disk", "sector", "firmware", "image", "as", "hint", "clean s", "array s", "deploy s", "boot s", "result"})
	for _, row := range r.rows {
		c := row.cell
		image := string(c.image)
		if c.image == partition && c.firmware == lab.BIOS {
			image += ", " + c.label()
		}
		if c.array && c.msdos {
			image += " on msdos"
		}
		if c.installer {
			image += ", GRUB's installer"
		}
		bus := string(c.bus)
		if c.array {
			bus = "md on " + bus
		}
		t.AppendRow(table.Row{bus, c.sector, c.firmware, image, c.format, c.hint, seconds(row.clean), seconds(row.raid), seconds(row.deploy), seconds(row.boot), row.result()})
	}
	t.SetStyle(table.StyleLight)
	fmt.Fprintln(r.w)
	t.Render()
}

// seconds of an act; none for one that did not take place.
func seconds(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f", d.Seconds())
}
