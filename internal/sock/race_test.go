//go:build race

package sock

// The race detector's instrumentation of x/sys/unix makes Read and Write allocate.
const raceDetector = true
