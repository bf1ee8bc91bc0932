// Package disk is raw access to one block device, or to a regular file that
// stands for one: its size, direct writes, zeros, the metadata at its ends, and
// the kernel's view of its partitions.
package disk
