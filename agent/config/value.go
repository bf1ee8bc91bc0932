package config

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// maxSeconds bounds durations to what a time.Duration holds.
	maxSeconds = float64(1 << 32)
	maxCount   = 1 << 20
	maxMiB     = 1 << 20
	maxPort    = 65535
)

// set parses value into the field of c; the field keeps its value if the text
// is bad.
func (s setting) set(c *Config, value string) error {
	if s.check != nil {
		if err := s.check(value); err != nil {
			return err
		}
	}
	switch field := s.field(c).(type) {
	case *string:
		*field = value
	case *bool:
		truth, err := parseBool(value)
		if err != nil {
			return err
		}
		*field = truth
	case **bool: // "" is unset
		if value == "" {
			*field = nil
			return nil
		}
		truth, err := parseBool(value)
		if err != nil {
			return err
		}
		*field = &truth
	case *int:
		n, err := strconv.Atoi(value)
		if err != nil {
			return fmt.Errorf("%q is not an integer", value)
		}
		*field = n
	case *time.Duration:
		seconds, err := strconv.ParseFloat(value, 64)
		if err != nil || !(seconds >= 0 && seconds < maxSeconds) {
			return fmt.Errorf("%q is not a number of seconds", value)
		}
		*field = time.Duration(seconds * float64(time.Second))
	case *[]string:
		*field = splitList(value)
	default:
		return fmt.Errorf("settings of type %T are not supported", field)
	}
	return nil
}

func (s setting) isBool() bool {
	switch s.field(&Config{}).(type) {
	case *bool, **bool:
		return true
	}
	return false
}

func splitList(value string) []string {
	var items []string
	for item := range strings.SplitSeq(value, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}

// Override sets one option, by section and name, to a value of a JSON document
// or to text, as mDNS answers and the answer to the lookup do. The option keeps
// its value if the new one is bad.
func (c *Config) Override(section, option string, value any) error {
	s, ok := find(section, option)
	if !ok {
		return fmt.Errorf("there is no option %q in [%s]", option, section)
	}
	if err := s.setAny(c, value); err != nil {
		return fmt.Errorf("option %s: %w", option, err)
	}
	return nil
}

func (s setting) setAny(c *Config, value any) error {
	switch value := value.(type) {
	case string:
		return s.set(c, value)
	case bool:
		return s.set(c, strconv.FormatBool(value))
	case float64:
		if value == math.Trunc(value) && math.Abs(value) < 1<<53 {
			return s.set(c, strconv.FormatInt(int64(value), 10))
		}
		return s.set(c, strconv.FormatFloat(value, 'g', -1, 64))
	case []any:
		field, ok := s.field(c).(*[]string)
		if !ok {
			return errors.New("a list where one value is wanted")
		}
		items := make([]string, 0, len(value))
		for _, item := range value {
			text, ok := item.(string)
			if !ok {
				return fmt.Errorf("%v in a list of texts", item)
			}
			items = append(items, text) // items may hold commas
		}
		*field = items
		return nil
	}
	return fmt.Errorf("a value of type %T", value)
}

func parseBool(value string) (bool, error) {
	switch strings.ToLower(value) {
	case "1", "true", "on", "yes":
		return true, nil
	case "0", "false", "off", "no":
		return false, nil
	}
	return false, fmt.Errorf("%q is not a boolean", value)
}

// MDNS stands for URLs that are to be found by multicast DNS.
const MDNS = "mdns"

// urlsOrMDNS checks a list of URLs.
func urlsOrMDNS(value string) error {
	if value == MDNS {
		return nil
	}
	for _, u := range splitList(value) {
		parsed, err := url.Parse(u)
		if err != nil || (parsed.Scheme != "http" && parsed.Scheme != "https") || parsed.Host == "" {
			return fmt.Errorf("%q is not an http or https URL", u)
		}
	}
	return nil
}

// headerText checks what goes into a header of HTTP.
func headerText(value string) error {
	if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }) {
		return fmt.Errorf("%q holds characters that a header cannot", value)
	}
	return nil
}

// ntpNames is what an NTP server that is not an IP address may consist of
// (agent contract, section "Start-up order").
var ntpNames = regexp.MustCompile(`^[A-Za-z0-9.:_-]{1,253}$`)

func ntpServer(value string) error {
	if _, err := netip.ParseAddr(value); value == "" || err == nil || ntpNames.MatchString(value) {
		return nil
	}
	return fmt.Errorf("%q is neither an IP address nor a host name", value)
}

// apiVersions are microversions of the API; the major version is always 1.
var apiVersions = regexp.MustCompile(`^1\.[0-9]{1,4}$`)

func apiVersion(value string) error {
	if value == "" || apiVersions.MatchString(value) {
		return nil
	}
	return fmt.Errorf("%q is not an API version like 1.68", value)
}

func port(value string) error { return between(0, maxPort)(value) }

// aboveZero checks a time limit: 0 would be none.
func aboveZero(value string) error {
	if n, err := strconv.ParseFloat(value, 64); err == nil && n <= 0 {
		return fmt.Errorf("%q is not above 0", value)
	}
	return nil
}

func between(least, most int) func(string) error {
	return func(value string) error {
		n, err := strconv.Atoi(value)
		if err != nil {
			return fmt.Errorf("%q is not an integer", value)
		}
		if n < least || n > most {
			return fmt.Errorf("%d is not from %d to %d", n, least, most)
		}
		return nil
	}
}

func oneOf(values ...string) func(string) error {
	return func(value string) error {
		if slices.Contains(values, value) {
			return nil
		}
		return fmt.Errorf("%q is none of %s", value, strings.Join(values, ", "))
	}
}
