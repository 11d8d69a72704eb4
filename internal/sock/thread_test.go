//go:build linux

package sock

import (
	"bytes"
	"fmt"
	"os"
)

// threadState returns the state of a thread of this process: the letter behind its
// name in /proc/PID/stat (proc(5)).
func threadState(tid int) (state byte, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/stat", tid))
	if err != nil {
		return 0, err
	}
	i := bytes.LastIndexByte(b, ')')
	if i < 0 || i+2 >= len(b) {
		return 0, fmt.Errorf("thread %d: %q", tid, b)
	}
	return b[i+2], nil
}
