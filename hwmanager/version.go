package hwmanager

// SDKVersion is the semantic version of this package and of the protocol of
// executable plugins.
const SDKVersion = "1.1.0"
