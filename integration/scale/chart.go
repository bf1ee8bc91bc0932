package main

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// panel is one diagram of the chart: lines over the time.
type panel struct {
	title string
	limit float64 // drawn as a line; 0 is none
	lines []line
}

type line struct {
	name   string
	points []point
}

type point struct {
	at    time.Duration
	value float64
}

// Measures of the chart, in pixels.
const (
	chartWidth, panelHeight      = 900, 150
	left, right, top, titleSpace = 60, 20, 10, 24
)

// colours of the lines of a panel.
var colours = []string{"#1f5fa8", "#c4621a", "#3a8a3a"}

// window is what points of rates and quantiles are taken over.
const window = 10 * time.Second

// chart is an SVG of the time that the load was held.
func (r *result) chart() string {
	const mib = 1 << 20
	panels := []panel{
		{title: "reads, p99 and p50 of 10 s each, ms", limit: float64(maxRead.Milliseconds()), lines: []line{
			{"p99", r.over(func(from, to time.Duration) float64 { return ms(quantile(times(r.answers, from, to), 0.99)) })},
			{"p50", r.over(func(from, to time.Duration) float64 { return ms(quantile(times(r.answers, from, to), 0.5)) })}}},
		{title: "memory of the conductor, MiB", limit: maxResident >> 20, lines: []line{
			{"resident", r.sampled(func(s sample) float64 { return float64(s.resident) / mib })},
			{"database file", r.sampled(func(s sample) float64 { return float64(s.database) / mib })}}},
		{title: "deployments", lines: []line{
			{"in flight", r.sampled(func(s sample) float64 { return float64(s.flying) })},
			{"done a minute", r.rate(&r.fleet.deployed, 60)}}},
		{title: "heartbeats a second", lines: []line{{"heartbeats", r.rate(&r.fleet.heartbeats, 1)}}},
		{title: "processor time, % of one", lines: []line{
			{"conductor", r.slope(func(s sample) time.Duration { return s.conductor })},
			{"simulation", r.slope(func(s sample) time.Duration { return s.load })},
			{"others and kernel", r.slope(func(s sample) time.Duration { return s.machine - s.conductor - s.load })}}},
	}
	var b strings.Builder
	height := len(panels)*panelHeight + 30
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="11">`+"\n", chartWidth, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", chartWidth, height)
	for i, p := range panels {
		p.draw(&b, float64(i*panelHeight+top), r.held())
	}
	for t := time.Duration(0); t <= r.held(); t += step(r.held()) {
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle" fill="#444">%s</text>`+"\n", across(t, r.held()), height-8, strings.TrimSuffix(t.String(), "0s"))
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// step is between two labels of the time.
func step(all time.Duration) time.Duration {
	if all > 3*time.Minute {
		return time.Minute
	}
	return max(all/6, time.Second).Round(time.Second)
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// over makes a point of each window.
func (r *result) over(value func(from, to time.Duration) float64) (points []point) {
	for from := time.Duration(0); from < r.held(); from += window {
		points = append(points, point{min(from+window/2, r.held()), value(from, from+window)})
	}
	return points
}

// rate is how much a counter counted, in a unit of so many seconds.
func (r *result) rate(c *counter, unit float64) []point {
	return r.over(func(from, to time.Duration) float64 {
		to = min(to, r.held())
		return float64(c.between(r.from.Add(from), r.from.Add(to))) / (to - from).Seconds() * unit
	})
}

func (r *result) sampled(value func(s sample) float64) (points []point) {
	for _, s := range r.samples {
		points = append(points, point{s.at, value(s)})
	}
	return points
}

// slope is the share of a processor from each sample to the fifth after it.
func (r *result) slope(of func(s sample) time.Duration) (points []point) {
	const apart = 5
	for i := apart; i < len(r.samples); i++ {
		a, b := r.samples[i-apart], r.samples[i]
		points = append(points, point{(a.at + b.at) / 2, 100 * float64(of(b)-of(a)) / float64(b.at-a.at)})
	}
	return points
}

func across(at, all time.Duration) float64 {
	return left + float64(at)/float64(all)*(chartWidth-left-right)
}

func (p panel) draw(b *strings.Builder, y float64, all time.Duration) {
	most := p.limit
	for _, l := range p.lines {
		for _, point := range l.points {
			most = max(most, point.value)
		}
	}
	most = ceiling(most * 1.05)
	bottom := y + panelHeight - 14
	up := func(v float64) float64 { return bottom - v/most*(bottom-y-titleSpace) }
	fmt.Fprintf(b, `<text x="%d" y="%.1f" font-weight="bold" fill="#222">%s</text>`+"\n", left, y+14, p.title)
	for i := range 5 {
		v := most * float64(i) / 4
		fmt.Fprintf(b, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="#ddd"/>`, left, up(v), chartWidth-right, up(v))
		fmt.Fprintf(b, `<text x="%d" y="%.1f" text-anchor="end" fill="#444">%g</text>`+"\n", left-6, up(v)+4, v)
	}
	if p.limit > 0 {
		fmt.Fprintf(b, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="#b00020" stroke-dasharray="6 4"/>`, left, up(p.limit), chartWidth-right, up(p.limit))
		fmt.Fprintf(b, `<text x="%d" y="%.1f" text-anchor="end" fill="#b00020">limit %g</text>`+"\n", chartWidth-right, up(p.limit)-4, p.limit)
	}
	for i, l := range p.lines {
		colour := colours[i%len(colours)]
		fmt.Fprintf(b, `<polyline fill="none" stroke="%s" stroke-width="1.5" points="`, colour)
		for _, point := range l.points {
			fmt.Fprintf(b, "%.1f,%.1f ", across(point.at, all), up(point.value))
		}
		fmt.Fprintf(b, `"/><text x="%d" y="%.1f" fill="%s">%s</text>`+"\n", left+320+i*150, y+14, colour, l.name)
	}
}

// ceiling is the next round number whose quarters are round, too.
func ceiling(v float64) float64 {
	if v <= 0 {
		return 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(v)))
	for _, n := range []float64{1, 2, 4, 6, 8, 10} {
		if v <= n*unit {
			return n * unit
		}
	}
	return 10 * unit
}
