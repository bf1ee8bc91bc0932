package images_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"ferric/images"
	"ferric/images/disk/disktest"
)

// TestOtherTables: a server that answers Range requests out of another file
// cannot rearrange the disk behind a digest that is right.
func TestOtherTables(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.qcow2")
	makeFragmented(t, path, 64)
	file := readFile(t, path)
	other := bytes.Clone(file)
	const l2At = 3 * 512 // makeFragmented's, of one table
	copy(other[l2At:][:8], file[l2At+8:][:8])
	copy(other[l2At+8:][:8], file[l2At:][:8])
	serve := func(w http.ResponseWriter, r *http.Request) {
		b := file
		if r.Header.Get("Range") != "" {
			b = other
		}
		w.Header().Set("ETag", `"same"`)
		http.ServeContent(w, r, "x", time.Time{}, bytes.NewReader(b))
	}
	srv := httptest.NewServer(http.HandlerFunc(serve))
	defer srv.Close()
	disk := makeDisk(t, 4*mib)
	_, err := images.Write(context.Background(), disktest.Target(t, disk), request(srv.URL, "qcow2", sha256File(t, path)), nil)
	if !errors.Is(err, images.ErrChanged) {
		t.Errorf("got error %v", err)
	}
	if hasTable(t, disk) {
		t.Error("the disk still has a beginning or an end")
	}
}
