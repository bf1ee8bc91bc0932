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

// report collects the results of cells. It may be used concurrently.
type report struct {
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
}

// print writes the table in the order of the cells.
func (r *report) print(w io.Writer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	slices.SortFunc(r.rows, func(a, b row) int { return slices.Index(cells[:], a.cell) - slices.Index(cells[:], b.cell) })
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.AppendHeader(table.Row{"disk", "sector", "firmware", "image", "as", "hint", "clean s", "array s", "deploy s", "boot s", "result"})
	for _, row := range r.rows {
		c := row.cell
		result := string(c.want)
		if row.note != "" {
			result = row.note
			if c.want != refused {
				result = string(c.want) + ": " + row.note
			}
		}
		if row.err != nil {
			result = "FAILED: " + strings.SplitN(row.err.Error(), "\n", 2)[0]
			result = result[:min(len(result), 100)]
		}
		image := string(c.image)
		if c.image == partition && c.firmware == lab.BIOS {
			image += ", " + c.label()
		}
		if c.installer {
			image += ", GRUB's installer"
		}
		bus := string(c.bus)
		if c.array {
			bus = "md on " + bus
		}
		t.AppendRow(table.Row{bus, c.sector, c.firmware, image, c.format, c.hint, seconds(row.clean), seconds(row.raid), seconds(row.deploy), seconds(row.boot), result})
	}
	t.SetStyle(table.StyleLight)
	fmt.Fprintln(w)
	t.Render()
}

// seconds of an act; none for one that did not take place.
func seconds(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f", d.Seconds())
}
