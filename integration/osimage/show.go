package osimage

import (
	"context"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/u-root/u-root/pkg/cpio"
	"github.com/u-root/u-root/pkg/ldd"
)

// showBytes are enough for some programs with their libraries, packed.
const showBytes = 8 * mib

// shownPrograms are the programs of the commands with the libraries that they
// need, and the list of the commands, a line each.
func shownPrograms(ctx context.Context, commands []string) ([]cpio.Record, error) {
	var records []cpio.Record
	var have []string
	directory := func(dir string) {
		if !slices.Contains(have, dir) {
			have = append(have, dir)
			records = append(records, cpio.Directory(dir, 0o755))
		}
	}
	var list strings.Builder
	for _, command := range commands {
		words := strings.Fields(command)
		if len(words) == 0 {
			return nil, fmt.Errorf("an empty command is to be shown")
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
			name := strings.TrimPrefix(file, "/")
			if slices.Contains(have, name) {
				continue
			}
			have = append(have, name)
			content, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			for i, letter := range name {
				if letter == '/' {
					directory(path.Clean(name[:i]))
				}
			}
			records = append(records, cpio.StaticFile(name, string(content), 0o755))
		}
	}
	if len(commands) > 0 {
		records = append(records, cpio.StaticFile("show", list.String(), 0o644))
	}
	return records, ctx.Err()
}
