//go:build linux

package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	cbpf "golang.org/x/net/bpf"

	"github.com/l2ping/l2ping/arp"
	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/internal/sock"
	"github.com/l2ping/l2ping/internal/sock/classic"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
)

// AnswerConfig says which frames are to be answered: by EtherTypes, by a Match, or by
// Instructions. One of the three is required, and no more than one goes.
type AnswerConfig struct {
	// EtherTypes are the protocols whose frames are handed over, whatever VLAN
	// tags they bear; at most bpf.MaxEtherTypes. Without a link layer they can be
	// those of IPv4 and IPv6.
	EtherTypes []frame.EtherType
	// Match is what bpf.NewFilter makes of a bpf.Match, or another filter of the
	// caller's, whose it stays: it must not be closed before Answer has returned.
	// It alone says what is handed over, whomever that is to.
	Match capture.Filter
	// Instructions are a program of classic BPF for a packet socket, as tcpdump
	// -ddd prints it and pcapfilter.Compile makes it with pcapfilter.Config.Live.
	// It runs in the kernel; what it returns is how many bytes of a frame are handed
	// over, 0 is none. It is asked about frames to this host and to groups, and not
	// about those to others, but with MAC or Promiscuous.
	Instructions []cbpf.RawInstruction

	// MAC is an address to hear besides the interface's own.
	MAC frame.MAC
	// Promiscuous takes frames to other hosts too.
	Promiscuous bool
	// AnswerFor are addresses that this host does not have, for which ARP requests
	// and neighbor solicitations are answered meanwhile.
	AnswerFor []arp.ResponderConfig
	// Filter says which filter the kernel runs for the EtherTypes. A Match has one
	// already, and Instructions are classic.
	Filter bpf.Mode
}

// An Answerer receives frames, and sends what answers them: the other side of an
// Exchanger, and scapy's AnsweringMachine. Run it once.
//
// The kernel answers too: echo requests, ARP requests and segments to its own
// addresses. For an address that the host does not have it does not; see
// AnswerConfig.AnswerFor.
type Answerer struct {
	sockets
	filter     *bpf.Expected // of the EtherTypes
	responders []*arp.Responder

	name    string
	answer  func([]byte, capture.Frame) []byte
	frames  []capture.Frame
	buf     []byte
	stopped atomic.Bool
	failed  error
	life    lifetime
}

// answerRoom is how long an answer may become at first without another buffer, in bytes:
// as long as an Ethernet frame.
const answerRoom = 1518

// NewAnswerer opens the sockets on an interface: every frame that comes from then on is
// answered, as soon as Run does. The Answerer holds descriptors until Run has returned
// or Close is called. It works in the network namespace of the calling thread, needs
// what NewExchanger does, and fails as that does, by the AnswerConfig.
func NewAnswerer(iface string, cfg *AnswerConfig) (*Answerer, error) {
	a := &Answerer{name: iface, frames: make([]capture.Frame, capture.MinFrames), buf: make([]byte, 0, answerRoom)}
	if err := a.open(iface, cfg); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

// Answer is NewAnswerer and Answerer.Run. Who asks from another goroutine knows only
// from NewAnswerer when what he asks is heard.
func Answer(ctx context.Context, iface string, cfg *AnswerConfig, answer func(reply []byte, f capture.Frame) []byte) error {
	a, err := NewAnswerer(iface, cfg)
	if err != nil {
		return err
	}
	return a.Run(ctx, answer)
}

func (a *Answerer) open(iface string, cfg *AnswerConfig) error {
	if err := cfg.validate(); err != nil {
		return fmt.Errorf("answer on %s: %w", iface, err)
	}
	ifc, err := l2.InterfaceByName(iface)
	if err != nil {
		return err
	}
	if err := ifc.Usable(); err != nil {
		return err
	}
	if a.watch, err = ifc.Watch(); err != nil {
		return err
	}
	filter, err := a.choose(ifc, cfg)
	if err != nil {
		return err
	}
	if a.in, err = capture.OpenSocket(ifc, capture.SocketConfig{
		Filter: filter, MAC: cfg.MAC, Promiscuous: cfg.Promiscuous, FrameBytes: capture.MaxMerged,
	}); err != nil {
		return err
	}
	if _, err := a.openOut(ifc, &points{departure: l2.StampUser}, TimestampsUser, l2.LinkConfig{}); err != nil {
		return err
	}
	if a.responders, err = openResponders(ifc, cfg.AnswerFor); err != nil {
		return err
	}
	a.loop, err = sock.NewLoop(a.in.FD())
	return err
}

// validate tells what is wrong with what is to be answered.
func (c *AnswerConfig) validate() error {
	ways := 0
	if c != nil {
		for _, given := range []bool{len(c.EtherTypes) > 0, c.Match != nil, len(c.Instructions) > 0} {
			if given {
				ways++
			}
		}
	}
	switch {
	case ways == 0:
		return errors.New("neither EtherTypes nor a Match nor Instructions say what is to be answered")
	case ways > 1:
		return errors.New("EtherTypes, a Match, Instructions: only one of them says what is to be answered")
	case c.Match != nil && c.Filter != bpf.Auto, len(c.Instructions) > 0 && c.Filter == bpf.EBPF:
		return fmt.Errorf("%v filter: it is for EtherTypes", c.Filter)
	}
	return nil
}

// choose is the filter that says what is handed over.
func (a *Answerer) choose(ifc *l2.Interface, cfg *AnswerConfig) (capture.Filter, error) {
	switch {
	case cfg.Match != nil:
		return cfg.Match, nil
	case len(cfg.Instructions) == 0:
		expect := &bpf.ExpectConfig{NoLink: ifc.NoLink, MAC: cfg.MAC, Promiscuous: cfg.Promiscuous, MaxKeys: 1}
		for _, t := range cfg.EtherTypes {
			expect.EtherTypes = append(expect.EtherTypes, uint16(t))
		}
		var err error
		a.filter, err = bpf.NewExpected(cfg.Filter, expect)
		return a.filter, err
	case cfg.Promiscuous:
		return classic.Filter(cfg.Instructions), nil
	}
	return classic.To(cfg.MAC, cfg.Instructions), nil
}

// openResponders answers for addresses. What is open is returned also with an error.
func openResponders(ifc *l2.Interface, list []arp.ResponderConfig) (open []*arp.Responder, err error) {
	for _, c := range list {
		r, err := arp.OpenResponder(ifc, c)
		if err != nil {
			return open, err
		}
		open = append(open, r)
	}
	return open, nil
}

// errAnswered says that an Answerer can run no more.
var errAnswered = errors.New("the answerer has run already, or was closed")

// Run receives frames and sends what answer makes of each. It returns when ctx is done,
// which is no error, or with the reason why it cannot go on, such as an interface that
// went down or away, and closes the Answerer.
//
// answer appends a whole frame to reply, which is empty, and returns it; or returns a
// frame of its own, such as f.Data turned around, which is not kept. What is empty is no
// answer. The frame, with its arrival stamps and the VLAN tag that the kernel took off
// it, is valid during the call; an answer bears that tag only if answer puts it in. It is
// called by the goroutine that called Run, whose own panics it may have. An answer that
// cannot leave, for the interface's queue is full, it is too long or it is no frame, is
// lost.
func (a *Answerer) Run(ctx context.Context, answer func(reply []byte, f capture.Frame) []byte) (err error) {
	if !a.life.begin(a.stop) {
		return errAnswered
	}
	defer func() { // also when answer panics
		a.life.over()
		err = errors.Join(err, a.Close())
	}()
	a.answer = answer
	return a.run(ctx)
}

func (a *Answerer) run(ctx context.Context) error {
	ended := make(chan struct{})
	release := context.AfterFunc(ctx, func() {
		a.stop()
		close(ended)
	})
	done := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		wakeOnChange(a.watch, a.loop, done)
		close(watched)
	}()
	defer func() { // also when answer panics
		close(done)
		<-watched
		if !release() {
			<-ended // it is about to use the loop
		}
	}()
	err := a.loop.Run(a.turn)
	return errors.Join(err, a.failed)
}

func (a *Answerer) turn() (wait time.Duration, done bool) {
	for !a.stopped.Load() {
		if err := a.watch.Err(); err != nil {
			a.fail(err)
			return 0, true
		}
		n, _ := a.in.Receive(a.frames)
		for i := range a.frames[:n] {
			if !a.send(&a.frames[i]) {
				return 0, true
			}
		}
		if n < len(a.frames) {
			return time.Duration(never), false
		}
	}
	return 0, true
}

func (a *Answerer) fail(err error) { a.failed = fmt.Errorf("answer on %s: %w", a.name, err) }

// send sends the answer to a frame, if there is one. It is false if that was the
// last.
func (a *Answerer) send(f *capture.Frame) bool {
	b := a.answer(a.buf[:0], *f)
	if len(b) == 0 {
		return true
	}
	if len(b) > cap(a.buf) {
		// Room for as much the next time. b itself may be the caller's, or f.Data.
		a.buf = make([]byte, 0, len(b))
	}
	if err := goneError(a.out.Send(b, 0)); err != nil {
		a.fail(err)
		return false
	}
	return true
}

// stop ends the run.
func (a *Answerer) stop() {
	a.stopped.Store(true)
	a.loop.Wake()
}

// Close closes what NewAnswerer has opened. Run does it by itself; while that runs,
// Close ends it and returns nil.
func (a *Answerer) Close() error {
	return a.life.close(func() error {
		err := a.sockets.close(closers(a.responders)...)
		if a.filter != nil {
			err = errors.Join(err, a.filter.Close())
		}
		return err
	})
}

// closers are those beside the sockets.
func closers[C io.Closer](list []C) []io.Closer {
	var all []io.Closer
	for _, c := range list {
		all = append(all, c)
	}
	return all
}

// wakeOnChange has a run look at its interface when something has changed.
func wakeOnChange(watch *l2.Watch, loop *sock.Loop, done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case <-watch.Changes():
			loop.Wake()
		}
	}
}
