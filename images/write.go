package images

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"time"

	"ferric/api/ipa"
	"ferric/images/decompress"
	"ferric/images/disk"
	"ferric/images/partition"
	"ferric/images/qcow2"
	"ferric/images/source"
	"ferric/images/sparse"
)

// maxRestarts bounds how often a transfer starts over because the file changed
// while it was read.
const maxRestarts = 3

// errAsMade: what is wrong with the image was wrong when it was made.
var errAsMade = errors.New("the digest is right: the image is as it was made")

// Write streams the image onto the disk and verifies it. It wipes
// what identified the disk's former content first, and again if it fails, so
// that nothing half-valid can boot. An image whose digest is wrong is fetched
// once more, one that cannot be had whole is fetched from the next URL. progress (may be nil) is called about once a second and once at
// the end. Kind tells the protocol's error for the error.
func Write(ctx context.Context, target disk.Target, req Request, progress func(ipa.Progress)) (Result, error) {
	m := watch(progress)
	res, err := write(ctx, target, req, m)
	m.finish(err == nil)
	return res, err
}

func write(ctx context.Context, target disk.Target, req Request, m *monitor) (Result, error) {
	ctx, cancel := req.bound(ctx)
	defer cancel()
	want, err := req.Digest.resolve(ctx, req)
	if err != nil {
		return Result{}, fmt.Errorf("write image to %s: %w", target.Path(), err)
	}
	dev, err := claim(ctx, target)
	if err != nil {
		return Result{}, fmt.Errorf("write image: %w: %w", ErrWrite, err)
	}
	defer dev.Close()

	before := func(ctx context.Context) error { return wipeAll(ctx, dev) }
	t := &transfer{dev: dev, req: req, want: want, urls: req.URLs, monitor: m, before: before}
	res, err := t.run(ctx)
	if err != nil {
		return res, fmt.Errorf("write image%s to %s: %w", named(res.URL), target.Path(), err)
	}
	return res, nil
}

// How long a disk may be in use before it is refused, and how often it is asked
// (agent contract: check_device_max_retries 20, check_device_interval 1 s).
const (
	claimTimeout  = 20 * time.Second
	claimInterval = 250 * time.Millisecond
)

// claim opens the disk for writing; one that is in use is asked again.
func claim(ctx context.Context, target disk.Target) (*disk.Device, error) {
	ctx, cancel := context.WithTimeout(ctx, claimTimeout)
	defer cancel()
	for {
		dev, err := target.Open()
		if !errors.Is(err, disk.ErrBusy) {
			return dev, err
		}
		timer := time.NewTimer(claimInterval)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, err
		}
	}
}

// wipe is Target.Wipe for a disk that may be in use for a while: what failed may
// have been that.
func wipe(ctx context.Context, target disk.Target) error {
	dev, err := claim(ctx, target)
	if err != nil {
		return err
	}
	defer dev.Close()
	if err := dev.WipeEnds(ctx); err != nil {
		return err
	}
	return dev.Sync()
}

// wipeAll removes what identifies the former contents of the disk and of its
// partitions: a new one may end where an old one did, with its RAID superblock
// (agent contract, section "Metadata": disks and partitions).
func wipeAll(ctx context.Context, dev *disk.Device) error {
	former := partition.Former(dev)
	if err := dev.WipeEnds(ctx); err != nil { // or the old table had half of its content
		return err
	}
	for _, p := range former {
		// One that reaches over the end is nobody's.
		if s, err := dev.Section(p.Start, p.Size); err == nil {
			if err := s.WipeEnds(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// bound is ctx with the bound on the transfer.
func (r Request) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if r.MaxDuration <= 0 {
		return ctx, func() {}
	}
	return context.WithTimeoutCause(ctx, r.MaxDuration, fmt.Errorf("%w: not finished within %s", ErrTimeout, r.MaxDuration))
}

// named is the URL of the image for a message, if one has answered.
func named(url string) string {
	if url == "" {
		return "" // what failed then names what it asked
	}
	return " " + url
}

// transfer is one image on its way to one disk.
type transfer struct {
	dev     *disk.Device
	req     Request
	want    expected
	before  func(context.Context) error // the disk is written to; may be nil
	monitor *monitor

	touched bool     // whether the disk was written to
	urls    []string // not given up yet; the first that answers serves the image
	file    *source.File
	writer  *sparse.Writer
}

// run tries until the image is on the disk: twice with a URL whose digest is
// wrong, a few times more if the file changes meanwhile, and then with the next
// URL if there is one.
func (t *transfer) run(ctx context.Context) (Result, error) {
	fetched, restarts := 0, 0
	var before []string // what went wrong with the URLs given up
	for {
		res, err := t.once(ctx)
		switch {
		case err == nil:
			return res, nil
		case ctx.Err() != nil:
			err = context.Cause(ctx)
		case errors.Is(err, ErrChecksum) && fetched == 0:
			fetched++
			continue
		case errors.Is(err, ErrChanged) && restarts < maxRestarts:
			restarts++
			continue
		case elsewhere(err) && len(t.urls) > 1:
			t.urls = t.urls[1:]
			fetched, restarts = 0, 0
			before = append(before, fmt.Sprintf("%s: %v", res.URL, err))
			continue
		}
		if len(before) > 0 { // as text: an error is of one kind
			err = fmt.Errorf("%w; before that %s", err, strings.Join(before, "; "))
		}
		if werr := t.wipeAgain(ctx); werr != nil {
			err = fmt.Errorf("%w; and the disk could not be wiped again: %w", err, werr)
		}
		return res, err
	}
}

// elsewhere tells whether the image may be right at another URL.
func elsewhere(err error) bool {
	if errors.Is(err, errAsMade) {
		return false
	}
	return errors.Is(err, ErrDownload) || errors.Is(err, ErrTruncated) || errors.Is(err, ErrChecksum) || errors.Is(err, ErrChanged)
}

// wipeAgain leaves nothing on the disk that firmware would start.
func (t *transfer) wipeAgain(ctx context.Context) error {
	if !t.touched {
		return nil
	}
	if err := t.dev.WipeEnds(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	return t.dev.Sync()
}

// once fetches, decodes, writes and verifies the image one time.
func (t *transfer) once(ctx context.Context) (Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	file, err := source.Open(ctx, source.Config{URLs: t.urls, Header: t.req.Header, Client: t.req.Client, Retry: t.req.Retry})
	if err != nil {
		t.urls = nil // all of them were asked
		return Result{}, err
	}
	t.urls = t.urls[file.Number():]
	defer file.Close()
	t.file = file
	t.monitor.reads(file)
	t.monitor.enter(ipa.PhaseWriting)

	sum := t.want.new()
	served := bufio.NewReaderSize(io.TeeReader(file, sum), sniffSize)
	res := Result{URL: file.URL(), Algorithm: t.want.algorithm}
	image, format, compression, err := identify(file, served, t.req)
	res.Format, res.Compression = format, compression
	if err == nil && image.size > t.dev.Size {
		err = fmt.Errorf("%w: the image has %d bytes, %s has %d", ErrTooLarge, image.size, t.dev.Path, t.dev.Size)
	}
	if err == nil {
		res.Size, err = t.put(ctx, image)
	}
	if err != nil {
		return res, t.explain(classify(err), file, served, sum)
	}
	t.monitor.enter(ipa.PhaseVerifying)
	if _, err := io.Copy(io.Discard, served); err != nil {
		return res, err
	}
	res.Served = file.Done()
	if res.Digest, err = t.want.verify(sum); err != nil {
		return res, err
	}
	err = t.writer.Commit()
	res.Written = t.writer.Written()
	return res, err
}

// put wipes the disk and writes the image, all but what goes to the disk's ends.
func (t *transfer) put(ctx context.Context, image content) (size int64, err error) {
	if !t.touched && t.before != nil {
		if err := t.before(ctx); err != nil {
			return 0, fmt.Errorf("%w: %w", ErrWrite, err)
		}
	}
	t.touched = true
	if err := t.dev.WipeEnds(ctx); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrWrite, err)
	}
	if err := t.dev.Sync(); err != nil { // before any of the new content
		return 0, fmt.Errorf("%w: %w", ErrWrite, err)
	}
	w := sparse.NewWriter(ctx, t.dev)
	t.writer = w
	t.monitor.writes(w)
	size, err = image.write(ctx, w)
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	return size, err
}

// explain tells content that is wrong at its origin from content that was
// damaged on the way: it reads the rest of the file and looks at the digest.
func (t *transfer) explain(err error, file *source.File, served io.Reader, sum hash.Hash) error {
	if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrTruncated) || file.Size() < 0 {
		return err
	}
	if errors.Is(err, source.ErrTruncated) && file.Done() < file.Size() {
		return err
	}
	if _, rerr := io.Copy(io.Discard, served); rerr != nil {
		return err
	}
	if _, verr := t.want.verify(sum); verr != nil {
		return fmt.Errorf("%w (%w)", verr, err)
	}
	return fmt.Errorf("%w (%w)", err, errAsMade)
}

// classify translates the errors of the stages into those of this package.
func classify(err error) error {
	for _, c := range []struct{ from, to error }{
		{qcow2.ErrChanged, ErrChanged},
		{qcow2.ErrRefused, ErrInvalid},
		{decompress.ErrWindow, ErrInvalid},
		{decompress.ErrUnsupported, ErrInvalid},
		{qcow2.ErrCorrupt, ErrCorrupt},
		{decompress.ErrCorrupt, ErrCorrupt},
		{ErrTruncated, ErrTruncated},
		{ErrDownload, ErrDownload},
		{ErrChanged, ErrChanged},
		{io.ErrUnexpectedEOF, ErrTruncated},
	} {
		if !errors.Is(err, c.from) {
			continue
		}
		if c.from == c.to {
			return err
		}
		return fmt.Errorf("%w: %w", c.to, err)
	}
	return err
}
