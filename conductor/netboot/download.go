package netboot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

const (
	// downloadLimit bounds one kernel, ramdisk or image that is fetched for a boot
	// loader that cannot fetch it itself.
	downloadLimit = 8 << 30
	// downloadTime is for how long it may take.
	downloadTime = 30 * time.Minute
	// downloadPatience is for how long a request waits for it; who asks repeats
	// the request meanwhile, and asks anew after that.
	downloadPatience = 2 * time.Minute
	// downloadsKept is how many of them stay for the next machine.
	downloadsKept = 8
)

// errDownloading says that the file is being fetched; the boot loader asks again.
var errDownloading = errors.New("is being fetched, ask again")

// downloads fetches files by URL for boot loaders that have TFTP only, or no TLS,
// and keeps the last few. A file that was kept is asked for again before it is
// served, so one that has changed is noticed.
type downloads struct {
	client *http.Client

	mu    sync.Mutex
	dir   string // made when it is needed first
	next  int
	files map[string]*download
}

// download is one of them.
type download struct {
	done    chan struct{} // closed at the end
	err     error
	path    string
	etag    string
	changed string // Last-Modified
	used    time.Time
}

func newDownloads() *downloads {
	return &downloads{client: &http.Client{}, files: map[string]*download{}}
}

// open fetches a file unless it is here and unchanged. It waits for as long as
// ctx lets it, and goes on fetching after that.
func (d *downloads) open(ctx context.Context, url string) (file, error) {
	d.mu.Lock()
	have := d.files[url]
	d.mu.Unlock()
	if have != nil && have.finished() && (have.err != nil || !d.unchanged(ctx, url, have)) {
		d.forget(url, have)
	}
	d.mu.Lock()
	have = d.files[url]
	if have == nil {
		have = &download{done: make(chan struct{})}
		d.files[url] = have
		go d.fetch(context.WithoutCancel(ctx), url, have)
	}
	have.used = time.Now()
	d.mu.Unlock()
	select {
	case <-have.done:
	case <-ctx.Done():
		return nil, fmt.Errorf("%s %w", url, errDownloading)
	}
	if have.err != nil {
		return nil, have.err
	}
	return openRegular(os.Stat, os.Open, have.path)
}

func (f *download) finished() bool {
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}

// unchanged asks the server whether it still has what we have. One that does not
// say, or does not answer, changes nothing: the machine would boot nothing at all.
func (d *downloads) unchanged(ctx context.Context, url string, have *download) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, url, nil)
	if err != nil {
		return false
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return true
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return resp.StatusCode >= 500 || resp.StatusCode == http.StatusMethodNotAllowed
	}
	return resp.Header.Get("ETag") == have.etag && resp.Header.Get("Last-Modified") == have.changed
}

// fetch downloads a file to the end.
func (d *downloads) fetch(ctx context.Context, url string, to *download) {
	ctx, cancel := context.WithTimeout(ctx, downloadTime)
	defer cancel()
	defer close(to.done)
	if to.path, to.err = d.place(); to.err != nil {
		return
	}
	if err := d.get(ctx, url, to); err != nil {
		os.Remove(to.path)
		to.err = fmt.Errorf("fetch %s: %w", url, err)
		return
	}
	d.trim()
}

func (d *downloads) get(ctx context.Context, url string, to *download) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the server answers %s", resp.Status)
	}
	to.etag, to.changed = resp.Header.Get("ETag"), resp.Header.Get("Last-Modified")
	out, err := os.OpenFile(to.path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(out, io.LimitReader(resp.Body, downloadLimit+1))
	if err == nil && n > downloadLimit {
		err = fmt.Errorf("it is larger than %d bytes", int64(downloadLimit))
	}
	return errors.Join(err, out.Close())
}

// place names a file for a download.
func (d *downloads) place() (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dir == "" {
		dir, err := os.MkdirTemp("", "ferric-boot-files-")
		if err != nil {
			return "", fmt.Errorf("make a directory for boot files: %w", err)
		}
		d.dir = dir
	}
	d.next++
	return filepath.Join(d.dir, strconv.Itoa(d.next)), nil
}

// forget drops a download, unless another has taken its place. Who reads the file goes on.
func (d *downloads) forget(url string, have *download) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.files[url] == have {
		delete(d.files, url)
		os.Remove(have.path)
	}
}

// trim drops what was not used for longest.
func (d *downloads) trim() {
	for {
		d.mu.Lock()
		var oldest string
		finished := 0
		for url, f := range d.files {
			if f.finished() {
				finished++
				if oldest == "" || f.used.Before(d.files[oldest].used) {
					oldest = url
				}
			}
		}
		have := d.files[oldest]
		d.mu.Unlock()
		if finished < downloadsKept {
			return
		}
		d.forget(oldest, have)
	}
}

// close removes the files.
func (d *downloads) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dir != "" {
		os.RemoveAll(d.dir)
		d.dir = ""
	}
}
