package auth

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"ferric/api"
)

// apacheLine was written by htpasswd -nbB alice secret, of Apache 2.4.
const apacheLine = "alice:$2y$05$hZurfqhMEeJQxKIiOYzFYeNFBhLflliIe9ea7CvtZJvdz3hBP9L3y"

func hashed(t testing.TB, password, prefix string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return prefix + strings.TrimPrefix(string(hash), "$2a$")
}

func basicRequest(user, password string) *http.Request {
	r := httptest.NewRequest("GET", "/v1/nodes", nil)
	r.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
	return r
}

// status is that of the refusal, 0 for none.
func status(t testing.TB, err error) int {
	t.Helper()
	if err == nil {
		return 0
	}
	var refusal *api.Error
	if !errors.As(err, &refusal) {
		t.Fatalf("%v is no answer", err)
	}
	return refusal.Status
}

func TestBasic(t *testing.T) {
	path := filepath.Join(t.TempDir(), "htpasswd")
	write := func(lines ...string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("alice:"+hashed(t, "one", "$2y$"), "", "alice:"+hashed(t, "second line", "$2a$"), "bob:"+hashed(t, "two", "$2b$"), "carol:"+hashed(t, "a:b", "$2a$"), strings.Replace(apacheLine, "alice", "dave", 1))
	b, err := newBasic(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, user, password string
		status               int
	}{
		{"$2y$", "alice", "one", 0},
		{"again, from memory", "alice", "one", 0},
		{"the first line counts", "alice", "second line", 401},
		{"$2b$", "bob", "two", 0},
		{"a colon in the password", "carol", "a:b", 0},
		{"wrong", "bob", "one", 401},
		{"empty", "bob", "", 401},
		{"unknown", "mallory", "one", 401},
		{"the start of a name", "ali", "one", 401},
		{"nobody", "", "", 401},
		{"Apache's", "dave", "secret", 0},
	} {
		id, err := b.Authenticate(basicRequest(c.user, c.password))
		if got := status(t, err); got != c.status {
			t.Errorf("%s: status %d, want %d (%v)", c.name, got, c.status, err)
		}
		if err == nil && (!id.Admin || id.User() != c.user) {
			t.Errorf("%s: identity %+v", c.name, id)
		}
	}

	t.Run("changed file", func(t *testing.T) {
		write("alice:"+hashed(t, "changed", "$2y$"), "")
		later := time.Now().Add(time.Second)
		if err := os.Chtimes(path, later, later); err != nil {
			t.Fatal(err)
		}
		for password, want := range map[string]int{"one": 401, "changed": 0} {
			if _, err := b.Authenticate(basicRequest("alice", password)); status(t, err) != want {
				t.Errorf("password %q: %v, want status %d", password, err, want)
			}
		}
		if _, err := b.Authenticate(basicRequest("bob", "two")); status(t, err) != 401 {
			t.Errorf("bob is not in the file any more: %v", err)
		}
	})
	t.Run("file gone", func(t *testing.T) {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Authenticate(basicRequest("alice", "changed")); status(t, err) != 500 {
			t.Errorf("%v, want 500", err)
		}
	})
}

func TestBasicHeader(t *testing.T) {
	encode := base64.StdEncoding.EncodeToString
	for _, c := range []struct {
		header, challenge string
		status            int
	}{
		{"", basicChallenge, 401},
		{"Basic", "", 400},
		{"Bearer abc", "", 400},
		{"Basic %%%", "", 400},
		{"Basic " + encode([]byte("no colon")), "", 400},
		{"Basic " + encode([]byte("a:b")) + " more", "", 400},
		{"basic " + encode([]byte("a:b")), "", 0},
	} {
		_, _, err := parseBasic(c.header)
		if got := status(t, err); got != c.status {
			t.Errorf("%q: status %d, want %d", c.header, got, c.status)
			continue
		}
		if err == nil {
			continue
		}
		refusal := err.(*api.Error)
		if refusal.Challenge != c.challenge {
			t.Errorf("%q: challenge %q, want %q", c.header, refusal.Challenge, c.challenge)
		}
		if !strings.HasPrefix(string(refusal.Body()), `{"error":{"code":`) {
			t.Errorf("%q: body %s", c.header, refusal.Body())
		}
	}
}

// TestUsersFile: only bcrypt is taken, and errors do not tell what a line holds.
func TestUsersFile(t *testing.T) {
	good := hashed(t, "x", "$2y$")
	for _, c := range []struct {
		name, text, fault string
	}{
		{"empty", "", ""},
		{"one", "a:" + good, ""},
		{"Apache's", apacheLine + "\n", ""},
		{"CRLF", "a:" + good + "\r\n\r\n", ""},
		{"plain text", "a:hunter2", "line 1: only bcrypt"},
		{"MD5", "\na:$apr1$abcdefgh$0123456789012345678901", "line 2: only bcrypt"},
		{"SHA", "a:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "line 1: only bcrypt"},
		{"cut", "a:" + good[:40], "line 1: only bcrypt"},
		{"too dear", "a:$2y$31$" + good[7:], "line 1: only bcrypt"},
		{"no colon", "hunter2", "line 1 is not"},
		{"no name", ":" + good, "line 1 is not"},
	} {
		_, err := parseUsers([]byte(c.text))
		if (err == nil) != (c.fault == "") || err != nil && (!strings.Contains(err.Error(), c.fault) || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("%s: %v, want %q", c.name, err, c.fault)
		}
	}
}

// TestUnknownUserCosts: the answer for somebody unknown takes a bcrypt as dear
// as that of the users, so that the time does not tell who exists.
func TestUnknownUserCosts(t *testing.T) {
	users := map[string]string{"a": hashed(t, "x", "$2y$"), "b": "$2y$11$" + hashed(t, "x", "$2y$")[7:]}
	hash, err := dummyHash(users)
	if err != nil {
		t.Fatal(err)
	}
	if cost, err := bcrypt.Cost([]byte(hash)); err != nil || cost != 11 {
		t.Errorf("cost %d, %v, want 11", cost, err)
	}
	if !isBcrypt(hash) {
		t.Errorf("%q is no hash that can be checked", hash)
	}
}

func TestMemory(t *testing.T) {
	m := newMemory[int]()
	if m.key("ab", "c") == m.key("a", "bc") {
		t.Error("the parts of a secret run into each other")
	}
	if m.key("a") == newMemory[int]().key("a") {
		t.Error("the key does not depend on the process")
	}
	m.put(m.key("old"), 1, time.Now().Add(-time.Second))
	if _, ok := m.get(m.key("old")); ok {
		t.Error("what has expired is remembered")
	}
	for i := range 3 * maxRemembered {
		m.put(key{byte(i), byte(i >> 8), byte(i >> 16)}, i, time.Now().Add(time.Hour))
	}
	if len(m.entries) > maxRemembered {
		t.Errorf("%d entries", len(m.entries))
	}
}

func FuzzUsersFile(f *testing.F) {
	f.Add("a:" + hashed(f, "x", "$2y$") + "\nb:plain")
	f.Add(apacheLine)
	f.Fuzz(func(t *testing.T, text string) {
		users, err := parseUsers([]byte(text))
		if err != nil {
			return
		}
		for user, hash := range users {
			if user == "" || !isBcrypt(hash) {
				t.Errorf("user %q with hash %q", user, hash)
			}
			// Not by a password: that is slow. Whether it can be checked at all.
			if _, err := bcrypt.Cost([]byte(hash)); err != nil {
				t.Error(err)
			}
		}
	})
}

func FuzzBasicHeader(f *testing.F) {
	for _, seed := range []string{"", "Basic YTpi", "Basic", "Bearer x", "basic  YTpi", "Basic YTpi x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		user, password, err := parseBasic(header)
		if err != nil {
			if s := status(t, err); s != 400 && s != 401 {
				t.Errorf("%q: status %d", header, s)
			}
			return
		}
		again := "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
		if u, p, err := parseBasic(again); u != user || p != password || err != nil {
			t.Errorf("%q does not come back: %q, %q, %v", header, u, p, err)
		}
	})
}
