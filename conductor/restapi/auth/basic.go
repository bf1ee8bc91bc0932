package auth

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"

	"ferric/api"
)

const (
	basicChallenge = `Basic realm="Baremetal API"`
	// maxUserFile bounds the file of users, in bytes.
	maxUserFile = 1 << 20
	// basicCacheTime is how long a password that was right is not hashed again.
	basicCacheTime = 10 * time.Minute
	// maxHashing bounds the passwords that are hashed at once: each takes a
	// processor for up to a quarter of a second.
	maxHashing = 2
)

// basic is HTTP's basic authentication against a file as htpasswd -B writes
// it. Everybody in it is an administrator (REST contract, section 1.3).
type basic struct {
	path    string
	right   *memory[bool]
	hashing chan struct{}

	mu    sync.Mutex
	stamp stamp // of what users was read from
	users map[string]string
	costs string // a hash as expensive as those of the file
}

// stamp changes with the file.
type stamp struct {
	modified time.Time
	size     int64
	file     os.FileInfo
}

func (s stamp) same(o stamp) bool {
	return s.file != nil && o.file != nil && os.SameFile(s.file, o.file) && s.size == o.size && s.modified.Equal(o.modified)
}

// newBasic reads the file once, to refuse to start with a bad one.
func newBasic(path string) (*basic, error) {
	b := &basic{path: path, right: newMemory[bool](), hashing: make(chan struct{}, maxHashing)}
	if _, _, err := b.hashOf(""); err != nil {
		return nil, fmt.Errorf("[DEFAULT]http_basic_auth_user_file: %w", err)
	}
	return b, nil
}

// Authenticate checks the Authorization header.
func (b *basic) Authenticate(r *http.Request) (*Identity, error) {
	user, password, err := parseBasic(r.Header.Get("Authorization"))
	if err != nil {
		return nil, err
	}
	hash, known, err := b.hashOf(user)
	if err != nil {
		return nil, api.Refusal(http.StatusInternalServerError, "", "Problem reading auth user file")
	}
	// The hash is part of the key: a password that was changed is not right
	// for as long as it was remembered.
	k := b.right.key(user, password, hash)
	if _, ok := b.right.get(k); ok && known {
		return &Identity{UserName: user, Admin: true}, nil
	}
	select {
	case b.hashing <- struct{}{}:
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	// Somebody who does not exist costs as much as a wrong password.
	err = bcrypt.CompareHashAndPassword([]byte(hash), []byte(password))
	<-b.hashing
	if err != nil || !known {
		return nil, api.Refusal(http.StatusUnauthorized, basicChallenge, "Incorrect username or password")
	}
	b.right.put(k, true, time.Now().Add(basicCacheTime))
	return &Identity{UserName: user, Admin: true}, nil
}

// hashOf gives the hash of a user's password, or for a user who is not in the
// file one that is as expensive. A file that has changed is read again.
func (b *basic) hashOf(user string) (hash string, known bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	info, err := os.Stat(b.path)
	if err != nil {
		return "", false, fmt.Errorf("read users: %w", err)
	}
	if now := (stamp{info.ModTime(), info.Size(), info}); !now.same(b.stamp) {
		users, err := readUsers(b.path)
		if err != nil {
			return "", false, err
		}
		costs, err := dummyHash(users)
		if err != nil {
			return "", false, err
		}
		b.stamp, b.users, b.costs = now, users, costs
		b.right.clear()
	}
	if hash, known = b.users[user]; known {
		return hash, true, nil
	}
	return b.costs, false, nil
}

func readUsers(path string) (map[string]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read users: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxUserFile+1))
	if err == nil && len(text) > maxUserFile {
		err = fmt.Errorf("more than %d bytes", maxUserFile)
	}
	if err != nil {
		return nil, fmt.Errorf("read users from %s: %w", path, err)
	}
	users, err := parseUsers(text)
	if err != nil {
		return nil, fmt.Errorf("read users from %s: %w", path, err)
	}
	return users, nil
}

// parseUsers reads lines of user:hash; the first of a user counts. Texts of
// errors never hold a line: it may be a password.
func parseUsers(text []byte) (map[string]string, error) {
	users := map[string]string{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, maxUserFile+1)
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" {
			continue
		}
		user, hash, ok := strings.Cut(line, ":")
		if !ok || user == "" {
			return nil, fmt.Errorf("line %d is not of the form user:hash", number)
		}
		if !isBcrypt(hash) {
			return nil, fmt.Errorf("line %d: only bcrypt digested passwords are supported", number)
		}
		if _, again := users[user]; !again {
			users[user] = hash
		}
	}
	return users, lines.Err()
}

// maxCost bounds the work of one check to a few seconds.
const maxCost = 16

// isBcrypt is true for what CompareHashAndPassword can check in time.
func isBcrypt(hash string) bool {
	if !strings.HasPrefix(hash, "$2y$") && !strings.HasPrefix(hash, "$2a$") && !strings.HasPrefix(hash, "$2b$") {
		return false
	}
	cost, err := bcrypt.Cost([]byte(hash))
	return err == nil && len(hash) == 60 && cost <= maxCost
}

// dummyHash is of nobody's password, as expensive as the dearest of the users.
func dummyHash(users map[string]string) (string, error) {
	dearest := bcrypt.MinCost
	for _, hash := range users {
		if cost, err := bcrypt.Cost([]byte(hash)); err == nil {
			dearest = max(dearest, cost)
		}
	}
	// Of the cheapest hash only the cost is changed: making one of the dearest
	// would take as long as checking it does, and nothing has to match.
	hash, err := bcrypt.GenerateFromPassword(nil, bcrypt.MinCost)
	if err != nil {
		return "", fmt.Errorf("read users: %w", err)
	}
	copy(hash[4:6], fmt.Sprintf("%02d", dearest))
	return string(hash), nil
}

// parseBasic reads an Authorization header: 401 when there is none, 400 when
// it makes no sense.
func parseBasic(header string) (user, password string, err error) {
	if header == "" {
		return "", "", api.Refusal(http.StatusUnauthorized, basicChallenge, "Authorization required")
	}
	kind, credentials, ok := strings.Cut(strings.TrimSpace(header), " ")
	if !ok || strings.Contains(strings.TrimSpace(credentials), " ") {
		return "", "", api.Refusal(http.StatusBadRequest, "", "Could not parse Authorization header")
	}
	if !strings.EqualFold(kind, "basic") {
		return "", "", api.Refusal(http.StatusBadRequest, "", "Unsupported authorization type")
	}
	plain, err := base64.StdEncoding.DecodeString(strings.TrimSpace(credentials))
	if err != nil {
		return "", "", api.Refusal(http.StatusBadRequest, "", "Could not decode authorization token")
	}
	user, password, ok = strings.Cut(string(plain), ":")
	if !ok {
		return "", "", api.Refusal(http.StatusBadRequest, "", "Could not decode authorization token")
	}
	return user, password, nil
}
