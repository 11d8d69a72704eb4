//go:build linux

package main

import (
	"fmt"
	"io/fs"
	"os"
)

// A statted is what can be a file.
type statted interface{ Stat() (fs.FileInfo, error) }

// oneFile refuses to write over what is read; flag is what says so.
func oneFile(in statted, flag, write string) error {
	if write == "" || write == "-" {
		return nil
	}
	a, err := in.Stat()
	if err != nil {
		return err
	}
	if b, err := os.Stat(write); err == nil && a.Mode().IsRegular() && os.SameFile(a, b) {
		return fmt.Errorf("%s and -w %s are one file", flag, write)
	}
	return nil
}
