package qcow2

import "container/heap"

// events is a heap of runs: the one that comes first in the file is on top.
type events []run

func (e *events) push(r run) { heap.Push((*heapOfRuns)(e), r) }

func (e *events) pop() (run, bool) {
	if len(*e) == 0 {
		return run{}, false
	}
	r, ok := heap.Pop((*heapOfRuns)(e)).(run)
	return r, ok
}

type heapOfRuns []run

func (h heapOfRuns) Len() int           { return len(h) }
func (h heapOfRuns) Less(i, j int) bool { return h[i].compare(h[j]) < 0 }
func (h heapOfRuns) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

func (h *heapOfRuns) Push(x any) {
	if r, ok := x.(run); ok {
		*h = append(*h, r)
	}
}

func (h *heapOfRuns) Pop() any {
	old := *h
	r := old[len(old)-1]
	*h = old[:len(old)-1]
	return r
}
