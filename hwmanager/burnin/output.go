package burnin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// reportStart is what a report begins with. Only a file with this is written over.
const reportStart = "{\n  \"step\": \"burnin_"

// checkOutput is nil if a report may be written to path, or if path is "": the
// file is in a directory that exists, outside the file systems of the kernel
// (links followed), and not there yet unless it is a report.
func checkOutput(path string) error {
	if path == "" {
		return nil
	}
	_, err := outputPath(path)
	return err
}

// outputPath is path with the links to its directory resolved.
func outputPath(path string) (string, error) {
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("output file %s: %w", shown(path), fmt.Errorf(format, args...))
	}
	if !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/" || strings.ContainsRune(path, 0) {
		return "", wrong("it must be a plain absolute path")
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return "", wrong("%w", err)
	}
	top := strings.SplitN(dir, "/", 3)[1]
	if slices.Contains([]string{"dev", "proc", "sys"}, top) {
		return "", wrong("it must not be below /%s", top)
	}
	path = filepath.Join(dir, filepath.Base(path))
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return path, nil
	}
	if err != nil {
		return "", wrong("%w", err)
	}
	if !info.Mode().IsRegular() {
		return "", wrong("it is there and no regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return "", wrong("%w", err)
	}
	defer f.Close()
	start := make([]byte, len(reportStart))
	if _, err := io.ReadFull(f, start); err != nil || string(start) != reportStart {
		return "", wrong("it is there and not a report of burn-in")
	}
	return path, nil
}

// WriteReport writes a report as JSON to the file that a node asked for. It
// takes the place of an older one as a whole; "" writes nothing.
func WriteReport(path string, report any) (err error) {
	if path == "" {
		return nil
	}
	if path, err = outputPath(path); err != nil {
		return err
	}
	encoded, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return fmt.Errorf("encode report: %w", err)
	}
	if !bytes.HasPrefix(encoded, []byte(reportStart)) {
		return fmt.Errorf("encode report: it begins with %.30q", encoded)
	}
	// A file that takes the name at the end follows no link and opens no device,
	// whatever has appeared at path meanwhile.
	f, err := os.CreateTemp(filepath.Dir(path), ".burnin-*")
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(append(encoded, '\n'))
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
