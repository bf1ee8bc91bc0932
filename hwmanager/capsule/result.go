package capsule

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"
)

// Result is what the firmware has left of the processing of a capsule (section
// 8.5.6): a variable CapsuleXXXX.
type Result struct {
	Name      string // of the variable
	Capsule   GUID   // its header's
	Type      GUID   // of a managed capsule's payload; zero for others
	Processed time.Time
	Status    Status
}

// Status is an EFI_STATUS (appendix D).
type Status uint64

func (s Status) String() string {
	const failure = 1 << 63
	if s == 0 {
		return "success"
	}
	if text, known := map[Status]string{
		1: "load error", 2: "invalid parameter", 3: "unsupported", 4: "bad buffer size", 5: "buffer too small", 6: "not ready",
		7: "device error", 8: "write protected", 9: "out of resources", 10: "volume corrupted", 11: "volume full", 14: "not found",
		15: "access denied", 18: "timeout", 20: "already started", 21: "aborted", 25: "incompatible version", 26: "security violation", 27: "CRC error",
	}[s&^failure]; known && s&failure != 0 {
		return text
	}
	return fmt.Sprintf("status %#x", uint64(s))
}

// Bounds of the variables.
const (
	resultHeader = 48 // EFI_CAPSULE_RESULT_VARIABLE_HEADER
	resultFMP    = 20 // EFI_CAPSULE_RESULT_VARIABLE_FMP, without its texts
	attributes   = 4  // what efivarfs puts in front
	maxResult    = 64 << 10
)

var errResult = errors.New("damaged result of a capsule")

// ParseResult reads the value of a variable CapsuleXXXX.
func ParseResult(b []byte) (Result, error) {
	le := binary.LittleEndian
	if len(b) < resultHeader || int64(le.Uint32(b)) > int64(len(b)) || le.Uint32(b) < resultHeader {
		return Result{}, errResult
	}
	b = b[:le.Uint32(b)]
	at := b[24:40] // EFI_TIME
	r := Result{
		Capsule:   GUID(b[8:24]),
		Status:    Status(le.Uint64(b[40:])),
		Processed: time.Date(int(le.Uint16(at)), time.Month(at[2]), int(at[3]), int(at[4]), int(at[5]), int(at[6]), 0, time.UTC),
	}
	if r.Capsule == fmpCapsule() {
		if len(b) < resultHeader+resultFMP {
			return Result{}, errResult
		}
		r.Type = GUID(b[resultHeader+4 : resultHeader+20])
	}
	return r, nil
}

// Results are what firmware has left, the oldest variable first. A firmware that
// leaves none, or a machine without variables, has none.
func Results(efivars string) []Result {
	names, _ := filepath.Glob(filepath.Join(efivars, "Capsule*-39b68c46-f7fb-441b-b6ec-16b0f69821f3"))
	numbered := regexp.MustCompile(`^Capsule[0-9A-F]{4}-`)
	var all []Result
	for _, path := range names {
		if !numbered.MatchString(filepath.Base(path)) {
			continue // CapsuleMax, CapsuleLast
		}
		b, err := os.ReadFile(path)
		if err != nil || len(b) < attributes || len(b) > maxResult {
			continue
		}
		r, err := ParseResult(b[attributes:])
		if err != nil {
			continue
		}
		r.Name = filepath.Base(path)[:len("CapsuleXXXX")]
		all = append(all, r)
	}
	slices.SortStableFunc(all, func(a, b Result) int { return a.Processed.Compare(b.Processed) })
	return all
}

// For reports whether the result is one of firmware of the class.
func (r Result) For(class GUID) bool {
	return r.Type == class || r.Type == GUID{} && r.Capsule == class
}
