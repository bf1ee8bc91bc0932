package store

import "time"

// Commit says how a commit of the database went.
type Commit struct {
	Changes int // gathered in it
	Took    time.Duration
	Err     error
}

// OnCommit has observe called after each commit, by the goroutine that writes:
// it must be quick. It is set before the first change that counts.
func (s *Store) OnCommit(observe func(Commit)) { s.observe.Store(&observe) }

// Waiting is how many changes wait for a commit or are in one.
func (s *Store) Waiting() int { return int(s.writer.waiting.Load()) }

func (s *Store) committed(c Commit) {
	s.news.committed()
	if observe := s.observe.Load(); observe != nil {
		(*observe)(c)
	}
}
