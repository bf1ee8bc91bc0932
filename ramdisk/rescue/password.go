// Package rescue is the login to a machine that was handed over for a rescue: on its
// consoles (Login) and by SSH (ServeSSH), both with the password whose hash the agent
// left. Whoever logs in is root: all that the ramdisk holds is there to repair the
// machine with.
package rescue

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"sync"

	"github.com/go-crypt/crypt/algorithm"
	"github.com/go-crypt/crypt/algorithm/shacrypt"
)

// Files of a rescue (agent contract 3.8). The agent writes the password's hash first and
// then the marker.
const (
	PasswordFile = "/etc/ipa-rescue-config/ipa-rescue-password"
	Marker       = "/etc/.rescued"
)

// maxLine bounds what is typed at a prompt, and the password's hash, in bytes.
const maxLine = 1 << 10

// hashForm are the hashes that Ironic sends (its option rescue_password_hash_algorithm):
// crypt(3) with SHA-256 or SHA-512. The rounds are bounded: ten million take some ten
// seconds.
var hashForm = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^\$(5\$(rounds=[1-9][0-9]{3,6}\$)?[^$:\s]{0,16}\$[./0-9A-Za-z]{43}|6\$(rounds=[1-9][0-9]{3,6}\$)?[^$:\s]{0,16}\$[./0-9A-Za-z]{86})$`)
})

// ErrHash is wrapped by errors about a hash that no login is possible with.
var ErrHash = errors.New("the rescue password's hash is not one of crypt(3) with SHA-256 or SHA-512")

// Password checks passwords against a hash, one at a time.
type Password struct {
	mu     sync.Mutex
	digest algorithm.Digest
}

// ReadPassword reads the hash that the agent left.
func ReadPassword(path string) (*Password, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the rescue password: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxLine))
	if err != nil {
		return nil, fmt.Errorf("read the rescue password: %w", err)
	}
	return parsePassword(string(text))
}

func parsePassword(hash string) (*Password, error) {
	if !hashForm().MatchString(hash) {
		return nil, ErrHash
	}
	digest, err := shacrypt.Decode(hash)
	if err != nil {
		return nil, ErrHash // the cause may quote the hash
	}
	return &Password{digest: digest}, nil
}

// Match reports whether the user may log in with the password.
func (p *Password) Match(user, password string) bool {
	if user != "rescue" && user != "root" || password == "" || len(password) > maxLine {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.digest.Match(password)
}
