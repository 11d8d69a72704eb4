//go:build linux

// L2ping pings over one interface at layer 2 and measures the wire: see
// `l2ping --help`.
package main

import "os"

func main() { os.Exit(run(newEnv(), os.Args[1:])) }
