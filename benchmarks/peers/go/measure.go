package main

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// meter measures differences since it was made: CPU time of the whole process, wall time, resident memory.
type meter struct {
	cpu, wall float64
	rss       int64
}

func newMeter() meter {
	return meter{cpu: cpuSeconds(), wall: float64(monotonic()) / 1e9, rss: residentBytes()}
}

func (m meter) read() map[string]any {
	rss := residentBytes()
	return map[string]any{
		"cpu":       cpuSeconds() - m.cpu,
		"wall":      float64(monotonic())/1e9 - m.wall,
		"rss_delta": rss - m.rss,
		"rss":       rss,
	}
}

// say prints one line for the driver.
func say(phase string, values map[string]any) {
	values["phase"] = phase
	line, err := json.Marshal(values)
	if err != nil {
		panic(err)
	}
	os.Stdout.Write(append(line, '\n'))
}

func cpuSeconds() float64 {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}

func residentBytes() int64 {
	content, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		panic(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(content))[1], 10, 64)
	if err != nil {
		panic(err)
	}
	return pages * int64(os.Getpagesize())
}

// monotonic reads the clock that the stub stamps events with, in nanoseconds.
func monotonic() int64 {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		panic(err)
	}
	return now.Nano()
}
