//go:build linux

package main

import (
	"errors"
	"fmt"
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
	taken uint64      // frames that were to be written until then
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
	if w.wrong = w.files.write(f, ifc, o); w.wrong == nil {
		w.taken++
	}
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

// finish ends the file, if it was begun. It returns what was wrong before that, and else
// with the file; if it is that, it says how much is written.
func (w *sendFile) finish(before error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waits != nil {
		w.waits.Stop() // a flush that has begun finds no file
	}
	wrong := firstError(w.wrong, w.files.finish())
	err := firstError(before, wrong)
	if written := w.taken - w.files.lost; written > 0 && wrong != nil && errors.Is(err, wrong) {
		err = fmt.Errorf("%w (%s of those sent and received are written)", err, packets(written))
	}
	return err
}
