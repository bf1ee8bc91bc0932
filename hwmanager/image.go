package hwmanager

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"sync"

	"ferric/api/ipa"
)

// ImageRecord remembers the image that was last written in this boot:
// later commands (get_partition_uuids, install_bootloader) are about it.
type ImageRecord struct {
	mu   sync.Mutex
	last *ImageResult
}

// Set remembers r; nil forgets.
func (i *ImageRecord) Set(r *ImageResult) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.last = r
}

// Last is the image that was last written, nil before the first.
func (i *ImageRecord) Last() *ImageResult {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.last
}

// md5Digits is the length of an MD5 digest in hex digits: a checksum that is
// not longer cannot be anything better.
const md5Digits = 32

// ParseImageInfo reads and checks an image_info argument (agent contract,
// section "prepare_image"). Errors are of kind ipa.InvalidCommandParams.
func ParseImageInfo(value any, allowMD5 bool) (ipa.ImageInfo, error) {
	object, ok := value.(map[string]any)
	if !ok {
		return ipa.ImageInfo{}, ipa.InvalidCommandParams.New("image_info must be an object")
	}
	// The config drive is large: it does not take the way over JSON.
	drive, isText := object["configdrive"].(string)
	if isText {
		object = maps.Clone(object)
		delete(object, "configdrive")
	}
	encoded, err := json.Marshal(object)
	if err != nil {
		return ipa.ImageInfo{}, ipa.InvalidCommandParams.New("image_info: %v", err)
	}
	var info ipa.ImageInfo
	if err := json.Unmarshal(encoded, &info); err != nil {
		return ipa.ImageInfo{}, ipa.InvalidCommandParams.New("image_info: %s", typeProblem(err))
	}
	info.ConfigDrive = drive
	if err := checkImageInfo(info, object, allowMD5); err != nil {
		return ipa.ImageInfo{}, ipa.InvalidCommandParams.New("image_info: %v", err)
	}
	return info, nil
}

// typeProblem says which member has the wrong type, without the Go types.
func typeProblem(err error) string {
	if wrong, ok := err.(*json.UnmarshalTypeError); ok {
		return fmt.Sprintf("%s must not be a %s", wrong.Field, wrong.Value)
	}
	return err.Error()
}

func checkImageInfo(info ipa.ImageInfo, object map[string]any, allowMD5 bool) error {
	switch {
	case info.ID == "":
		return fmt.Errorf("id is missing")
	case len(info.URLs) == 0:
		return fmt.Errorf("urls is missing or empty")
	case (info.OSHashAlgo == "") != (info.OSHashValue == ""):
		return fmt.Errorf("os_hash_algo and os_hash_value must be given together")
	}
	for _, u := range info.URLs {
		if !isURL(u) {
			return fmt.Errorf("%q in urls is not an http or https URL", u)
		}
	}
	if info.ImageType == ipa.PartitionImage {
		if err := checkPartitions(info); err != nil {
			return err
		}
	}
	if sum, given := object["checksum"]; given && sum == "" {
		return fmt.Errorf("checksum is empty")
	}
	switch {
	case strings.EqualFold(info.OSHashAlgo, "md5") && !allowMD5:
		return fmt.Errorf("os_hash_algo is md5, which is not allowed")
	case info.OSHashValue != "", isURL(info.Checksum), len(info.Checksum) > md5Digits:
		return nil
	case info.Checksum == "":
		return fmt.Errorf("neither checksum nor os_hash_value is given")
	case !allowMD5:
		return fmt.Errorf("checksum is an MD5 digest, which is not allowed")
	}
	return nil
}

// checkPartitions wants what a partition image needs.
func checkPartitions(info ipa.ImageInfo) error {
	for _, size := range []struct {
		key   string
		value *ipa.MiB
		least ipa.MiB
	}{{"root_mb", info.RootMB, 1}, {"swap_mb", info.SwapMB, 0}, {"ephemeral_mb", info.EphemeralMB, 0}} {
		switch {
		case size.value == nil:
			return fmt.Errorf("%s is missing, a partition image needs it", size.key)
		case *size.value < size.least:
			return fmt.Errorf("%s must not be %d", size.key, *size.value)
		}
	}
	if info.PreserveEphemeral == nil {
		return fmt.Errorf("preserve_ephemeral is missing, a partition image needs it")
	}
	return nil
}

func isURL(s string) bool {
	return strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://")
}
