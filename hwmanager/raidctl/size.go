package raidctl

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

var errSize = errors.New("is no size")

// maxSize keeps sums of sizes within 63 bits.
const maxSize = 1 << 56

// parseSize reads "558.406 GB", "1.745 TB", "893.137 GiB", "960 GB (…)". KB, MB, GB and
// TB are multiples of thousand or 1024, as the tool means them. A decimal comma
// is one; several are marks of thousands.
func parseSize(text string, thousand int64) (int64, error) {
	fields := strings.Fields(text)
	if len(fields) == 1 { // "100GB"
		at := strings.IndexFunc(fields[0], func(r rune) bool { return r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' })
		if at > 0 {
			fields = []string{fields[0][:at], fields[0][at:]}
		}
	}
	if len(fields) < 2 {
		return 0, fmt.Errorf("%.40q %w", text, errSize)
	}
	number, err := parseNumber(fields[0])
	if err != nil {
		return 0, fmt.Errorf("%.40q %w", text, errSize)
	}
	unit := strings.ToUpper(strings.TrimRight(fields[1], ",;"))
	base := float64(thousand)
	if strings.HasSuffix(unit, "IB") {
		base, unit = 1024, strings.TrimSuffix(unit, "IB")+"B"
	}
	power, known := map[string]int{"B": 0, "KB": 1, "MB": 2, "GB": 3, "TB": 4, "PB": 5}[unit]
	size := number * math.Pow(base, float64(power))
	if !known || !(size >= 0 && size <= maxSize) {
		return 0, fmt.Errorf("%.40q %w", text, errSize)
	}
	return int64(size), nil
}

// parseNumber reads a decimal number in the notation of whatever locale a tool
// believes to be in.
func parseNumber(text string) (float64, error) {
	point, comma := strings.LastIndex(text, "."), strings.LastIndex(text, ",")
	switch {
	case point >= 0 && comma >= 0 && comma > point: // 1.234,5
		text = strings.ReplaceAll(strings.ReplaceAll(text, ".", ""), ",", ".")
	case comma >= 0 && (point >= 0 || strings.Count(text, ",") > 1): // 1,234.5 or 1,234,567
		text = strings.ReplaceAll(text, ",", "")
	case comma >= 0:
		text = strings.Replace(text, ",", ".", 1)
	}
	if strings.ContainsAny(text, "xXpPnNiI_") {
		return 0, errSize
	}
	return strconv.ParseFloat(text, 64)
}

// sectors reads "5.456 TB [0x2ba7de800 Sectors]", the exact form of a size.
func sectors(text string, size int64) (int64, bool) {
	_, rest, ok := strings.Cut(text, "[0x")
	if !ok {
		return 0, false
	}
	digits, _, ok := strings.Cut(rest, " ")
	n, err := strconv.ParseInt(digits, 16, 64)
	if !ok || err != nil || n <= 0 || size <= 0 || n > maxSize/size {
		return 0, false
	}
	return n * size, true
}
