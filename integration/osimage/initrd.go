package osimage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/u-root/u-root/pkg/cpio"
	"github.com/ulikunitz/xz"
)

// initPackage is process 1 of the small system.
const initPackage = "ferric/integration/osimage/init"

// writeInitrd writes the initial file system: init, its modules, and the
// programs that it is to run.
func writeInitrd(ctx context.Context, target string, o Options, k kernel) error {
	program := filepath.Join(filepath.Dir(target), "init")
	if err := buildInit(ctx, program, o.SourceDir); err != nil {
		return err
	}
	init, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	plan, err := planModules(k.modules)
	if err != nil {
		return err
	}
	records := []cpio.Record{
		cpio.Directory("dev", 0o755),
		cpio.CharDev("dev/console", 0o600, 5, 1),
		cpio.Directory("modules", 0o755),
		cpio.StaticFile("init", string(init), 0o755),
	}
	var list strings.Builder
	seen := map[string]bool{}
	for _, m := range plan {
		name := moduleName(m.path) + ".ko"
		fmt.Fprintf(&list, "%s %s\n", m.condition, name)
		if seen[name] {
			continue
		}
		seen[name] = true
		content, err := readModule(filepath.Join(k.modules, m.path))
		if err != nil {
			return err
		}
		records = append(records, cpio.StaticFile("modules/"+name, string(content), 0o644))
	}
	records = append(records, cpio.StaticFile("modules/list", list.String(), 0o644))
	programs, err := programsOf(o)
	if err != nil {
		return err
	}
	records = append(records, programs...)
	return writeArchive(target, records)
}

// buildInit compiles init. The same source gives the same bytes.
func buildInit(ctx context.Context, target, sourceDir string) error {
	_, err := runIn(ctx, sourceDir, []string{"CGO_ENABLED=0", "GOFLAGS="}, "go", "build",
		"-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", target, initPackage)
	return err
}

// readModule unpacks a module: unpacked under emulation it costs seconds.
func readModule(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var r io.Reader = f
	switch filepath.Ext(path) {
	case ".xz":
		r, err = xz.NewReader(f)
	case ".zst":
		r, err = zstd.NewReader(f)
	case ".gz":
		r, err = gzip.NewReader(f)
	}
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", path, err)
	}
	return io.ReadAll(r)
}

func writeArchive(target string, records []cpio.Record) (err error) {
	f, err := os.Create(target)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	z, err := gzip.NewWriterLevel(f, gzip.DefaultCompression)
	if err != nil {
		return err
	}
	var archive bytes.Buffer
	w := cpio.Newc.Writer(&archive)
	cpio.MakeAllReproducible(records)
	if err := cpio.WriteRecords(w, records); err != nil {
		return err
	}
	if err := cpio.WriteTrailer(w); err != nil {
		return err
	}
	if _, err := z.Write(archive.Bytes()); err != nil {
		return err
	}
	return z.Close()
}
