//go:build linux

package render

import (
	"io"
	"math"
	"strconv"
	"time"

	"github.com/l2ping/l2ping/capture/pcapng"
	"github.com/l2ping/l2ping/cmd/l2ping/internal/craft"
	"github.com/l2ping/l2ping/probe"
)

// SendOptions say what is shown of frames that are sent.
type SendOptions struct {
	LinkType pcapng.LinkType // of the interface
	Link     bool            // the MACs, the EtherType and the whole length
	Hex      bool            // the bytes
	Quiet    bool            // the summary alone
	Answers  bool            // answers are waited for
	Multi    bool            // more than one to a frame
}

// A Sender prints what becomes of frames that are sent. What a frame holds never
// breaks a line. The errors are the writer's.
type Sender interface {
	// Start says that sending begins.
	Start(at time.Time, ifname string) error
	// Frame shows a frame that is not sent, the number-th.
	Frame(number uint64, f *craft.Frame) error
	// NotSent tells of a frame that could not even be made. It may wait for those
	// after it, of which the same is told.
	NotSent(number uint64, why error) error
	// Settle tells what waits.
	Settle() error
	// Exchanged tells what became of a request.
	Exchanged(e *probe.Exchanged) error
	// End is the summary.
	End(e *SendEnd) error
}

// A SendEnd is what was counted.
type SendEnd struct {
	Time                                  time.Time
	Duration                              time.Duration
	Span                                  time.Duration // from the first frame to the last that left
	Sent, Answered, Unanswered            uint64
	NotSent, Unpaired, Full, Dropped      uint64
	why                                   string // the first frame was not sent
	rounds                                uint64
	shortestRound, longestRound, allRound time.Duration
}

// Unsent counts a frame that was not sent.
func (e *SendEnd) Unsent(why error) {
	if e.NotSent++; e.NotSent == 1 {
		e.why = why.Error()
	}
}

// Round counts an answer's RTT.
func (e *SendEnd) Round(rtt time.Duration) {
	if e.rounds == 0 || rtt < e.shortestRound {
		e.shortestRound = rtt
	}
	e.longestRound = max(e.longestRound, rtt)
	e.allRound += rtt
	e.rounds++
}

// mean is the mean of all RTTs.
func (e *SendEnd) mean() time.Duration { return e.allRound / time.Duration(max(e.rounds, 1)) }

// fewFrames are too few to tell how many there were a second.
const fewFrames = 10

// perSecond is how many frames were sent a second. From the first frame to the last
// there is one interval less than there are frames.
func (e *SendEnd) perSecond() uint64 {
	return uint64(math.Round(float64(e.Sent-1) / max(e.Span.Seconds(), 1e-9)))
}

// A Send prints text: with answers a line for each request, which has its answer.
type Send struct {
	out         io.Writer
	opts        SendOptions
	line, frame words
	shown       bool // a frame of a dry run
	unsent      unsent
	tagged
}

// unsent are frames in a row that were not sent for the same reason, and that are not
// told of yet.
type unsent struct {
	first, last uint64 // 0 if there are none
	why         string
}

// NewSend returns a Send that prints to out.
func NewSend(out io.Writer, opts SendOptions) *Send { return &Send{out: out, opts: opts} }

// Start prints nothing.
func (*Send) Start(time.Time, string) error { return nil }

// Frame prints the layers and the bytes.
func (s *Send) Frame(_ uint64, f *craft.Frame) error {
	if s.opts.Quiet {
		return nil
	}
	text := craft.Dump(*f)
	if s.shown {
		text = "\n" + text
	}
	s.shown = true
	_, err := io.WriteString(s.out, text)
	return err
}

// NotSent is Sender's. Frames in a row for the same reason are told of once.
func (s *Send) NotSent(number uint64, why error) error {
	if s.opts.Quiet {
		return nil
	}
	u, reason := &s.unsent, why.Error()
	if u.first != 0 && number == u.last+1 && reason == u.why {
		u.last = number
		return nil
	}
	err := s.Settle()
	*u = unsent{first: number, last: number, why: reason}
	return err
}

// Settle is Sender's.
func (s *Send) Settle() error {
	u, w := &s.unsent, &s.line
	w.b = w.b[:0]
	switch {
	case u.first == 0:
		return nil
	case u.first == u.last:
		w.addf("frame %d not sent: ", u.first)
	default:
		w.addf("frames %d to %d not sent: ", u.first, u.last)
	}
	w.add(u.why)
	w.add("\n")
	*u = unsent{}
	_, err := s.out.Write(w.b)
	return err
}

// Exchanged prints request and answer on one line.
func (s *Send) Exchanged(e *probe.Exchanged) error {
	if s.opts.Quiet {
		return nil
	}
	if err := s.Settle(); err != nil {
		return err
	}
	w := &s.line
	w.b = s.summary(w.b[:0], e.Request.Frame)
	w.add(" -> ")
	var reply []byte
	switch {
	case e.Answered:
		reply, _ = s.whole(&pcapng.Frame{Frame: e.Reply, LinkType: s.opts.LinkType})
		w.b = s.summary(w.b, reply)
		w.add(" time=")
		w.b = appendRoundTrip(w.b, e.RTT)
		w.add(" ms ")
		w.add(e.RTTSource.String())
		if e.Request.Tries > 1 {
			w.addf(", try %d", e.Request.Tries)
		}
	case e.Request.Err != nil && e.Request.Tries > 0:
		w.addf("no answer, and not sent again: %v", e.Request.Err)
	case e.Request.Err != nil:
		w.addf("not sent: %v", e.Request.Err)
	default:
		w.add("no answer")
	}
	w.add("\n")
	if s.opts.Hex {
		w.hex(e.Request.Frame)
		w.hex(reply)
	}
	_, err := s.out.Write(w.b)
	return err
}

// summary appends what a frame is.
func (s *Send) summary(b, data []byte) []byte {
	w := &s.frame
	*w = words{b: w.b[:0], link: s.opts.Link}
	w.frame(decode(data, s.opts.LinkType), len(data))
	return append(b, w.b...)
}

// End is Sender's.
func (s *Send) End(e *SendEnd) error {
	if err := s.Settle(); err != nil {
		return err
	}
	w := &s.line
	w.b = w.b[:0]
	w.sendCounts(e, s.opts.Answers)
	w.add(", time ")
	w.b = strconv.AppendInt(w.b, e.Duration.Milliseconds(), 10)
	w.add("ms")
	if !s.opts.Answers && e.Sent >= fewFrames {
		w.addf(", %d a second", e.perSecond())
	}
	w.add("\n")
	// It was told of each, but for this.
	if s.opts.Quiet && e.why != "" {
		if e.NotSent > 1 {
			w.add("first ")
		}
		w.addf("not sent: %s\n", e.why)
	}
	if e.rounds > 0 {
		w.add("rtt min/avg/max = ")
		for i, d := range []time.Duration{e.shortestRound, e.mean(), e.longestRound} {
			if i > 0 {
				w.add("/")
			}
			w.b = appendRoundTrip(w.b, d)
		}
		w.add(" ms")
		if e.rounds > e.Answered {
			w.addf(" of %d answers", e.rounds)
		}
		w.add("\n")
	}
	_, err := s.out.Write(w.b)
	return err
}

// SendStatus is what was counted so far, on a line.
func SendStatus(e *SendEnd, answers bool) string {
	var w words
	w.sendCounts(e, answers)
	w.add("\n")
	return string(w.b)
}

// sendCounts adds what was counted.
func (w *words) sendCounts(e *SendEnd, answers bool) {
	w.number(e.Sent)
	if w.add(" frames sent"); e.Sent == 1 {
		w.b = append(w.b[:0], "1 frame sent"...)
	}
	count := func(n uint64, what string) {
		w.add(", ")
		w.number(n)
		w.add(what)
	}
	if answers {
		count(e.Answered, " answered")
		count(e.Unanswered, " unanswered")
	}
	if e.NotSent > 0 {
		count(e.NotSent, " not sent")
	}
	if e.Unpaired > 0 {
		count(e.Unpaired, " unpaired")
	}
	if e.Dropped > 0 {
		count(e.Dropped, " dropped by kernel")
	}
}

// A SendJSON prints one JSON object a line.
type SendJSON struct {
	CaptureJSON
	opts SendOptions
}

// NewSendJSON returns a SendJSON that prints to out.
func NewSendJSON(out io.Writer, opts SendOptions) *SendJSON {
	return &SendJSON{CaptureJSON: CaptureJSON{out: out, hex: opts.Hex}, opts: opts}
}

// Start is Sender's.
func (j *SendJSON) Start(at time.Time, ifname string) error {
	j.head("start", at)
	j.line.int("version", jsonVersion)
	j.line.text("interface", ifname)
	j.line.text("link_type", LinkName(j.opts.LinkType))
	return j.end()
}

// Frame always has the bytes: they are what a dry run is for.
func (j *SendJSON) Frame(number uint64, f *craft.Frame) error {
	if j.opts.Quiet {
		return nil
	}
	l := &j.line
	*l = (*l)[:0]
	l.open()
	l.word("event", "frame")
	l.uint("seq", number)
	j.members(f.Bytes, pcapng.LinkType(f.LinkType), true)
	return j.end()
}

// NotSent is Sender's.
func (j *SendJSON) NotSent(number uint64, why error) error {
	if j.opts.Quiet {
		return nil
	}
	j.head("not_sent", time.Now())
	j.line.uint("frame", number)
	j.line.text("reason", why.Error())
	return j.end()
}

// Settle is Sender's: nothing waits.
func (*SendJSON) Settle() error { return nil }

// Exchanged is Sender's.
func (j *SendJSON) Exchanged(e *probe.Exchanged) error {
	if j.opts.Quiet {
		return nil
	}
	event, tries := "unanswered", true
	switch {
	case e.Answered:
		event = "answered"
	case e.Request.Err != nil && e.Request.Tries == 0:
		event, tries = "not_sent", false
	}
	l := &j.line
	j.head(event, time.Now())
	l.uint("seq", e.Request.Seq)
	if tries {
		l.int("tries", e.Request.Tries)
	}
	if e.Request.Err != nil {
		l.text("reason", e.Request.Err.Error())
	}
	if e.Answered {
		if e.More {
			l.yes("more")
		}
		l.ns("rtt_ns", e.RTT)
		l.word("rtt_source", e.RTTSource.String())
	}
	j.object("request", e.Request.Frame)
	if e.Answered {
		data, _ := j.whole(&pcapng.Frame{Frame: e.Reply, LinkType: j.opts.LinkType})
		j.object("reply", data)
	}
	return j.end()
}

// object adds a frame.
func (j *SendJSON) object(name string, data []byte) {
	j.line.name(name)
	j.line.open()
	j.members(data, j.opts.LinkType, j.hex)
	j.line.close()
}

// members adds what a frame is.
func (j *SendJSON) members(data []byte, link pcapng.LinkType, hex bool) {
	l, w := &j.line, &j.words
	l.int("length", len(data))
	found := decode(data, link)
	l.headers(found)
	*w = words{b: w.b[:0]}
	w.frame(found, len(data))
	l.plain("summary", w.b)
	if hex {
		l.name("data")
		*l = append(*l, '"')
		*l = appendHex(*l, data)
		*l = append(*l, '"')
	}
}

// End is Sender's.
func (j *SendJSON) End(e *SendEnd) error {
	j.head("summary", e.Time)
	l := &j.line
	l.uint("sent", e.Sent)
	if j.opts.Answers {
		l.uint("answered", e.Answered)
		l.uint("unanswered", e.Unanswered)
		if j.opts.Multi {
			l.uint("answers", e.rounds)
		}
		l.uint("unpaired", e.Unpaired)
		l.uint("kernel_drops", e.Dropped)
	}
	l.uint("not_sent", e.NotSent)
	if e.why != "" {
		l.text("not_sent_reason", e.why)
	}
	l.uint("queue_full", e.Full)
	l.ns("duration_ns", e.Duration)
	if e.rounds > 0 {
		l.name("rtt_ns")
		l.open()
		l.uint("min", uint64(max(e.shortestRound, 0)))
		l.uint("mean", uint64(max(e.mean(), 0)))
		l.uint("max", uint64(max(e.longestRound, 0)))
		l.close()
	}
	return j.end()
}
