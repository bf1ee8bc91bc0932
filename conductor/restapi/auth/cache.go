package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"time"
)

// maxRemembered bounds a memory.
const maxRemembered = 4096

// key stands for a secret in a memory. It is of no use elsewhere, for it
// depends on a key of the process.
type key [sha256.Size]byte

// memory remembers what was found out about secrets, for a while.
type memory[T any] struct {
	secret []byte

	mu      sync.Mutex
	entries map[key]remembered[T]
}

type remembered[T any] struct {
	value T
	until time.Time
}

func newMemory[T any]() *memory[T] {
	secret := make([]byte, sha256.Size)
	_, _ = rand.Read(secret) // never fails, by its documentation
	return &memory[T]{secret: secret, entries: map[key]remembered[T]{}}
}

// key of a secret that consists of the parts.
func (m *memory[T]) key(parts ...string) key {
	h := hmac.New(sha256.New, m.secret)
	for _, p := range parts {
		sum := sha256.Sum256([]byte(p)) // of one length, so that parts cannot run into each other
		h.Write(sum[:])
	}
	return key(h.Sum(nil))
}

func (m *memory[T]) get(k key) (value T, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.entries[k]
	if !ok || time.Now().After(e.until) {
		return value, false
	}
	return e.value, true
}

// put remembers value. When there is no room, what has expired goes, and if
// nothing has, any entry.
func (m *memory[T]) put(k key, value T, until time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.entries) >= maxRemembered {
		now := time.Now()
		for old, e := range m.entries {
			if now.After(e.until) {
				delete(m.entries, old)
			}
		}
		for old := range m.entries {
			if len(m.entries) < maxRemembered {
				break
			}
			delete(m.entries, old)
		}
	}
	m.entries[k] = remembered[T]{value, until}
}

func (m *memory[T]) clear() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.entries)
}
