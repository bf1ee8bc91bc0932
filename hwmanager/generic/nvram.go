package generic

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/images/efi"
)

// Patterns of the boot entries that clean_uefi_nvram deletes by default (agent
// contract, section "GenericHardwareManager"): of disks, and of the loaders of
// most distributions wherever they are.
var nvramPatterns = [...]string{`^HD\(`, `shim.*\.efi`, `grub.*\.efi`}

func cleanNVRAMStep() ipa.Step {
	return ipa.Step{
		Step: "clean_uefi_nvram", Interface: "deploy",
		ArgsInfo: map[string]ipa.Arg{
			"match_patterns": {Description: "List of regular expressions (RE2): boot entries whose device path matches one of them, in whatever case, are deleted. By default those of hard disks, shim and GRUB."},
		},
	}
}

// cleanNVRAM deletes boot entries by their device paths. A machine that was not
// booted by UEFI has none.
func (m *Manager) cleanNVRAM(ctx context.Context, h *hwmanager.Host, call hwmanager.StepCall) (any, error) {
	if err := onlyArgs(call.Args, "match_patterns"); err != nil {
		return nil, err
	}
	patterns, err := matchPatterns(call.Args["match_patterns"])
	if err != nil {
		return nil, ipa.InvalidCommandParams.New("match_patterns: %v", err)
	}
	if !bootedUEFI(h) {
		h.Log.Info("no boot entries to delete: the machine was not booted by UEFI")
		return nil, nil
	}
	deleted, unread, err := efi.Clean(ctx, filepath.Join(h.Sys, "firmware/efi/efivars"), func(path string) bool {
		for _, p := range patterns {
			if p.MatchString(path) {
				return true
			}
		}
		return false
	})
	for _, problem := range unread {
		h.Log.WithError(problem).Warn("boot entry left alone")
	}
	var names []string
	for _, e := range deleted {
		h.Log.WithField("path", e.Loader).Infof("boot entry Boot%04X (%s) deleted", e.Number, e.Label)
		names = append(names, fmt.Sprintf("Boot%04X (%s)", e.Number, e.Label))
	}
	if err != nil {
		return nil, ipa.CommandExecution.New("delete boot entries: %v", err)
	}
	if len(names) == 0 {
		return nil, nil
	}
	return map[string]string{"result": "boot entries deleted: " + strings.Join(names, ", ")}, nil
}

// matchPatterns compiles patterns that search in whatever case. Nil means the
// default.
func matchPatterns(value any) ([]*regexp.Regexp, error) {
	var texts []string
	switch list := value.(type) {
	case nil:
		texts = nvramPatterns[:]
	case []any:
		for _, item := range list {
			text, ok := item.(string)
			if !ok {
				return nil, fmt.Errorf("%v is not a string", item)
			}
			texts = append(texts, text)
		}
	default:
		return nil, errors.New("must be a list of strings")
	}
	patterns := make([]*regexp.Regexp, len(texts))
	for i, text := range texts {
		var err error
		if patterns[i], err = regexp.Compile("(?i)" + text); err != nil {
			return nil, fmt.Errorf("%q is not a regular expression (of RE2, without look-around and back references): %w", text, err)
		}
	}
	return patterns, nil
}
