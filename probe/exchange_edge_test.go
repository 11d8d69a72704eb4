//go:build linux

package probe

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/arp"
	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/l2"
)

// upTo are the numbers from 1 to n.
func upTo(n uint16) (list []uint16) {
	for i := range n {
		list = append(list, i+1)
	}
	return list
}

// Answers that came in time count, however late they are read and however many there
// are.
func TestExchangeReadLate(t *testing.T) {
	const count = 3000
	inLane(t, ExchangeConfig{Timeout: 100 * ms}, func(t *testing.T, l *lane) {
		l.far = func(_ uint16, _ int, request []byte) {
			b := replyTo(request).bytes()
			time.AfterFunc(50*ms, func() { // nobody is woken
				l.in.putFrame(capture.Frame{Data: b, Length: len(b), Arrival: l.wall()})
			})
		}
		if err := l.run(t.Context(), Frames(echoes(upTo(count)...)...)); err != nil {
			t.Error(err)
		}
		if s := l.statistics(); s.Answered != count {
			t.Errorf("%+v, want %d to be answered", s, count)
		}
	})
}

// Those that came too late do not, nor those that were there before.
func TestExchangeNotInTime(t *testing.T) {
	for _, tt := range []struct {
		name  string
		after time.Duration
	}{
		{"before", -time.Second},
		{"at the timeout", 100 * ms},
		{"after", time.Second},
	} {
		inLane(t, ExchangeConfig{Timeout: 100 * ms}, func(t *testing.T, l *lane) {
			l.far = func(_ uint16, _ int, request []byte) {
				b := replyTo(request).bytes()
				l.in.putFrame(capture.Frame{Data: b, Length: len(b), Arrival: l.wall() + int64(tt.after)})
			}
			if err := l.run(t.Context(), Frames(echoes(1)...)); err != nil {
				t.Error(err)
			}
			l.want("1 unanswered at 100ms")
			if s := l.statistics(); s.Unpaired != 1 {
				t.Errorf("%s: %+v", tt.name, s)
			}
		})
	}
}

// What waits for another round when ctx ends is told of, if there is no room for it
// too.
func TestExchangeEndsInRound(t *testing.T) {
	const count = 512
	inLane(t, ExchangeConfig{Timeout: 100 * ms, Retry: -3, Window: 64}, func(t *testing.T, l *lane) {
		l.silentTo(nobody)
		ctx, cancel := context.WithTimeout(t.Context(), 1050*ms)
		defer cancel()
		if err := l.run(ctx, Frames(echoes(upTo(count)...)...)); err != nil {
			t.Error(err)
		}
		for _, e := range l.all {
			if e.Answered || e.Request.Tries == 0 {
				t.Fatalf("%+v", e)
			}
		}
		if s := l.statistics(); len(l.all) != count || s.Unanswered != count {
			t.Errorf("%d are told of, %+v", len(l.all), s)
		}
	})
}

// A queue that has been full for a timeout is not waited for by each request.
func TestExchangeStuck(t *testing.T) {
	inLane(t, ExchangeConfig{Timeout: 100 * ms}, func(t *testing.T, l *lane) {
		l.sendError = func(uint16, int) error { return unix.ENOBUFS }
		if err := l.run(t.Context(), Frames(echoes(upTo(20)...)...)); err != nil {
			t.Error(err)
		}
		if s := l.statistics(); s.Unanswered != 20 || l.clock() > 200*ms {
			t.Errorf("after %v: %+v", l.clock(), s)
		}
	})
}

func TestExchangeRulesErrors(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	for _, tt := range []struct {
		rules []Rule
		want  string
	}{
		{[]Rule{numbered{0x88b5}, nil}, "a rule that is nil"},
		{[]Rule{numbered{0x88b5}, numbered{0x88b6}, numbered{0x88b5}}, "two rules of one EtherType: they would have to be one"},
	} {
		_, _, err := exchangeIn(t, pair.Near, nil, ExchangeConfig{Rules: tt.rules})
		if err == nil || err.Error() != tt.want {
			t.Errorf("%v, want %s", err, tt.want)
		}
	}
}

// The filter is made with the capabilities of the thread that asks for it.
func TestExchangeThreadCapabilities(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	if err := pair.Near.Do(func() error {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var had [2]unix.CapUserData
		if err := unix.Capget(&h, &had[0]); err != nil {
			return err
		}
		less := had
		for _, c := range []int{unix.CAP_BPF, unix.CAP_SYS_ADMIN} {
			less[c/32].Effective &^= 1 << (c % 32)
		}
		if err := unix.Capset(&h, &less[0]); err != nil {
			return err
		}
		defer func() { _ = unix.Capset(&h, &had[0]) }()
		x, err := NewExchanger("eth0", nil)
		if err != nil {
			return err
		}
		defer x.Close()
		if mode, why := x.Filter(); mode != bpf.Classic {
			t.Errorf("without CAP_BPF the filter is %v, %v", mode, why)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// A segment that is longer than the MTU, for nobody has split it, is an answer.
func TestExchangeMerged(t *testing.T) {
	const port, from = 80, 50000
	for _, size := range []int{1000, 8000} {
		pair := labtest.NewPair(t, nil)
		listener := labtest.OpenIn(t, pair.Far, func() (net.Listener, error) { return net.Listen("tcp4", "198.51.100.2:80") })
		over := make(chan struct{})
		defer close(over)
		go func() {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			_, _ = c.Write(make([]byte, size)) // a banner
			<-over
		}()
		foreign := netip.MustParseAddr("198.51.100.99") // or the kernel would send a RST
		segment := func(seq, ack uint32, flags byte, options ...byte) []byte {
			b := binary.BigEndian.AppendUint16(nil, from)
			b = binary.BigEndian.AppendUint16(b, port)
			b = binary.BigEndian.AppendUint32(b, seq)
			b = binary.BigEndian.AppendUint32(b, ack)
			b = append(b, byte(5+len(options)/4)<<4, flags, 0xff, 0xff, 0, 0, 0, 0)
			b = append(b, options...)
			binary.BigEndian.PutUint16(b[16:], withPseudo(foreign, pair.FarIP, unix.IPPROTO_TCP, b))
			return ipv4(pair, foreign, pair.FarIP, unix.IPPROTO_TCP, b)
		}
		x := exchanger(t, pair.Near, ExchangeConfig{AnswerFor: []arp.ResponderConfig{{Source: foreign}}})
		next := make(chan []byte, 2)
		next <- segment(1000, 0, 0x02, 2, 4, 1460>>8, 1460&0xff) // SYN, with an MSS
		banner := 0
		for e, err := range x.Run(t.Context(), func(yield func([]byte, error) bool) {
			for b := range next {
				if !yield(b, nil) {
					return
				}
			}
		}) {
			switch {
			case err != nil || !e.Answered:
				t.Fatalf("%d bytes: %+v, %v", size, e, err)
			case e.Request.Seq == 1:
				next <- segment(1001, binary.BigEndian.Uint32(e.Reply.Data[38:])+1, 0x10)
				close(next)
			default:
				banner = len(e.Reply.Data)
			}
		}
		if banner < 54 || size > 1460 && banner <= 1514 {
			t.Errorf("of %d bytes the answer has %d", size, banner)
		}
	}
}

// What is not answered leaves the room for what is.
func TestAnswerDoesNotAllocate(t *testing.T) {
	calls := 0
	a := &Answerer{buf: make([]byte, 0, answerRoom), answer: func(reply []byte, f capture.Frame) []byte {
		if calls++; calls%2 == 0 {
			return nil
		}
		return append(reply, f.Data...)[:0] // nothing to send it by
	}}
	f := capture.Frame{Data: make([]byte, 60)}
	two := func() {
		a.send(&f)
		a.send(&f)
	}
	if n := testing.AllocsPerRun(100, two); n != 0 {
		t.Errorf("%v allocations for two frames", n)
	}
}

// A window that is full, and whose answers are there as soon as it has left, is empty
// then: it is not waited for.
func TestExchangeWindowFullAtOnce(t *testing.T) {
	for _, count := range []uint16{1, 2, 4, 5, 9} {
		inLane(t, ExchangeConfig{Window: 2}, func(t *testing.T, l *lane) {
			l.points.departure = l2.StampUser
			l.sched = func(uint16) time.Duration { return none }
			l.driver = l.sched
			l.sending = ms // meanwhile all requests are read, and wake nobody any more
			l.far = func(_ uint16, _ int, request []byte) {
				b := replyTo(request).bytes()
				l.in.putFrame(capture.Frame{Data: b, Length: len(b)})
			}
			if err := l.run(t.Context(), Frames(echoes(upTo(count)...)...)); err != nil {
				t.Error(err)
			}
			if s := l.statistics(); s.Answered != uint64(count) || l.clock() > 100*ms {
				t.Errorf("%d requests: %+v after %v", count, s, l.clock())
			}
		})
	}
}
