//go:build linux

package arp

import (
	"testing"
	"time"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/l2"
)

func TestMain(m *testing.M) {
	labtest.Child(childVar, child)
	labtest.MainNetns(m)
}

// patience bounds the wait for what has to come, on however slow a machine. A
// resolver takes up to three seconds by itself.
const patience = time.Minute

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pathTo is the path from a pair's near end to its far one, on the link.
func pathTo(t testing.TB, pair *lab.Pair) *l2.Path {
	t.Helper()
	path := &l2.Path{Destination: pair.FarIP, Source: pair.NearIP, NextHop: pair.FarIP, OnLink: true, MTU: 1500}
	must(t, pair.Near.Do(func() (err error) {
		path.Interface, err = l2.InterfaceByName("eth0")
		return err
	}))
	return path
}
