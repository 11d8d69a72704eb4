//go:build linux

package render

import (
	"io"
	"net/netip"
	"testing"

	"github.com/l2ping/l2ping/probe"
)

// perProbe renders what a probe and its reply come to.
func perProbe(b *testing.B, r interface{ Event(*probe.Event) error }) {
	b.Helper()
	if err := r.Event(started()); err != nil {
		b.Fatal(err)
	}
	sent, reply := &probe.Event{Kind: probe.Sent, Time: at, Address: far, Seq: 1}, replied(1)
	b.ReportAllocs()
	for b.Loop() {
		sent.Seq++
		reply.Seq++
		if err := r.Event(sent); err != nil {
			b.Fatal(err)
		}
		if err := r.Event(reply); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkText(b *testing.B) {
	for name, opts := range map[string]TextOptions{
		"plain":   {Target: netip.Addr.String, Numeric: true},
		"verbose": {Target: netip.Addr.String, Numeric: true, Verbose: true, PrintTime: true},
	} {
		b.Run(name, func(b *testing.B) { perProbe(b, NewText(io.Discard, io.Discard, opts)) })
	}
}

func BenchmarkJSON(b *testing.B) { perProbe(b, NewJSON(io.Discard, typed("far.example"))) }
