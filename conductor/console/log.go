package console

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/sirupsen/logrus"
)

// LogConfig says where consoles are recorded. Texts of consoles may hold
// secrets: the files are readable by the conductor's user only.
type LogConfig struct {
	// Directory of the files, one for each node, named by its UUID; empty is no log.
	Directory string `ini:"console_log.directory"`
	// MaxBytes is how large a file may grow before it is renamed to .1, and that to .2.
	MaxBytes int64 `ini:"console_log.max_bytes"`
	// Keep is how many renamed files there are.
	Keep int `ini:"console_log.keep"`
}

// DefaultLogConfig records nothing.
func DefaultLogConfig() LogConfig { return LogConfig{MaxBytes: 8 << 20, Keep: 2} }

// Validate names an option that cannot work.
func (c LogConfig) Validate() error {
	switch {
	case c.MaxBytes < 4096:
		return fmt.Errorf("[console_log]max_bytes is %d, must be at least 4096", c.MaxBytes)
	case c.Keep < 0 || c.Keep > 100:
		return fmt.Errorf("[console_log]keep is %d, must be between 0 and 100", c.Keep)
	}
	return nil
}

// Log is the record of one console, of bounded size. Nil records nothing.
type Log struct {
	cfg  LogConfig
	path string
	log  *logrus.Entry

	file     *os.File
	size     int64
	inLine   bool // the last character was no line feed
	isBroken bool // a failure was told
}

// Open goes on with the record of a name; nil if nothing is to be recorded.
func (c LogConfig) Open(name string, log *logrus.Entry) *Log {
	if c.Directory == "" {
		return nil
	}
	return &Log{cfg: c, path: filepath.Join(c.Directory, name+".log"), log: log}
}

// note writes a line of ferric's own between the machine's.
func (l *Log) note(at time.Time, text string) {
	if l == nil {
		return
	}
	begin := ""
	if l.inLine {
		begin = "\n"
	}
	l.write(fmt.Appendf(nil, "%s--- %s %s ---\n", begin, at.Format(time.RFC3339), text))
}

// write appends. A record that cannot be written does not stop the console: it
// is told once, and tried again with the next text.
func (l *Log) write(text []byte) {
	if l == nil || len(text) == 0 {
		return
	}
	err := l.append(text)
	if err != nil && !l.isBroken {
		l.log.WithError(err).Error("cannot record a serial console")
	}
	l.isBroken = err != nil
	l.inLine = text[len(text)-1] != '\n'
}

func (l *Log) append(text []byte) error {
	if l.file != nil && l.size+int64(len(text)) > l.cfg.MaxBytes {
		if err := l.rotate(); err != nil {
			return err
		}
	}
	if l.file == nil {
		if err := l.open(); err != nil {
			return err
		}
	}
	n, err := l.file.Write(text)
	l.size += int64(n)
	return err
}

func (l *Log) open() error {
	if err := os.MkdirAll(l.cfg.Directory, 0o750); err != nil {
		return err
	}
	file, err := os.OpenFile(l.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return err
	}
	l.file, l.size = file, info.Size()
	return nil
}

// rotate renames the file and its predecessors; the oldest goes.
func (l *Log) rotate() error {
	l.close()
	if l.cfg.Keep == 0 {
		return os.Remove(l.path)
	}
	for i := l.cfg.Keep - 1; i >= 0; i-- {
		from := l.path
		if i > 0 {
			from = fmt.Sprintf("%s.%d", l.path, i)
		}
		if err := os.Rename(from, fmt.Sprintf("%s.%d", l.path, i+1)); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return nil
}

func (l *Log) close() {
	if l != nil && l.file != nil {
		l.file.Close()
		l.file, l.size = nil, 0
	}
}
