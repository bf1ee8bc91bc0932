// Package images brings an operating-system image from a URL onto a disk, in
// bounded memory whatever the size of the image: at most 64 MiB, the windows
// of the decoders included.
//
// The stages are small and Write composes them: source (HTTP with resume) →
// digest → decompress → format → sparse writer → block device. What follows
// the image on the disk has packages of its own: partition (GPT and MBR),
// configdrive, efi, volume; Deploy is all of it in the order of the agent
// contract for a whole-disk image, DeployPartitions for a root file system.
//
// Nothing here logs; every function that destroys data takes the path of its
// device explicitly.
package images

import (
	"errors"
	"net/http"
	"time"

	"ferric/api/ipa"
	"ferric/images/source"
	"ferric/images/sparse"
)

// Request says which image is wanted and what is known of it beforehand.
type Request struct {
	// URLs are tried in order (http and https) until one has served the whole
	// image with the right digest.
	URLs []string
	// Header is sent with every request, also with those for checksum files;
	// it may hold a secret (Authorization), which never appears in an error.
	Header http.Header
	// Client makes the requests; nil is http.DefaultClient. It must have no
	// overall timeout: a transfer may take hours, idle time is watched here.
	Client *http.Client
	// DiskFormat as the operator declared it: raw, gpt, iso, qcow2; "" and
	// "unknown" let the content decide.
	DiskFormat string
	// Digest of the bytes as they are served.
	Digest Digest
	// AllowMD5 accepts md5 digests.
	AllowMD5 bool
	// TrustFormat takes DiskFormat for what the image is, whatever it looks
	// like and whether it is permitted or not.
	TrustFormat bool
	// Permitted formats; empty is raw, gpt, qcow2.
	Permitted []string
	// RebuildConfigDrive makes an ISO 9660 config drive anew as FAT.
	RebuildConfigDrive bool
	// Retry says how often and how patiently the source tries again; the zero
	// value is the contract's (9 retries, 10 s apart, 60 s without a byte).
	Retry source.Retry
	// MaxDuration bounds the whole transfer; 0 is no bound.
	MaxDuration time.Duration

	direct *http.Client // without the proxies for the image
}

// Digest is the expected digest as image_info carries it: Algorithm and Value
// (os_hash_algo, os_hash_value) win over Checksum. Value and Checksum are hex
// digits or the URL of a checksum file.
type Digest struct {
	Checksum  string
	Algorithm string
	Value     string
}

// Result is what is known after an image was written and verified.
type Result struct {
	URL         string // the one that served the image, without query and credentials
	Format      string // "raw" or "qcow2"
	Compression string // "", "gzip", "zstd" or "xz"
	Algorithm   string // of the digest
	Digest      string // hex, of the bytes as served
	Served      int64  // bytes served
	Size        int64  // bytes that the image covers on the disk
	Written     int64  // of these, bytes written as data; the rest are zeros
}

// The ways in which writing an image fails. Kind tells which error of the
// agent protocol stands for one.
var (
	// ErrRequest: the request itself is wrong (no URL, no usable checksum).
	ErrRequest = errors.New("invalid image request")
	// ErrDownload: no URL could be read.
	ErrDownload = source.ErrDownload
	// ErrTimeout: it took longer than Request.MaxDuration.
	ErrTimeout = errors.New("took too long")
	// ErrTruncated: the image ended before its end.
	ErrTruncated = source.ErrTruncated
	// ErrChanged: the file at the URL changed while it was read.
	ErrChanged = source.ErrChanged
	// ErrChecksum: the digest of the bytes served is not the expected one.
	ErrChecksum = errors.New("wrong digest")
	// ErrCorrupt: the content contradicts itself (compressed data, tables).
	ErrCorrupt = errors.New("corrupted image")
	// ErrInvalid: the image is refused: other format than declared, not
	// permitted, backing file, larger window than the bound, ...
	ErrInvalid = errors.New("invalid image")
	// ErrTooLarge: the image does not fit on the disk.
	ErrTooLarge = sparse.ErrFull
	// ErrWrite: the disk could not be written.
	ErrWrite = sparse.ErrWrite
)

// Kind is the error of the agent protocol for an error of this package.
func Kind(err error) ipa.Kind {
	for _, k := range []struct {
		err  error
		kind ipa.Kind
	}{
		{ErrRequest, ipa.InvalidCommandParams},
		{ErrTimeout, ipa.ImageDownloadTimeout},
		{ErrChecksum, ipa.ImageChecksum},
		{ErrTooLarge, ipa.InvalidImage},
		{ErrInvalid, ipa.InvalidImage},
		{ErrCorrupt, ipa.InvalidImage},
		{ErrTruncated, ipa.ImageDownload},
		{ErrChanged, ipa.ImageDownload},
		{ErrDownload, ipa.ImageDownload},
		{ErrWrite, ipa.ImageWrite},
	} {
		if errors.Is(err, k.err) {
			return k.kind
		}
	}
	return ipa.Deployment
}
