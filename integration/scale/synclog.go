package main

import (
	"bufio"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"time"
)

// syncs is when which node's power was compared, as the conductor's log tells.
type syncs struct {
	compared map[string][]time.Time // by node UUID
	passes   []pass
}

// pass is one over all nodes.
type pass struct {
	end      time.Time
	compared int
	locked   int
	took     time.Duration
}

var (
	logTime  = regexp.MustCompile(`^time="([^"]+)"`)
	logWord  = regexp.MustCompile(`\b(\w+)=([^" ]+)`)
	logNode  = regexp.MustCompile(`msg="power state compared".* node=(\S+)`)
	logPass  = regexp.MustCompile(`msg="power state sync: pass done"`)
	logWorst = regexp.MustCompile(`level=(error|fatal|panic)`)
)

// readSyncs reads the conductor's log. worst are its errors.
func readSyncs(path string) (s syncs, worst []string, err error) {
	file, err := os.Open(path)
	if err != nil {
		return s, nil, err
	}
	defer file.Close()
	s.compared = map[string][]time.Time{}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if logWorst.MatchString(line) {
			worst = append(worst, line)
		}
		node := logNode.FindStringSubmatch(line)
		done := logPass.MatchString(line)
		if node == nil && !done {
			continue
		}
		stamp := logTime.FindStringSubmatch(line)
		if stamp == nil {
			return s, nil, fmt.Errorf("a line of the log has no time: %s", line)
		}
		at, err := time.Parse("2006-01-02T15:04:05.000Z07:00", stamp[1])
		if err != nil {
			return s, nil, err
		}
		if node != nil {
			s.compared[node[1]] = append(s.compared[node[1]], at)
			continue
		}
		p := pass{end: at}
		for _, word := range logWord.FindAllStringSubmatch(line, -1) {
			n, err := strconv.ParseFloat(word[2], 64)
			switch {
			case err != nil:
			case word[1] == "compared":
				p.compared = int(n)
			case word[1] == "locked":
				p.locked = int(n)
			case word[1] == "seconds":
				p.took = time.Duration(n * float64(time.Second))
			}
		}
		s.passes = append(s.passes, p)
	}
	return s, worst, lines.Err()
}

// gaps are the longest times without a comparison of each node while it was to
// be compared, in a part of the time.
func (s syncs) gaps(nodes []*node, from, to time.Time) []time.Duration {
	var longest []time.Duration
	for _, n := range nodes {
		var most time.Duration
		for _, span := range n.eligible {
			begin, end := span.from, span.to
			if begin.Before(from) {
				begin = from
			}
			if end.After(to) {
				end = to
			}
			last := begin
			for _, at := range s.compared[n.uuid] {
				if at.After(begin) && at.Before(end) {
					most, last = max(most, at.Sub(last)), at
				}
			}
			most = max(most, end.Sub(last))
		}
		longest = append(longest, most)
	}
	return longest
}
