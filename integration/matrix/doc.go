// Package matrix deploys machines of each kind of disk, sector size and
// firmware with each kind of image, and boots them: the cells of a table, each
// through the whole system, with programs of others as judges of every disk.
package matrix
