package osimage

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/u-root/u-root/pkg/cpio"
	"github.com/u-root/u-root/pkg/ldd"
)

// showBytes are enough for some programs with their libraries, packed.
const showBytes = 8 * mib

// assembly is the command that assembles the arrays that are complete.
const assembly = "mdadm --assemble --scan --no-degraded"

// programsOf are the programs that init runs, with the libraries that they
// need: a list of commands of either kind, a line each, and what is in them.
func programsOf(o Options) ([]cpio.Record, error) {
	lists := map[string][]string{"show": o.Show}
	if o.Array {
		lists["assemble"] = []string{assembly}
	}
	var records []cpio.Record
	var have []string
	add := func(r cpio.Record) {
		if !slices.Contains(have, r.Name) {
			have, records = append(have, r.Name), append(records, r)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(lists)) {
		var list strings.Builder
		for _, command := range lists[name] {
			words := strings.Fields(command)
			if len(words) == 0 {
				return nil, errors.New("an empty command is to be run")
			}
			file, err := program(words[0])
			if err != nil {
				return nil, err
			}
			fmt.Fprintln(&list, strings.Join(append([]string{file}, words[1:]...), " "))
			libraries, err := ldd.FList(file)
			if err != nil {
				return nil, fmt.Errorf("libraries of %s: %w", file, err)
			}
			for _, file := range append(libraries, file) {
				content, err := os.ReadFile(file)
				if err != nil {
					return nil, err
				}
				path := strings.TrimPrefix(file, "/")
				for i, letter := range path {
					if letter == '/' {
						add(cpio.Directory(path[:i], 0o755))
					}
				}
				add(cpio.StaticFile(path, string(content), 0o755))
			}
		}
		if list.Len() > 0 {
			add(cpio.StaticFile(name, list.String(), 0o644))
		}
	}
	return records, nil
}
