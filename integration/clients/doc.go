// Package clients runs clients and test suites of the bare-metal API that
// others wrote against a running conductor: the baremetal command line client,
// gophercloud, openstacksdk. Its tests are the whole of it; what each
// of them covers, and at which versions, is told in docs/clients.md.
package clients
