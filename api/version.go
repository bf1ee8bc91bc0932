// Package api holds what both wire protocols of ferric share: microversion
// negotiation, the error shapes, and JSON patches. The protocols' types are in
// the packages below it.
package api

import (
	"net/http"
	"strconv"
	"strings"

	"ferric/api/ironic"
)

// The microversions that ferric's conductor announces. MaxVersion is the only
// place where the maximum stands; a feature beyond it does not exist.
const (
	MinVersion = ironic.VersionMin
	MaxVersion = ironic.VersionLatest
)

// headerStandard is the version header shared by all OpenStack services; it
// names the service type before the version.
const (
	headerStandard = "OpenStack-API-Version"
	serviceType    = "baremetal"
)

// NegotiateVersion resolves the version that a request asks for (REST contract,
// section 1.1): without a header it is MinVersion, "latest" is MaxVersion. The
// error is an *Error with status 406.
func NegotiateVersion(h http.Header) (ironic.Version, error) {
	text, ok := requestedVersion(h)
	if !ok {
		return MinVersion, nil
	}
	if strings.EqualFold(text, "latest") {
		return MaxVersion, nil
	}
	majorText, minorText, ok := strings.Cut(text, ".")
	major, err1 := strconv.ParseUint(majorText, 10, 31)
	minor, err2 := strconv.ParseUint(minorText, 10, 31)
	if !ok || err1 != nil || err2 != nil {
		return 0, Routing(http.StatusNotAcceptable, "Invalid value for %s header", ironic.HeaderVersion)
	}
	if v := ironic.Version(minor); major == 1 && v >= MinVersion && v <= MaxVersion {
		return v, nil
	}
	return 0, Routing(http.StatusNotAcceptable, "Version %d.%d was requested, which is not supported by this service. "+
		"The supported version range is: [%s, %s].", major, minor, MinVersion, MaxVersion)
}

// requestedVersion finds the version text; the standard header goes first.
func requestedVersion(h http.Header) (string, bool) {
	for _, line := range h.Values(headerStandard) {
		for service := range strings.SplitSeq(line, ",") {
			if words := strings.Fields(service); len(words) == 2 && words[0] == serviceType {
				return words[1], true
			}
		}
	}
	if text := strings.TrimSpace(h.Get(ironic.HeaderVersion)); text != "" {
		return text, true
	}
	return "", false
}
