//go:build !race

package sock

const raceDetector = false
