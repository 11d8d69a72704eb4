//go:build linux

package probe_test

import (
	"context"
	"fmt"
	"log"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/capture/pcapng"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/probe"
)

// A ping whose frames are written to a file: the probes by the stamps that they left
// at, the replies by those that they came at, with what was made of them.
func ExampleEvidence() {
	ifc, err := l2.InterfaceByName("eth0")
	if err != nil {
		log.Fatal(err)
	}
	file, err := os.Create("ping.pcapng")
	if err != nil {
		log.Fatal(err)
	}
	w, err := pcapng.NewWriter(file, &pcapng.Config{Application: "example"}, pcapng.InterfaceOf(ifc))
	if err != nil {
		log.Fatal(err)
	}
	p, err := probe.New(probe.Config{
		Targets: probe.Hosts(netip.MustParseAddr("198.51.100.2")), Interface: ifc.Name, Count: 3, Evidence: true,
	})
	if err != nil {
		log.Fatal(err)
	}
	frames := 0
	for event, err := range p.Run(context.Background()) {
		if err != nil {
			log.Fatal(err)
		}
		if event.Evidence == nil {
			continue
		}
		options := pcapng.Options{PacketID: event.Seq}
		if event.Kind == probe.Replied {
			options.Comment = fmt.Sprintf("seq=%d rtt=%v by %v stamps", event.Seq, event.Reply.RTT, event.Reply.RTTSource)
		}
		for i := range event.Evidence.Frames {
			if err := w.Write(&event.Evidence.Frames[i], &options); err != nil {
				log.Fatal(err)
			}
			frames++
		}
	}
	if err := w.Flush(); err != nil {
		log.Fatal(err)
	}
	if err := file.Close(); err != nil {
		log.Fatal(err)
	}
	fmt.Println(frames, "frames")
}

// TestExampleEvidence runs the example where it does no harm, and reads its file.
func TestExampleEvidence(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	t.Chdir(t.TempDir())
	got := output(t, func() error {
		return pair.Near.Do(func() error {
			ExampleEvidence()
			return nil
		})
	})
	if !slices.Equal(got, []string{"6 frames"}) {
		t.Errorf("it prints %q", got)
	}
	file, err := os.Open("ping.pcapng")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r, err := pcapng.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	type written struct {
		direction capture.Direction
		id        uint64
	}
	var frames []written
	left := map[uint64]int64{}
	for f, err := range r.Frames() {
		if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, written{f.Direction, f.PacketID})
		if f.Direction == capture.DirectionOut {
			left[f.PacketID] = f.Arrival
			if len(f.Comments) != 0 {
				t.Errorf("a probe bears the comment %q", f.Comments)
			}
			continue
		}
		// The file's own times tell what the comment does.
		want := fmt.Sprintf("seq=%d rtt=%v by driver stamps", f.PacketID, time.Duration(f.Arrival-left[f.PacketID]))
		if !slices.Equal(f.Comments, []string{want}) {
			t.Errorf("the comment is %q, want %q", f.Comments, want)
		}
	}
	const in, out = capture.DirectionIn, capture.DirectionOut
	if want := []written{{out, 1}, {in, 1}, {out, 2}, {in, 2}, {out, 3}, {in, 3}}; !slices.Equal(frames, want) {
		t.Errorf("the file has %v, want %v", frames, want)
	}
}
