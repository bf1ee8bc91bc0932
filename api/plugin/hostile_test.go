package plugin

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// forgery is a bundle made by hand; what is nil is as it has to be.
type forgery struct {
	manifest any // a Manifest, or text
	key      ed25519.PrivateKey
	sig      func(manifest []byte) []byte
	members  func(add func(*tar.Header, string))
	bytes    func([]byte) []byte
}

func listed(path, content string, mode uint32) File {
	sum := sha256.Sum256([]byte(content))
	return File{Path: path, Mode: mode, Size: int64(len(content)), SHA256: hex.EncodeToString(sum[:])}
}

const script = "#!/bin/sh\n"

// with is the manifest of acme with the executable and files.
func with(files ...File) Manifest {
	m := acme()
	m.Files = append([]File{listed("acme", script, 0o755)}, files...)
	slices.SortStableFunc(m.Files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return m
}

// make writes the bundle with an archiver that allows everything.
func (f forgery) make(t *testing.T) []byte {
	t.Helper()
	key, _ := testKey(1)
	if f.key != nil {
		key = f.key
	}
	if f.manifest == nil {
		f.manifest = with()
	}
	manifest, ok := f.manifest.(string)
	if !ok {
		text, err := encode(f.manifest)
		if err != nil {
			t.Fatal(err)
		}
		manifest = string(text)
	}
	sig, err := signatureOf([]byte(manifest), key)
	if err != nil {
		t.Fatal(err)
	}
	if f.sig != nil {
		sig = f.sig([]byte(manifest))
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	add := func(h *tar.Header, content string) {
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(content))
		}
		if h.ModTime.IsZero() && h.Typeflag != tar.TypeXGlobalHeader {
			h.ModTime = time.Unix(0, 0)
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatalf("%s: %v", h.Name, err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatalf("%s: %v", h.Name, err)
		}
	}
	add(&tar.Header{Name: ManifestFile, Mode: 0o644}, manifest)
	add(&tar.Header{Name: SignatureFile, Mode: 0o644}, string(sig))
	if f.members != nil {
		f.members(add)
	} else {
		add(&tar.Header{Name: "acme", Mode: 0o755}, script)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if f.bytes != nil {
		return f.bytes(out.Bytes())
	}
	return out.Bytes()
}

// files are members as they have to be.
func files(add func(*tar.Header, string), list ...string) {
	add(&tar.Header{Name: "acme", Mode: 0o755}, script)
	for _, name := range list {
		add(&tar.Header{Name: name, Mode: 0o644}, "x")
	}
}

// TestForgery: the archiver of the tests makes what is taken, so that what is
// refused is refused for what is forged in it.
func TestForgery(t *testing.T) {
	_, keys := testKey(1)
	f := forgery{manifest: with(listed("lib/x", "x", 0o644)), members: func(add func(*tar.Header, string)) { files(add, "lib/x") }}
	if _, err := Read(bytes.NewReader(f.make(t)), keys, Options{}); err != nil {
		t.Fatal(err)
	}
}

// TestHostile: each forged bundle is refused with its reason, the same whether
// it is read, inspected (but for who made it) or unpacked, and nothing is left.
func TestHostile(t *testing.T) {
	_, keys := testKey(1)
	stranger, _ := testKey(2)
	long := strings.Repeat("long-name-", 8) + "/"
	path := func(p string) forgery {
		return forgery{manifest: with(listed(p, "x", 0o644)), members: func(add func(*tar.Header, string)) { files(add) }}
	}
	member := func(h tar.Header) forgery { // in the place of a listed file
		return forgery{manifest: with(listed("lib", "x", 0o644)), members: func(add func(*tar.Header, string)) {
			files(add)
			content := ""
			if h.Typeflag == 0 {
				content = "x"
			}
			add(&h, content)
		}}
	}
	version := func(change func(*Manifest)) forgery {
		m := with()
		change(&m)
		return forgery{manifest: m}
	}
	cut := func(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:len(b)-n] } }
	patch := func(at int, text string) func([]byte) []byte {
		return func(b []byte) []byte { copy(b[at:], text); return b }
	}
	var none *Bundle
	for name, test := range map[string]struct {
		forgery
		want   error
		reason string
		max    int64
	}{
		"unknown key": {forgery: forgery{key: stranger}, want: ErrUnknownKey, reason: "trusted are " + keys.IDs()[0]},
		"signature of another manifest": {forgery: forgery{sig: func([]byte) []byte {
			key, _ := testKey(1)
			sig, _ := signatureOf([]byte("{}"), key)
			return sig
		}}, want: ErrSignature, reason: "not one of this manifest"},
		"known id, other key": {forgery: forgery{sig: func(m []byte) []byte {
			text, _ := encode(signature{Key: keys.IDs()[0], Ed25519: ed25519.Sign(stranger, signedText(m))})
			return text
		}}, want: ErrSignature},
		"signature of the manifest itself": {forgery: forgery{sig: func(m []byte) []byte { // without the domain
			key, _ := testKey(1)
			text, _ := encode(signature{Key: keys.IDs()[0], Ed25519: ed25519.Sign(key, m)})
			return text
		}}, want: ErrSignature},
		"short signature": {forgery: forgery{sig: func([]byte) []byte {
			text, _ := encode(signature{Key: keys.IDs()[0], Ed25519: []byte{1}})
			return text
		}}, want: ErrSignature},
		"empty signature":   {forgery: forgery{sig: func([]byte) []byte { return nil }}, want: ErrSignature, reason: "cannot be read"},
		"rubbish signature": {forgery: forgery{sig: func([]byte) []byte { return []byte("-----BEGIN") }}, want: ErrSignature},
		"more in the signature": {forgery: forgery{sig: func(m []byte) []byte {
			key, _ := testKey(1)
			sig, _ := signatureOf(m, key)
			return append(sig, "{}"...)
		}}, want: ErrSignature, reason: "more in it"},
		"huge signature":  {forgery: forgery{sig: func([]byte) []byte { return make([]byte, 1<<20) }}, want: ErrTooLarge},
		"no signature":    {forgery: forgery{bytes: func(b []byte) []byte { return append(b[:2*blockSize:2*blockSize], make([]byte, 1024)...) }}, want: ErrMissing, reason: "plugin.sig"},
		"nothing":         {forgery: forgery{bytes: func([]byte) []byte { return nil }}, want: ErrTruncated},
		"empty archive":   {forgery: forgery{bytes: func([]byte) []byte { return make([]byte, 1024) }}, want: ErrMissing, reason: "plugin.json"},
		"rubbish":         {forgery: forgery{bytes: func(b []byte) []byte { return bytes.Repeat([]byte("rubbish "), 1000) }}, want: ErrFormat},
		"compressed":      {forgery: forgery{bytes: gzipped}, want: ErrFormat, reason: "compressed"},
		"an HTML page":    {forgery: forgery{bytes: func([]byte) []byte { return []byte("<html>" + strings.Repeat(" ", 600)) }}, want: ErrFormat},
		"manifest second": {forgery: forgery{bytes: patch(0, "x\x00")}, want: ErrFormat}, // the checksum is wrong then
		"another first": {forgery: forgery{bytes: func(b []byte) []byte {
			header := member1("acme", 0o755, int64(len(script)))
			return append(header[:], b[blockSize:]...)
		}}, want: ErrMissing, reason: `plugin.json: "acme" stands in its place`},

		"huge manifest":        {forgery: forgery{manifest: strings.Repeat(" ", maxManifest+1)}, want: ErrTooLarge},
		"manifest no JSON":     {forgery: forgery{manifest: "name: acme"}, want: ErrManifest},
		"two objects":          {forgery: forgery{manifest: `{"name":"acme","version":"1.2.0","sdk":"1.0","executable":"acme"} {}`}, want: ErrManifest},
		"unknown field":        {forgery: forgery{manifest: `{"name":"acme","hooks":[]}`}, want: ErrManifest, reason: "hooks"},
		"wrong type":           {forgery: forgery{manifest: `{"name":["acme"]}`}, want: ErrManifest},
		"deep manifest":        {forgery: forgery{manifest: strings.Repeat("[", 200000)}, want: ErrManifest},
		"no files":             {forgery: forgery{manifest: acme()}, want: ErrManifest, reason: "0 files"},
		"too many files":       {forgery: version(func(m *Manifest) { m.Files = make([]File, maxFiles+1) }), want: ErrManifest},
		"name that escapes":    {forgery: version(func(m *Manifest) { m.Name = "../../bin/sh" }), want: ErrManifest, reason: "name"},
		"name an option":       {forgery: version(func(m *Manifest) { m.Name = "-rf" }), want: ErrManifest},
		"long name":            {forgery: version(func(m *Manifest) { m.Name = strings.Repeat("a", 65) }), want: ErrManifest},
		"version that escapes": {forgery: version(func(m *Manifest) { m.Version = "1.0.0/../.." }), want: ErrManifest, reason: "semantic version"},
		"short version":        {forgery: version(func(m *Manifest) { m.Version = "1.2" }), want: ErrManifest},
		"build metadata":       {forgery: version(func(m *Manifest) { m.Version = "1.2.0+fixed" }), want: ErrManifest},
		"no SDK":               {forgery: version(func(m *Manifest) { m.SDK = "" }), want: ErrManifest},
		"newer SDK":            {forgery: version(func(m *Manifest) { m.SDK = "2.0" }), want: ErrSDK},
		"another plugin":       {forgery: version(func(m *Manifest) { m.Name = "other" }), want: ErrOther},
		"older than offered":   {forgery: version(func(m *Manifest) { m.Version = "1.1.9" }), want: ErrOlder, reason: "1.2.0 was offered"},
		"prerelease":           {forgery: version(func(m *Manifest) { m.Version = "1.2.0-rc.1" }), want: ErrOlder},
		"newer than offered":   {forgery: version(func(m *Manifest) { m.Version = "1.3.0" }), want: ErrOther},
		"executable missing":   {forgery: version(func(m *Manifest) { m.Executable = "other" }), want: ErrManifest, reason: "not among the files"},
		"executable not so":    {forgery: version(func(m *Manifest) { m.Files[0].Mode = 0o644 }), want: ErrManifest},
		"executable escapes":   {forgery: version(func(m *Manifest) { m.Executable = "../../bin/sh" }), want: ErrPath},
		"negative limit":       {forgery: version(func(m *Manifest) { m.Limits.Memory = -1 }), want: ErrManifest},
		"setuid listed":        {forgery: version(func(m *Manifest) { m.Files[0].Mode = 0o4755 }), want: ErrManifest, reason: "04755"},
		"directory mode":       {forgery: version(func(m *Manifest) { m.Files[0].Mode = 1 << 31 }), want: ErrManifest},
		"negative size":        {forgery: version(func(m *Manifest) { m.Files[0].Size = -1 }), want: ErrManifest},
		"size that overflows":  {forgery: version(func(m *Manifest) { m.Files[0].Size = 1<<63 - 1 }), want: ErrTooLarge},
		"sum that overflows": {forgery: version(func(m *Manifest) {
			big := listed("b", "", 0o644)
			big.Size = 1<<63 - 1
			m.Files[0].Size, m.Files = 1<<20, append(m.Files, big)
		}), want: ErrTooLarge},
		"digest no digest": {forgery: version(func(m *Manifest) { m.Files[0].SHA256 = strings.Repeat("A", 64) }), want: ErrManifest},
		"order":            {forgery: version(func(m *Manifest) { m.Files = append(m.Files, listed("aa", "x", 0o644)) }), want: ErrManifest, reason: "order"},
		"too large":        {forgery: forgery{}, want: ErrTooLarge, max: 2048},

		"path absolute":        {forgery: path("/etc/shadow"), want: ErrPath, reason: "is absolute"},
		"path out":             {forgery: path("../x"), want: ErrPath, reason: "leads out"},
		"path out later":       {forgery: path("lib/../../x"), want: ErrPath, reason: "leads out"},
		"path out at the end":  {forgery: path("lib/.."), want: ErrPath, reason: "leads out"},
		"path backslash":       {forgery: path(`lib\..\..\x`), want: ErrPath, reason: "characters"},
		"path drive":           {forgery: path(`c:/x`), want: ErrPath, reason: "characters"},
		"path empty":           {forgery: path(""), want: ErrPath, reason: "is empty"},
		"path dot":             {forgery: path("."), want: ErrPath},
		"path dot within":      {forgery: path("lib/./x"), want: ErrPath},
		"path twice slash":     {forgery: path("lib//x"), want: ErrPath},
		"path slash at end":    {forgery: path("lib/"), want: ErrPath},
		"path hidden":          {forgery: path("lib/.bashrc"), want: ErrPath, reason: "hidden"},
		"path NUL":             {forgery: path("lib\x00/x"), want: ErrPath},
		"path newline":         {forgery: path("lib\n/x"), want: ErrPath},
		"path bidirectional":   {forgery: path("lib/\u202etxt.exe"), want: ErrPath},
		"path no UTF-8":        {forgery: path("lib/\xff"), want: ErrPath},
		"path fullwidth dots":  {forgery: path("lib/\uff0e\uff0e/x"), want: ErrPath},
		"path of the manifest": {forgery: path("Plugin.json"), want: ErrPath, reason: "the bundle's own"},
		"path of signature":    {forgery: path("plugin.sig"), want: ErrPath, reason: "the bundle's own"},
		"path too long":        {forgery: path(strings.Repeat("a/", 121)), want: ErrPath},
		"path not to split":    {forgery: path(long + long + strings.Repeat("x", 78)), want: ErrPath, reason: "too long"},
		"path twice":           {forgery: forgery{manifest: with(listed("b", "x", 0o644), listed("b", "x", 0o644))}, want: ErrPath, reason: "twice"},
		"path twice folded":    {forgery: forgery{manifest: with(listed("LIB", "x", 0o644), listed("lib", "x", 0o644))}, want: ErrPath, reason: `twice, as "LIB"`},
		"through a file":       {forgery: forgery{manifest: with(listed("acme/x", "x", 0o644))}, want: ErrPath, reason: "is a file"},
		"through a file far":   {forgery: forgery{manifest: with(listed("acme/x/y/z", "x", 0o644))}, want: ErrPath, reason: "is a file"},
		"through one folded":   {forgery: forgery{manifest: with(listed("B", "x", 0o644), listed("b/x", "x", 0o644))}, want: ErrPath, reason: "is a file"},

		"member absolute":  {forgery: member(tar.Header{Name: "/etc/x", Mode: 0o644}), want: ErrPath},
		"member out":       {forgery: member(tar.Header{Name: "../x", Mode: 0o644}), want: ErrPath},
		"symbolic link":    {forgery: member(tar.Header{Name: "lib", Linkname: "/etc", Typeflag: tar.TypeSymlink, Mode: 0o644}), want: ErrFormat, reason: "symbolic link"},
		"hard link":        {forgery: member(tar.Header{Name: "lib", Linkname: "acme", Typeflag: tar.TypeLink, Mode: 0o644}), want: ErrFormat, reason: "hard link"},
		"character device": {forgery: member(tar.Header{Name: "lib", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 1, Mode: 0o644}), want: ErrFormat, reason: "device"},
		"block device":     {forgery: member(tar.Header{Name: "lib", Typeflag: tar.TypeBlock, Devmajor: 8, Mode: 0o644}), want: ErrFormat, reason: "device"},
		"directory":        {forgery: member(tar.Header{Name: "lib/", Typeflag: tar.TypeDir, Mode: 0o755}), want: ErrFormat, reason: "directory"},
		"FIFO":             {forgery: member(tar.Header{Name: "lib", Typeflag: tar.TypeFifo, Mode: 0o644}), want: ErrFormat, reason: "FIFO"},
		"PAX path":         {forgery: member(tar.Header{Name: "lib", Mode: 0o644, PAXRecords: map[string]string{"comment": "x"}, Format: tar.FormatPAX}), want: ErrFormat, reason: "PAX"},
		"global PAX":       {forgery: member(tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"path": "/etc/x"}}), want: ErrFormat, reason: "PAX"},
		"GNU format":       {forgery: member(tar.Header{Name: "lib", Mode: 0o644, Format: tar.FormatGNU}), want: ErrFormat},
		"GNU long name":    {forgery: member(tar.Header{Name: strings.Repeat("n", 200), Mode: 0o644, Format: tar.FormatGNU}), want: ErrFormat},
		"GNU sparse":       {forgery: member(tar.Header{Name: "lib", Mode: 0o644}).typed('S'), want: ErrFormat, reason: "sparse"},
		"old type":         {forgery: member(tar.Header{Name: "lib", Mode: 0o644}).typed(0), want: ErrFormat},
		"contiguous":       {forgery: member(tar.Header{Name: "lib", Mode: 0o644}).typed('7'), want: ErrFormat},
		"owner":            {forgery: member(tar.Header{Name: "lib", Mode: 0o644, Uname: "root"}), want: ErrFormat, reason: "more in it"},
		"user id":          {forgery: member(tar.Header{Name: "lib", Mode: 0o644, Uid: 1}), want: ErrFormat},
		"time":             {forgery: member(tar.Header{Name: "lib", Mode: 0o644, ModTime: time.Unix(1, 0)}), want: ErrFormat},
		"setuid member":    {forgery: member(tar.Header{Name: "lib", Mode: 0o4755}), want: ErrFormat, reason: "04755"},
		"writable member":  {forgery: member(tar.Header{Name: "lib", Mode: 0o666}), want: ErrFormat},
		"mode of another":  {forgery: member(tar.Header{Name: "lib", Mode: 0o755}), want: ErrFormat, reason: "the manifest says 0644"},
		"folded member":    {forgery: member(tar.Header{Name: "LIB", Mode: 0o644}), want: ErrSurplus},

		"surplus before": {forgery: forgery{manifest: with(listed("z", "x", 0o644)), members: func(add func(*tar.Header, string)) { files(add, "b", "z") }}, want: ErrSurplus, reason: `"b"`},
		"surplus after":  {forgery: forgery{members: func(add func(*tar.Header, string)) { files(add, "z") }}, want: ErrSurplus, reason: `"z"`},
		"file twice":     {forgery: forgery{members: func(add func(*tar.Header, string)) { files(add); files(add) }}, want: ErrSurplus, reason: "there twice"},
		"manifest twice": {forgery: forgery{members: func(add func(*tar.Header, string)) {
			files(add)
			add(&tar.Header{Name: ManifestFile, Mode: 0o644}, "{}")
		}}, want: ErrSurplus},
		"missing":        {forgery: forgery{manifest: with(listed("b", "x", 0o644), listed("z", "x", 0o644)), members: func(add func(*tar.Header, string)) { files(add, "z") }}, want: ErrMissing, reason: `"b"`},
		"all missing":    {forgery: forgery{members: func(func(*tar.Header, string)) {}}, want: ErrMissing, reason: `"acme"`},
		"digest differs": {forgery: forgery{members: func(add func(*tar.Header, string)) { add(&tar.Header{Name: "acme", Mode: 0o755}, "#!/bin/ed\n") }}, want: ErrDigest, reason: "acme"},
		"longer":         {forgery: forgery{members: func(add func(*tar.Header, string)) { add(&tar.Header{Name: "acme", Mode: 0o755}, script+"x") }}, want: ErrSize, reason: "11 bytes, the manifest says 10"},
		"shorter":        {forgery: forgery{members: func(add func(*tar.Header, string)) { add(&tar.Header{Name: "acme", Mode: 0o755}, script[1:]) }}, want: ErrSize},

		"cut in the end":    {forgery: forgery{bytes: cut(1)}, want: ErrTruncated},
		"without the end":   {forgery: forgery{bytes: cut(1024)}, want: ErrTruncated},
		"cut in a file":     {forgery: forgery{bytes: cut(1024 + 508)}, want: ErrTruncated, reason: `within "acme"`},
		"cut in a header":   {forgery: forgery{bytes: cut(1024 + 512 + 100)}, want: ErrTruncated, reason: `the header of "acme"`},
		"something follows": {forgery: forgery{bytes: func(b []byte) []byte { return append(b, 0) }}, want: ErrSurplus, reason: "behind the end"},
		"in the end":        {forgery: forgery{bytes: func(b []byte) []byte { b[len(b)-1] = 1; return b }}, want: ErrSurplus},
		"in the padding":    {forgery: forgery{bytes: func(b []byte) []byte { b[len(b)-1025] = 1; return b }}, want: ErrSurplus, reason: "last block"},
		"another archive":   {forgery: forgery{bytes: func(b []byte) []byte { return append(b, b...) }}, want: ErrSurplus},
		"size in base 256":  {forgery: forgery{bytes: patch(sizeAt, "\x80\x00\x00\x00")}, want: ErrFormat},
		"size negative":     {forgery: forgery{bytes: patch(sizeAt, "-0000000001")}, want: ErrFormat},
		"size enormous":     {forgery: forgery{bytes: patch(sizeAt, "77777777777")}, want: ErrFormat},
	} {
		t.Run(name, func(t *testing.T) {
			bundle := test.make(t)
			o := Options{MaxSize: test.max, Accept: Wanted{Name: "acme", Version: "1.2.0", SDK: "1.0.0"}.Check}
			_, err := Read(bytes.NewReader(bundle), keys, o)
			if !errors.Is(err, test.want) || !strings.Contains(fmt.Sprint(err), test.reason) {
				t.Fatalf("%v; want %v with %q", err, test.want, test.reason)
			}
			if text := err.Error(); strings.ContainsAny(text, "\n\x00\u202e") || len(text) > 1000 {
				t.Errorf("the reason is no single line: %q", text)
			}
			parent := t.TempDir()
			got, unpacked := Unpack(bytes.NewReader(bundle), filepath.Join(parent, "p"), keys, o)
			if diff := cmp.Diff(err.Error(), unpacked.Error()); diff != "" || got != none {
				t.Errorf("unpacking says (-reading +unpacking):\n%s", diff)
			}
			if left, err := os.ReadDir(parent); err != nil || len(left) > 0 {
				t.Errorf("%v, %v is left", left, err)
			}
			_, err = Inspect(bytes.NewReader(bundle), o)
			if byWhom := errors.Is(test.want, ErrUnknownKey) || errors.Is(test.want, ErrSignature); err == nil && !byWhom {
				t.Error("inspection finds nothing")
			}
		})
	}
}

// typed is f with another type of its last member.
func (f forgery) typed(kind byte) forgery {
	f.bytes = func(b []byte) []byte {
		header := (*[blockSize]byte)(b[len(b)-4*blockSize:])
		header[typeAt] = kind
		copy(header[sumAt:], fmt.Sprintf("%06o\x00 ", checksum(header)))
		return b
	}
	return f
}

func member1(path string, mode uint32, size int64) [blockSize]byte {
	return member{path, mode, size}.header()
}

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b)
	w.Write(make([]byte, 8<<20))
	w.Close()
	return out.Bytes()
}

// TestMinimum: an older version than the ramdisk's minimum is refused although
// it is the one that was offered.
func TestMinimum(t *testing.T) {
	_, keys := testKey(1)
	for minimum, want := range map[string]error{"1.1.0": nil, "1.2.0": nil, "1.2.0-rc.1": nil, "1.2.1": ErrOlder, "1.10.0": ErrOlder, "2.0.0-rc.1": ErrOlder} {
		accept := Wanted{Name: "acme", Version: "1.2.0", Minimum: minimum, SDK: "1.4.0"}.Check
		if _, err := Read(bytes.NewReader(forgery{}.make(t)), keys, Options{Accept: accept}); !errors.Is(err, want) {
			t.Errorf("with the minimum %s: %v; want %v", minimum, err, want)
		}
	}
}

// TestNothingBeforeTheSignature: of an endless bundle by a stranger no more is
// read than manifest and signature, and nothing is written.
func TestNothingBeforeTheSignature(t *testing.T) {
	stranger, _ := testKey(2)
	_, keys := testKey(1)
	bundle := forgery{key: stranger}.make(t)
	endless := &counting{r: io.MultiReader(bytes.NewReader(bundle[:4*blockSize]), zeros{})}
	parent := t.TempDir()
	if _, err := Unpack(endless, filepath.Join(parent, "p"), keys, Options{}); !errors.Is(err, ErrUnknownKey) {
		t.Error(err)
	}
	if endless.n > 8*blockSize {
		t.Errorf("%d bytes were read", endless.n)
	}
}

type counting struct {
	r io.Reader
	n int
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestReaderFails: an error of the source is neither of the bundle's.
func TestReaderFails(t *testing.T) {
	key, keys := testKey(1)
	bundle := signed(t, key)
	broken := errors.New("connection reset")
	for at := 0; at <= len(bundle); at += 97 {
		dir := filepath.Join(t.TempDir(), "p")
		_, err := Unpack(io.MultiReader(bytes.NewReader(bundle[:at]), failing{broken}), dir, keys, Options{})
		if !errors.Is(err, broken) || errors.Is(err, ErrTruncated) {
			t.Fatalf("at %d: %v", at, err)
		}
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("at %d the directory is left: %v", at, err)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// FuzzRead: whatever comes, what is accepted is byte for byte what Sign makes
// of its files, and all else is an error.
func FuzzRead(f *testing.F) {
	key, keys := testKey(1)
	dir := f.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "acme"), []byte(script), 0o755); err != nil {
		f.Fatal(err)
	}
	var good bytes.Buffer
	if _, err := Sign(&good, dir, acme(), key); err != nil {
		f.Fatal(err)
	}
	f.Add(good.Bytes())
	f.Add(good.Bytes()[:700])
	f.Fuzz(func(t *testing.T, bundle []byte) {
		b, err := Read(bytes.NewReader(bundle), keys, Options{MaxSize: 1 << 20})
		if err == nil && !bytes.Equal(bundle, good.Bytes()) {
			t.Errorf("accepted %+v", b)
		}
		in, err := Inspect(bytes.NewReader(bundle), Options{MaxSize: 1 << 20})
		if err == nil && in.Size != int64(len(bundle)) {
			t.Errorf("inspected %d of %d bytes", in.Size, len(bundle))
		}
	})
}
