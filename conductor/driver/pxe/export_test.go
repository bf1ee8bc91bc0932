package pxe

import "ferric/conductor/store"

// Files are kernel and ramdisk of a node.
func (b *Boot) Files(n *store.Node) (kernel, ramdisk string, err error) {
	t, err := b.files(n)
	return t.Kernel, t.Ramdisk, err
}
