//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/l2ping/l2ping/probe"
)

// histogramEvery is the length of the log's intervals: what a run that is killed
// may lose, and how closely a long one can be looked at.
const histogramEvery = 10 * time.Second

// A histogramFile is the log that --histogram names. Nil is none.
type histogramFile struct {
	path string
	file *os.File
	size int64 // of the lines that are whole
	log  *probe.HistogramLog
}

// createHistogram creates the file and writes its head, so that it fails before
// anything is sent if it has to.
func createHistogram(path string) (*histogramFile, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666)
	if err != nil {
		return nil, histogramError("create", path, err)
	}
	h := &histogramFile{path: path, file: file}
	if h.log, err = probe.NewHistogramLog(h, time.Now()); err != nil {
		return nil, errors.Join(histogramError("write", path, err), h.close())
	}
	return h, nil
}

func histogramError(verb, name string, err error) error {
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		err = path.Err // the name is told already
	}
	return fmt.Errorf("%s histogram %s: %w", verb, name, err)
}

// Write appends whole lines. Of a disk that is full it takes back what had still
// found room, as readers fail at a line that was cut.
func (h *histogramFile) Write(b []byte) (int, error) {
	n, err := h.file.Write(b)
	if err != nil {
		_ = h.file.Truncate(h.size) // a pipe cannot
		return n, err
	}
	h.size += int64(n)
	return n, nil
}

// follow writes what the statistics gain, an interval at a time, until the
// function that it returns is called, which writes the rest. After an error
// nothing more is written; end returns the error.
func (h *histogramFile) follow(statistics func() probe.Statistics) (end func() error) {
	if h == nil {
		return func() error { return nil }
	}
	var failed error
	write := func() {
		if failed != nil {
			return
		}
		s := statistics()
		if err := h.log.Interval(&s.RTT, time.Now()); err != nil {
			failed = histogramError("write", h.path, err)
		}
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		ticker := time.NewTicker(histogramEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				write()
			case <-done:
				write()
				return
			}
		}
	})
	return sync.OnceValue(func() error {
		close(done)
		wg.Wait()
		return failed
	})
}

func (h *histogramFile) close() error {
	if h == nil {
		return nil
	}
	if err := h.file.Close(); err != nil {
		return histogramError("close", h.path, err)
	}
	return nil
}
