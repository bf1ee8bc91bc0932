package ramdisk

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

var (
	// programLine is a message of the compiler about the generated program.
	programLine = regexp.MustCompile(`^(?:\./)?` + regexp.QuoteMeta(programFile) + `:\d+:(?:\d+:)? *(.*)$`)
	// importedAs is how the generated program names a vendor's package.
	importedAs = regexp.MustCompile(`\bm(\d+)\.New\b`)
	// linkedFile is a file of a module that the program's module links to.
	linkedFile = regexp.MustCompile(`(?:\./)?` + linkDir + `/(\d+)(/?)`)
)

// explain says what is wrong in a vendor's file, or in what it exports: the program around
// it, and its links, are nothing that he has seen.
func (p *program) explain(text string, vendors []vendored) string {
	text = strings.ReplaceAll(strings.TrimSpace(text), p.dir+"/", "")
	text = linkedFile.ReplaceAllStringFunc(text, func(found string) string {
		match := linkedFile.FindStringSubmatch(found)
		i, err := strconv.Atoi(match[1])
		if err != nil || i >= len(p.links) {
			return found
		}
		if dir := fromHere(p.links[i]); dir != "." || match[2] == "" {
			return dir + match[2]
		}
		return ""
	})
	var lines []string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if match := programLine.FindStringSubmatch(line); match != nil {
			line = match[1]
			if number := importedAs.FindStringSubmatch(line); number != nil {
				i, _ := strconv.Atoi(number[1])
				line = fmt.Sprintf("%s: package %s has to export \"func New() hwmanager.Manager\": %s", vendors[i].asked, vendors[i].path, line)
			}
		}
		if line != "# "+agentModule {
			lines = append(lines, line)
		}
	}
	if strings.Contains(text, "build constraints exclude all Go files") {
		lines = append(lines, `the agent is a static program for Linux, built without cgo: files that import "C", or are for other systems, are not in it`)
	}
	return lastBytes(strings.Join(lines, "\n"), 4000)
}

// atSource has the places in a trace of the program name the vendors' files.
func atSource(trace string, vendors []vendored) string {
	for _, v := range vendors {
		if v.module != "" && v.module != ferricModule {
			trace = strings.ReplaceAll(trace, v.module+"@"+ferricVersion+"/", fromHere(v.dir)+"/")
		}
	}
	return trace
}

// fromHere is a path as seen from the current directory, if it lies below it.
func fromHere(path string) string {
	here, err := os.Getwd()
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(here, path); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return path
}
