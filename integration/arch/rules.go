package arch

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
)

const module = "ferric"

// Package is what a rule needs of one entry of "go list -deps -json".
type Package struct {
	ImportPath string
	Name       string
	Standard   bool
	Imports    []string
	CgoFiles   []string
}

// room is a row of the architecture's table: a directory with all below it.
type room struct {
	dir       string
	mayImport []string // rooms; a package may always import its own
	never     []string // patterns of import paths outside the module, see matches
}

// rooms is the table of the architecture, section 1.
func rooms() []room {
	logging := []string{"log/...", "github.com/sirupsen/logrus/..."}
	database := []string{"database/sql", "github.com/mattn/go-sqlite3/...", "github.com/jmoiron/sqlx/..."}
	return []room{
		{"api", nil, []string{"github.com/sirupsen/logrus/...", "github.com/labstack/echo/..."}},
		{"images", []string{"api"}, logging},
		{"hwmanager", []string{"api", "images"}, nil},
		{"agent", []string{"api", "images", "hwmanager"}, database},
		{"conductor", []string{"api", "images"}, nil},
		{"ramdisk", []string{"api"}, nil},
		{"integration", []string{"api", "images", "hwmanager", "agent", "conductor", "ramdisk"}, nil},
		{"cmd/ferric", []string{"api", "images", "hwmanager", "agent", "conductor", "ramdisk", "integration"}, nil},
		{"cmd/ferric-agent", []string{"api", "images", "hwmanager", "agent"}, database},
	}
}

// within reports whether path is dir or below it.
func within(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// matches reports whether path is one of patterns, of which "x/..." stands for x and all below it.
func matches(path string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		dir, all := strings.CutSuffix(pattern, "/...")
		return path == dir || all && within(path, dir)
	})
}

// roomOf returns the row for an import path of ours.
func roomOf(importPath string) (room, bool) {
	for _, r := range rooms() {
		if within(importPath, module+"/"+r.dir) {
			return r, true
		}
	}
	return room{}, false
}

// ImportFaults lists the imports that the table forbids, and packages of ours in no room.
func ImportFaults(packages []Package) (faults []string) {
	for _, p := range packages {
		if !within(p.ImportPath, module) {
			continue
		}
		from, ok := roomOf(p.ImportPath)
		if !ok {
			faults = append(faults, fmt.Sprintf("%s is in no room of the architecture", p.ImportPath))
			continue
		}
		for _, imported := range p.Imports {
			if within(imported, module) {
				to, ok := roomOf(imported)
				if !ok || to.dir != from.dir && !slices.Contains(from.mayImport, to.dir) {
					faults = append(faults, fmt.Sprintf("%s must not import %s", p.ImportPath, imported))
				}
				continue
			}
			if matches(imported, from.never) {
				faults = append(faults, fmt.Sprintf("%s must not import %s", p.ImportPath, imported))
			}
		}
	}
	return faults
}

// BinaryFaults lists what a program that is built without cgo must not contain, in itself or through others:
// cgo, and what matches never. Each fault says by which imports it got in.
func BinaryFaults(packages []Package, root string, never []string) (faults []string) {
	byPath := map[string]Package{}
	for _, p := range packages {
		byPath[p.ImportPath] = p
	}
	if _, ok := byPath[root]; !ok {
		return []string{root + " does not exist"}
	}
	seen := map[string]bool{root: true}
	type step struct {
		path string
		way  []string
	}
	for queue := []step{{root, []string{root}}}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		p := byPath[at.path]
		if len(p.CgoFiles) > 0 && !p.Standard {
			faults = append(faults, "cgo: "+strings.Join(at.way, " → "))
		}
		if matches(at.path, never) {
			faults = append(faults, strings.Join(at.way, " → "))
			continue
		}
		for _, imported := range p.Imports {
			if !seen[imported] {
				seen[imported] = true
				queue = append(queue, step{imported, append(slices.Clone(at.way), imported)})
			}
		}
	}
	return faults
}

// maxDepth is how many directories deep a package may be.
const maxDepth = 3

// NameFaults lists packages of ours that are called after nothing, or lie too deep.
func NameFaults(packages []Package) (faults []string) {
	for _, p := range packages {
		if !within(p.ImportPath, module) {
			continue
		}
		elements := strings.Split(p.ImportPath, "/")[1:]
		for _, name := range append(slices.Clone(elements), p.Name) {
			if slices.Contains([]string{"util", "utils", "common", "helper", "helpers"}, name) {
				faults = append(faults, fmt.Sprintf("%s is called %s: name it for what it does", p.ImportPath, name))
				break
			}
		}
		if len(elements) > maxDepth {
			faults = append(faults, fmt.Sprintf("%s is %d directories deep; at most %d", p.ImportPath, len(elements), maxDepth))
		}
	}
	return faults
}

// maxLines is the length that a file must not exceed unless it holds TableMark.
const maxLines = 600

// TableMark, on a line of its own, says that a file is a literal table and may be long.
const TableMark = "//ferric:table"

// SourceFaults lists what is wrong with a source file that is no test: an init function, or too many lines.
func SourceFaults(path string, source []byte) (faults []string) {
	file, err := parser.ParseFile(token.NewFileSet(), path, source, parser.SkipObjectResolution)
	if err != nil {
		return []string{err.Error()}
	}
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
			faults = append(faults, path+": has an init function")
		}
	}
	lines := bytes.Count(source, []byte("\n"))
	table := slices.Contains(strings.Split(string(source), "\n"), TableMark)
	if lines > maxLines && !table {
		faults = append(faults, fmt.Sprintf("%s: %d lines; at most %d, or %s if it is a literal table", path, lines, maxLines, TableMark))
	}
	return faults
}
