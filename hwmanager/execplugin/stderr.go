package execplugin

import (
	"bytes"
	"strings"

	"github.com/sirupsen/logrus"
)

// Bounds of what is kept and logged of standard error, in bytes.
const (
	maxOpening = 512 // some languages tell first what happened, others last
	maxSaid    = 1536
	maxLogged  = 64 << 10
	maxEntry   = 1 << 10
)

// record keeps the beginning and the end of standard error and logs its lines.
type record struct {
	log    *logrus.Entry
	total  int
	begin  []byte
	tail   []byte
	line   []byte
	logged int
	muted  bool
}

func (s *record) Write(p []byte) (int, error) {
	s.total += len(p)
	s.begin = append(s.begin, p[:min(len(p), maxOpening-len(s.begin))]...)
	s.tail = append(s.tail, p[max(0, len(p)-maxSaid):]...)
	s.tail = s.tail[max(0, len(s.tail)-maxSaid):]
	for rest := p; len(rest) > 0; {
		line, after, whole := bytes.Cut(rest, []byte("\n"))
		s.line = append(s.line, line[:min(len(line), maxEntry-min(len(s.line), maxEntry))]...)
		if whole {
			s.flush()
		}
		rest = after
	}
	return len(p), nil
}

// flush logs the line that was begun.
func (s *record) flush() {
	text := strings.TrimSpace(clean(string(s.line)))
	s.line = s.line[:0]
	if text == "" || s.muted {
		return
	}
	if s.logged += len(text); s.logged > maxLogged {
		s.muted = true
		s.log.Warnf("the plugin says more than %d KiB: the rest is not logged", maxLogged>>10)
		return
	}
	s.log.Info(text)
}

// end is the end of what was said; where that is long, the beginning, too.
func (s *record) end() string {
	tidy := func(text []byte) string { return strings.TrimSpace(clean(string(bytes.TrimSpace(text)))) }
	if s.total <= maxSaid {
		return tidy(s.tail)
	}
	if s.total <= maxOpening+maxSaid {
		return tidy(append(s.begin[:s.total-maxSaid:s.total-maxSaid], s.tail...))
	}
	return tidy(s.begin) + "\n…\n" + tidy(s.tail)
}
