// Package configdrive puts a config drive, the small volume labelled config-2
// from which cloud-init configures a system, onto a written disk (agent
// contract, section "Config drive").
package configdrive

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"strings"

	"ferric/images/disk"
	"ferric/images/fat"
	"ferric/images/iso9660"
	"ferric/images/partition"
	"ferric/images/source"
)

const (
	// Label of the volume; case does not count.
	Label = "config-2"
	// MaxSize of the volume in bytes, and size of the partition made for it.
	MaxSize = 64 << 20
)

var (
	// ErrInvalid: what was given is no config drive.
	ErrInvalid = errors.New("invalid config drive")
	// ErrAmbiguous: two partitions have the label.
	ErrAmbiguous = errors.New("several partitions are labelled " + Label)
)

// Options tell how a config drive is written.
type Options struct {
	Client *http.Client // for one that is given as a URL
	Retry  source.Retry
	// Rebuild makes an ISO 9660 volume anew as FAT on every disk.
	Rebuild bool
}

// Write decodes value (base64(gzip(volume)), or the URL of that or of the bare
// volume) and puts the volume into the partition of the disk that is labelled
// config-2, or else into a new partition of 64 MiB at the end of the disk. An
// ISO 9660 volume for a disk with sectors larger than its blocks is made anew
// as FAT. It answers with the partition, of which the kernel knows then.
func Write(ctx context.Context, target disk.Target, value string, o Options) (partition.Partition, error) {
	volume, err := Decode(ctx, value, o)
	if err != nil {
		return partition.Partition{}, err
	}
	p, err := find(target.Path())
	if err == nil && p.Number == 0 {
		p, err = partition.Append(target, MaxSize, Label)
	}
	if err != nil {
		return partition.Partition{}, fmt.Errorf("config drive: %w", err)
	}
	if err := fill(target, p, volume, o); err != nil {
		return partition.Partition{}, err
	}
	if err := partition.Reread(ctx, target.Path()); err != nil {
		return partition.Partition{}, fmt.Errorf("config drive: %w", err)
	}
	return p, nil
}

// Decode turns value into the bytes of a volume, at most MaxSize. Besides value,
// or what is at its URL, only the volume is in memory.
func Decode(ctx context.Context, value string, o Options) ([]byte, error) {
	if lower := strings.ToLower(value); !strings.HasPrefix(lower, "http://") && !strings.HasPrefix(lower, "https://") {
		value = strings.TrimSpace(value)
		open := func() io.Reader { return strings.NewReader(value) }
		if !isBase64(open()) {
			return nil, fmt.Errorf("%w: it is not base64", ErrInvalid)
		}
		return unpack(open)
	}
	fetched, err := fetch(ctx, value, o)
	if err != nil {
		return nil, err
	}
	text := bytes.TrimSpace(fetched)
	open := func() io.Reader { return bytes.NewReader(text) }
	if isBase64(open()) {
		return unpack(open)
	}
	switch { // a bare volume
	case len(fetched) == 0:
		return nil, errEmpty
	case len(fetched) > MaxSize:
		return nil, errTooLarge
	}
	return fetched, nil
}

var (
	errEmpty    = fmt.Errorf("%w: it is empty", ErrInvalid)
	errTooLarge = fmt.Errorf("%w: it is larger than %d MiB", ErrInvalid, MaxSize>>20)
)

// maxText bounds what is at a URL: base64 of something that gzip could not make
// smaller.
const maxText = MaxSize/3*4 + 1<<20

func fetch(ctx context.Context, url string, o Options) ([]byte, error) {
	f, err := source.Open(ctx, source.Config{URLs: []string{url}, Client: o.Client, Retry: o.Retry})
	if err != nil {
		// As text: this is no failure to download the image.
		return nil, fmt.Errorf("config drive: %v", err)
	}
	defer f.Close()
	var text bytes.Buffer
	if size := f.Size(); size > 0 { // told by the server; a larger one is refused below
		text.Grow(int(min(size, maxText)) + bytes.MinRead)
	}
	if _, err := text.ReadFrom(io.LimitReader(f, maxText+1)); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrInvalid, err)
	}
	if text.Len() > maxText {
		return nil, errTooLarge
	}
	return text.Bytes(), nil
}

func isBase64(r io.Reader) bool {
	_, err := io.Copy(io.Discard, base64.NewDecoder(base64.StdEncoding, r))
	return err == nil
}

// unpack decodes base64(gzip(volume)) twice: first to learn the size of the
// volume, so that no memory is taken in vain.
func unpack(open func() io.Reader) ([]byte, error) {
	var volume []byte
	for _, counting := range []bool{true, false} {
		z, err := gzip.NewReader(base64.NewDecoder(base64.StdEncoding, open()))
		if err != nil {
			return nil, fmt.Errorf("%w: it is not gzip in base64", ErrInvalid)
		}
		if !counting {
			_, err = io.ReadFull(z, volume)
			if err != nil {
				return nil, fmt.Errorf("%w: %v", ErrInvalid, err)
			}
			break
		}
		size, err := io.Copy(io.Discard, io.LimitReader(z, MaxSize+1))
		switch {
		case err != nil:
			return nil, fmt.Errorf("%w: %v", ErrInvalid, err)
		case size == 0:
			return nil, errEmpty
		case size > MaxSize:
			return nil, errTooLarge
		}
		volume = make([]byte, size)
	}
	return volume, nil
}

// find is the partition with the label; its Number is 0 if there is none.
func find(device string) (partition.Partition, error) {
	d, err := disk.OpenReadOnly(device)
	if err != nil {
		return partition.Partition{}, err
	}
	defer d.Close()
	t, err := partition.Read(d)
	if err != nil {
		return partition.Partition{}, err
	}
	var found partition.Partition
	for _, p := range t.Partitions {
		if !strings.EqualFold(volumeLabel(io.NewSectionReader(d, p.Start, p.Size)), Label) {
			continue
		}
		if found.Number != 0 {
			return found, fmt.Errorf("%w: %d and %d of %s", ErrAmbiguous, found.Number, p.Number, device)
		}
		found = p
	}
	return found, nil
}

// volumeLabel reads the label of an ISO 9660, FAT or ext file system, "" for
// none. A config drive is one of the first two; ext is asked for because a
// prepared partition may be of any kind.
func volumeLabel(r *io.SectionReader) string {
	at := func(off int64, n int) string {
		b := make([]byte, n)
		if _, err := r.ReadAt(b, off); err != nil {
			return ""
		}
		return strings.TrimRight(strings.TrimRight(string(b), "\x00"), " ")
	}
	if fs, err := iso9660.Open(r, r.Size()); err == nil {
		return fs.Label
	}
	if at(1024+56, 2) == "\x53\xef" {
		return at(1024+120, 16)
	}
	if fs, err := fat.Open(r, r.Size()); err == nil {
		return fs.Label
	}
	return ""
}

// isoBlock is the block size of ISO 9660: a disk with larger sectors cannot
// give the kernel such blocks.
const isoBlock = 2048

// rebuilt tells whether the volume is made anew as FAT on a disk with sectors of
// sector bytes.
func rebuilt(volume []byte, sector int, always bool) bool {
	return (sector > isoBlock || always) && len(volume) > 32774 && string(volume[32769:32774]) == "CD001"
}

// Room is how many bytes the volume needs of a disk with sectors of sector bytes.
func Room(volume []byte, sector int, o Options) int64 {
	if rebuilt(volume, sector, o.Rebuild) {
		return MaxSize
	}
	return int64(len(volume))
}

// Store puts the volume into a partition, of which nothing stays.
func Store(partition *disk.Device, volume []byte, o Options) (err error) {
	var files map[string][]byte
	if rebuilt(volume, partition.Sector, o.Rebuild) {
		if files, err = isoFiles(volume); err != nil {
			return err
		}
	}
	if int64(len(volume)) > partition.Size {
		return fmt.Errorf("%w: it has %d bytes, its partition %s has %d", ErrInvalid, len(volume), partition.Path, partition.Size)
	}
	if err := partition.Zero(0, partition.Size); err != nil {
		return fmt.Errorf("config drive: %w", err)
	}
	if files != nil {
		err = fat.Build(partition, partition.Size, partition.Sector, strings.ToUpper(Label), crc32.ChecksumIEEE(volume), files)
	} else {
		_, err = partition.WriteAt(volume, 0)
	}
	if err != nil {
		return fmt.Errorf("config drive: %w", err)
	}
	return nil
}

func fill(target disk.Target, p partition.Partition, volume []byte, o Options) error {
	d, err := target.Open()
	if err != nil {
		return fmt.Errorf("config drive: %w", err)
	}
	defer d.Close()
	s, err := d.Section(p.Start, p.Size)
	if err != nil {
		return fmt.Errorf("config drive: %w", err)
	}
	if err := Store(s, volume, o); err != nil {
		return err
	}
	return d.Sync()
}

// Bounds on what a config drive holds.
const (
	maxFiles = 10000
	maxDepth = 8 // names in a path
)

// isoFiles reads all regular files of an ISO 9660 volume; FAT has no others.
func isoFiles(volume []byte) (map[string][]byte, error) {
	fs, err := iso9660.Open(bytes.NewReader(volume), int64(len(volume)))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	files, room := map[string][]byte{}, int64(MaxSize)
	err = fs.Walk(func(path string, e iso9660.Entry) error {
		switch {
		case strings.Count(path, "/") >= maxDepth-1 && e.Dir:
			return fmt.Errorf("directories are nested deeper than %d", maxDepth-1)
		case !e.Regular:
			return nil
		case len(files) == maxFiles:
			return fmt.Errorf("it holds more than %d files", maxFiles)
		}
		content, err := fs.Content(e, room)
		if err != nil {
			return err
		}
		files[path], room = content, room-e.Size
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return files, nil
}
