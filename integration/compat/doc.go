// Package compat holds tests with what others made on the far side: of the
// public API the distribution's baremetal command against the real conductor,
// on fake hardware and on a machine of the virtual rack; of the agent real
// Ironics, which drive machines whose ramdisk runs it (`make test-ironic`).
package compat
