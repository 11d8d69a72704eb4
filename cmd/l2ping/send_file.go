//go:build linux

package main

import (
	"sync"
	"time"

	"github.com/l2ping/l2ping/capture/pcapng"
)

// A sendFile is what -w writes. It is safe for concurrent use.
type sendFile struct {
	mu    sync.Mutex
	files captureFiles
	begun bool
	waits *time.Timer // nil if nothing waits to be written out
	wrong error       // the first
}

// begin makes the file, unless that is done. Until then a file of that name stays
// as it is.
func (w *sendFile) begin() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.begun {
		w.begun = true
		w.wrong = w.files.begin(time.Now())
	}
	return w.wrong
}

// write writes a frame, soon.
func (w *sendFile) write(f *pcapng.Frame, ifc *pcapng.Interface, o *pcapng.Options) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.wrong != nil {
		return w.wrong
	}
	w.wrong = w.files.write(f, ifc, o)
	if w.waits == nil {
		w.waits = time.AfterFunc(writeDelay, w.flush)
	}
	return w.wrong
}

// flush writes out what waits.
func (w *sendFile) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waits = nil
	if w.wrong == nil && w.files.w != nil {
		w.wrong = w.files.flush()
	}
}

// finish ends the file, if it was begun.
func (w *sendFile) finish() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waits != nil {
		w.waits.Stop() // a flush that has begun finds no file
	}
	return firstError(w.wrong, w.files.finish())
}
