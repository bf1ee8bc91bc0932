package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-crypt/crypt/algorithm/shacrypt"

	"ferric/api/ipa"
)

// What an agent and the ramdisk around it agree on about a rescue, below /etc
// (agent contract, section "rescue.finalize_rescue"): the ramdisk makes the
// directory, and offers a login with the password once it sees the marker.
const (
	rescuePasswordFile = "ipa-rescue-config/ipa-rescue-password"
	rescueMarker       = ".rescued"
)

// maxRescuePassword bounds the password and its hash, in bytes: the time that
// hashing takes grows with the length.
const maxRescuePassword = 1 << 10

// finalizeRescue leaves the password of the rescue to the ramdisk
// (rescue.finalize_rescue). Neither password nor hash are in any error.
func (a *Agent) finalizeRescue(_ context.Context, p params, _ progress) (any, error) {
	password, err := text(p, "rescue_password")
	if err != nil {
		return nil, err
	}
	hashed, ok := p["hashed"].(bool)
	if !ok && p["hashed"] != nil {
		return nil, ipa.InvalidCommandParams.New("hashed must be a boolean")
	}
	if len(password) > maxRescuePassword {
		return nil, ipa.InvalidCommandParams.New("rescue_password has more than %d bytes", maxRescuePassword)
	}
	hash := password
	if !hashed {
		if hash, err = hashPassword(password); err != nil {
			return nil, err
		}
	}
	// It becomes a field of a line in files such as /etc/shadow.
	if strings.ContainsAny(hash, ":\r\n\x00") {
		return nil, ipa.InvalidCommandParams.New("rescue_password is not a password hash")
	}
	if err := writeSecret(filepath.Join(a.cfg.Etc, rescuePasswordFile), hash); err != nil {
		return nil, fmt.Errorf("write the password of the rescue: %w", err)
	}
	if err := writeSecret(filepath.Join(a.cfg.Etc, rescueMarker), ""); err != nil {
		return nil, fmt.Errorf("mark the machine as rescued: %w", err)
	}
	a.log.Info("rescue is prepared: the agent ends")
	return nil, nil
}

// hashPassword is crypt(3) with SHA-256, which every distribution knows, a
// random salt and the number of rounds that is usual when none is given.
func hashPassword(password string) (string, error) {
	hasher, err := shacrypt.New(shacrypt.WithVariant(shacrypt.VariantSHA256), shacrypt.WithIterations(shacrypt.IterationsDefaultOmitted))
	if err != nil {
		return "", fmt.Errorf("hash the password of the rescue: %w", err)
	}
	digest, err := hasher.Hash(password)
	if err != nil {
		return "", fmt.Errorf("hash the password of the rescue: %w", err)
	}
	return digest.Encode(), nil
}

// writeSecret writes a file that only its owner may read, whatever was there.
func writeSecret(path, content string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	return errors.Join(f.Chmod(0o600), err, f.Close())
}

// handOver ends the serving of requests, and with it the agent, once the
// machine is prepared for a rescue. Its network is left as it is.
func (a *Agent) handOver() {
	select {
	case a.rescue <- struct{}{}:
	default: // already under way
	}
}

// rescued reports whether the machine was handed over for a rescue in this
// boot. An agent that is started then has nothing to do.
func (a *Agent) rescued() bool {
	_, err := os.Stat(filepath.Join(a.cfg.Etc, rescueMarker))
	return err == nil
}
