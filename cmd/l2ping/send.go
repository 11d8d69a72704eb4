//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/capture/pcapng"
	"github.com/l2ping/l2ping/cmd/l2ping/internal/craft"
	"github.com/l2ping/l2ping/cmd/l2ping/internal/render"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
	"github.com/l2ping/l2ping/probe"
)

// sendFlags are the flags of `l2ping send`.
type sendFlags struct {
	source sourceFlags

	read, hexText, write string
	rounds, mark         uint64
	rate                 float64
	replay, dryRun       bool

	vlans          []frame.VLAN
	gateway        netip.Addr
	dstMAC, srcMAC frame.MAC
	noQdisc        bool

	answers, multi, promiscuous bool
	timeout                     duration
	retry                       int

	link, hex, quiet, json bool
}

func newSend(e *env) *cobra.Command {
	f := &sendFlags{rounds: 1}
	cmd := &cobra.Command{
		Use:   "send -i IFACE [flags] EXPRESSION...",
		Short: "Send frames of your own making, and pair the answers",
		Long: `Send frames from expressions in scapy's manner, from a capture file, or from
hexadecimal digits. What an expression leaves out is filled in: MACs and source
addresses by the kernel's path, lengths, checksums. Lists, ranges and prefixes in it
make a frame of each value. What is given stays as given, wrong or not.
With --answers what comes back is paired with what it answers, and a line printed for
each frame. SIGINT ends with the summary.
Exit status: 0 if all frames were sent, of -c 0 all that there was time for; with
--answers, if there was any answer and the kernel took all frames. 1 if not, 2 where
something is wrong.`,
		Example: `  sudo l2ping send -i eth0 --answers 'ARP(pdst="192.0.2.0/24")'
  sudo l2ping send -i eth0 --answers 'IP(dst="192.0.2.1")/TCP(dport=[22,80,443], flags="S")'
  l2ping send -i eth0 --dry-run 'Ether()/Dot1Q(vlan=5)/IP(dst="192.0.2.1", ttl=3)/ICMP(id=7)'
  sudo l2ping send -i eth0 -r eth0.pcapng --replay
  xxd frame.bin | sudo l2ping send -i eth0 --hex - -c 1000 --rate 100`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.send(cmd, f, args)
		},
	}
	f.add(cmd)
	return cmd
}

func (f *sendFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.StringVarP(&f.source.name, "interface", "i", "", "`interface` to send on")
	f.source.addNetns(cmd)
	fl.VarP((*fileFlag)(&f.read), "read", "r", "send the frames of this pcap or pcapng `file`; - is standard input")
	fl.StringVar(&f.hexText, "hex", "", "send frames given as hexadecimal `digits`, or as a dump of them; - reads standard input")
	fl.VarP(&number{value: &f.rounds, max: math.MaxInt64}, "count", "c", "send all of them so many `times` (1); 0 is until interrupted")
	fl.Var(&parsed[float64]{value: &f.rate, parse: parseRate}, "rate", "`frames` a second at most (as fast as it goes)")
	fl.BoolVar(&f.replay, "replay", false, "with -r, as far apart as they were captured")
	fl.BoolVarP(&f.dryRun, "dry-run", "n", false, "show the frames, layer by layer and in hex, and send nothing")
	fl.VarP(&parsed[netip.Addr]{value: &f.source.source, parse: parseAddr}, "source", "S", "source `address`; with --answers one that is not this host's is answered for")
	fl.Var(&parsed[netip.Addr]{value: &f.gateway, parse: parseAddr}, "gateway", "the next hop, whatever routing says: an `address`")
	fl.Var(&parsed[[]frame.VLAN]{value: &f.vlans, parse: parseVLANs}, "vlan", "802.1Q `tags` for frames that have none, outer first: VID[.PCP][,VID[.PCP]]; of two the outer is 802.1ad's")
	fl.Var(&parsed[frame.MAC]{value: &f.dstMAC, parse: parseMAC}, "dst-mac", "the `MAC` that frames go to, in place of the next hop's")
	fl.Var(&parsed[frame.MAC]{value: &f.srcMAC, parse: parseMAC}, "src-mac", "the `MAC` that frames come from, in place of the interface's")
	fl.Var(&number{value: &f.mark, max: math.MaxUint32}, "mark", "the firewall `mark` that policy routing goes by, and that frames bear")
	fl.BoolVar(&f.noQdisc, "no-qdisc", false, "past the interface's queueing discipline: faster, and unseen by tc and by captures here")
	fl.BoolVar(&f.answers, "answers", false, "pair what comes back, and tell what did not")
	fl.VarP(&f.timeout, "timeout", "W", "with --answers, the `time` that a frame is waited for (2s)")
	fl.Var(&parsed[int]{value: &f.retry, parse: parseRetry}, "retry", "with --answers, send so many `times` again what nobody answers; below 0, in rounds until so many in a row brought nothing")
	fl.BoolVar(&f.multi, "multi", false, "with --answers, take all answers to a frame, and not the first alone")
	fl.BoolVar(&f.promiscuous, "promiscuous", false, "with --answers, take those to other MACs too")
	fl.VarP((*fileFlag)(&f.write), "write", "w", "write what was sent, and what answered, to this pcapng `file`")
	fl.BoolVarP(&f.link, "link", "e", false, "print MACs, EtherTypes and whole lengths")
	fl.BoolVarP(&f.hex, "bytes", "x", false, "print the bytes of each frame too")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "print the summary alone")
	fl.BoolVar(&f.json, "json", false, "print one JSON object a line")
	fl.BoolP("help", "h", false, "print this")
}

// parseRate reads frames a second.
func parseRate(s string) (float64, error) {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || !(v >= 1e-6 && v <= 1e8) {
		return 0, errors.New("not a number of frames a second from 0.000001 to 100000000")
	}
	return v, nil
}

// parseRetry reads how often a frame is sent again.
func parseRetry(s string) (int, error) {
	v, err := strconv.ParseInt(s, 10, 32)
	if err != nil {
		return 0, errors.New("not a whole number such as 3, or -3")
	}
	return int(v), nil
}

// interval is the time from frame to frame; 0 is none.
func (f *sendFlags) interval() time.Duration {
	if f.rate == 0 {
		return 0
	}
	return max(time.Duration(float64(time.Second)/f.rate), 1)
}

// check says which flags and arguments do not go together.
func (f *sendFlags) check(expressions []string) error {
	given := 0
	for _, is := range []bool{len(expressions) > 0, f.read != "", f.hexText != ""} {
		if is {
			given++
		}
	}
	switch {
	case given == 0:
		return errors.New("nothing to send: give an expression such as 'ARP(pdst=\"192.0.2.1\")', -r FILE, or --hex DIGITS")
	case given > 1:
		return errors.New("frames come from expressions, from -r or from --hex: from one of them")
	case len(expressions) == 0 && (len(f.vlans) > 0 || f.gateway.IsValid() || f.source.source.IsValid() || !f.dstMAC.IsZero() || !f.srcMAC.IsZero()):
		return errors.New("--vlan, --gateway, -S, --dst-mac and --src-mac fill in what expressions leave out: other frames are sent as they are")
	case f.replay && f.read == "":
		return errors.New("--replay: only the frames of a file (-r) have times")
	case f.replay && f.rate > 0:
		return errors.New("--replay and --rate: only one of them can be meant")
	case f.read == "-" && f.rounds != 1:
		return errors.New("-r -: standard input can be read once (-c 1)")
	case f.dryRun && (f.answers || f.write != "" || f.rounds != 1):
		return errors.New("--dry-run sends nothing: --answers, -w and -c mean nothing with it")
	case !f.answers && (f.timeout > 0 || f.retry != 0 || f.multi || f.promiscuous):
		return errors.New("-W, --retry, --multi and --promiscuous are about answers: --answers waits for them")
	case f.answers && f.rate > 0 && f.interval() < probe.MinInterval:
		return fmt.Errorf("--rate: with --answers %d a second at most, or none given", time.Second/probe.MinInterval)
	case f.srcMAC.IsGroup():
		return fmt.Errorf("--src-mac %s: a group sends nothing", f.srcMAC)
	case f.write == "-":
		return errors.New("-w -: standard output has the lines")
	}
	return nil
}

// A sending is the subcommand at work.
type sending struct {
	*sendFlags
	e     *env
	ctx   context.Context // ends with the interrupt, and by quit
	quit  context.CancelFunc
	ifc   *l2.Interface // nil in a dry run that needs none
	link  craft.Link
	way   *sendWay // of expressions
	round func() iter.Seq2[craft.Frame, error]
	// of is which of several expressions the frame is of that is made, as in a place.
	of int
	at place // of the last frame that was made
	// complete is whether all frames of all rounds were made.
	complete bool
	// unsettled is whether there are frames that were not sent and are not told of.
	unsettled bool

	input     readable // what -r names; nil for standard input
	begunFile bool     // it was read from
	live      bool     // the frames may be long in coming: they come by a pipe
	// idle is called before something is waited for; nil where nobody cares.
	idle func()

	pace  pace
	watch *l2.Watch // nil until frames are about to be sent
	// lately is the link as it was when the kernel last refused a frame.
	lately craft.Link
	file   *sendFile // nil without -w
	facts  pcapng.Interface
	began  time.Time

	// For pairing: addresses that answers find this host by, and whether it was told
	// that those to another do not.
	found   []netip.Addr
	foreign bool

	// mu guards all below: answers are told while frames are made.
	mu     sync.Mutex
	out    *bufio.Writer
	render render.Sender
	flush  *time.Timer // nil if nothing waits to be printed
	wrong  error       // the first of printing
	counts render.SendEnd
	// refused counts requests that the kernel took at no try. They are among
	// counts.NotSent.
	refused uint64
}

// send is the work of the subcommand.
func (e *env) send(cmd *cobra.Command, f *sendFlags, args []string) (err error) {
	if err := f.check(args); err != nil {
		return usageError(cmd, err)
	}
	s := &sending{
		sendFlags: f, e: e, out: bufio.NewWriterSize(e.stdout, 1<<16), began: time.Now(),
		pace: pace{interval: f.interval(), rate: f.rate, replay: f.replay},
	}
	s.ctx, s.quit = context.WithCancel(cmd.Context())
	defer func() {
		s.quit()
		err = firstError(err, s.close())
	}()
	e.gateway = true
	expressions, err := e.parseExpressions(args)
	if err != nil {
		return err
	}
	if err := f.sourceFits(expressions); err != nil {
		return err
	}
	if f.source.name != "" || !f.dryRun || len(args) > 0 {
		if err := f.source.inNetns(s.open); err != nil {
			return err
		}
	}
	if err := s.from(expressions); err != nil {
		return err
	}
	if s.write != "" {
		outliveReaders()
		s.file = &sendFile{files: captureFiles{
			name: s.write, header: pcapng.Config{Application: "l2ping " + buildVersion(), OS: "Linux"},
			open:  func(name string) (frameFile, error) { return createFile(s.ctx, name) },
			first: s.facts,
		}}
	}
	opts := render.SendOptions{LinkType: s.facts.LinkType, Link: f.link, Hex: f.hex, Quiet: f.quiet, Answers: f.answers, Multi: f.multi}
	if s.render = render.NewSend(s.out, opts); f.json {
		s.render = render.NewSendJSON(s.out, opts)
	}
	switch {
	case f.dryRun:
		return s.show()
	case f.answers:
		return s.exchange()
	}
	return s.plain()
}

// open finds the interface. It has to be called in the network namespace of that.
func (s *sending) open() (err error) {
	if s.ifc, err = l2.InterfaceByName(s.source.name); err != nil {
		if missing := (*l2.NoInterfaceError)(nil); s.source.name == "" && errors.As(err, &missing) {
			return fmt.Errorf("no interface given: -i names it (there is %s)", missing.There())
		}
		return err
	}
	if err := s.ifc.Usable(); err != nil && !s.dryRun {
		return err
	}
	if s.ifc.NoLink && (len(s.vlans) > 0 || !s.dstMAC.IsZero() || !s.srcMAC.IsZero()) {
		return fmt.Errorf("%s has no link layer: no MACs (--src-mac, --dst-mac) and no tags (--vlan)", s.ifc.Name)
	}
	s.link = craft.Link{MAC: s.ifc.Owner().MAC, NoLink: s.ifc.NoLink, MTU: s.ifc.MTU}
	if !s.srcMAC.IsZero() {
		s.link.MAC = s.srcMAC
	}
	s.facts = pcapng.InterfaceOf(s.ifc)
	s.way, err = openSendWay(s)
	return err
}

func (s *sending) close() error {
	var errs []error
	if s.input != nil {
		errs = append(errs, s.input.Close())
	}
	if s.watch != nil {
		errs = append(errs, s.watch.Close())
	}
	if s.way != nil {
		errs = append(errs, s.way.close())
	}
	return errors.Join(errs...)
}

// sourceFits tells whether -S is of a family that an expression bears.
func (f *sendFlags) sourceFits(expressions []*craft.Expression) error {
	own := f.source.source
	if !own.IsValid() || slices.ContainsFunc(expressions, func(x *craft.Expression) bool { return x.Bears(own.Is4()) }) {
		return nil
	}
	family, layers := "IPv6", "IPv6()"
	if own.Is4() {
		family, layers = "IPv4", "IP() or ARP()"
	}
	return fmt.Errorf("-S %s: there is no %s in what is sent (%s)", own, family, layers)
}

// parseExpressions reads expressions. What is wrong with one is told with its place
// marked.
func (e *env) parseExpressions(args []string) (all []*craft.Expression, err error) {
	for i, text := range args {
		x, err := craft.Parse(text)
		if place := (*craft.PlaceError)(nil); errors.As(err, &place) {
			fmt.Fprintf(e.stderr, "l2ping: %s\n", e.explain(ofExpression(nth(i, len(args)), err)))
			if !strings.ContainsFunc(text, func(r rune) bool { return !strconv.IsPrint(r) }) {
				fmt.Fprintf(e.stderr, "%s\n%s^\n", text, strings.Repeat(" ", place.At-1))
			}
			return nil, errSaid
		}
		if err != nil {
			return nil, err
		}
		all = append(all, x)
	}
	return all, nil
}

// nth is which of several an expression is, from 1, and 0 where there are not several.
func nth(i, several int) int {
	if several < 2 {
		return 0
	}
	return i + 1
}

// ofExpression says which expression, of several, an error is of. A place is one in it
// anyway.
func ofExpression(n int, err error) error {
	place := (*craft.PlaceError)(nil)
	switch here := errors.As(err, &place); {
	case here && n > 0:
		return fmt.Errorf("expression %d %w", n, err)
	case here:
		return fmt.Errorf("expression %w", err)
	case n > 0:
		return fmt.Errorf("expression %d: %w", n, err)
	}
	return err
}

// show is a dry run.
func (s *sending) show() error {
	number, made := uint64(0), uint64(0)
	for f, err := range s.frames() {
		number++
		switch {
		case isPassedOver(err) && s.json:
			s.notSent(number, err)
			err = nil
		case isPassedOver(err):
			// Standard output has frames, and may be read as such.
			s.counts.NotSent++
			fmt.Fprintf(s.e.stderr, "l2ping: frame %d cannot be sent: %s\n", number, s.e.explain(err))
			err = nil
		case err == nil:
			made++
			s.print(func() error { return s.render.Frame(made, &f) })
		}
		if err == nil {
			err = s.failed()
		}
		if err != nil {
			return firstError(err, outputError(s.out.Flush()))
		}
		if s.ctx.Err() != nil {
			break
		}
	}
	s.flushOut()
	if s.counts.NotSent > 0 || !s.complete {
		s.e.exit = exitNoReply
	}
	return s.failed()
}

// How long a line waits to be printed with others.
const sendDelay = 10 * time.Millisecond

// print has something printed, soon.
func (s *sending) print(what func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wrong != nil {
		return
	}
	s.wrong = outputError(what())
	if s.flush == nil && s.out.Buffered() > 0 {
		s.flush = time.AfterFunc(sendDelay, s.flushOut)
	}
}

func (s *sending) flushOut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flush = nil
	if err := s.out.Flush(); s.wrong == nil {
		s.wrong = outputError(err)
	}
}

// failed is the first error of printing.
func (s *sending) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wrong
}

// waits says that something is about to be waited for.
func (s *sending) waits() {
	if s.idle != nil {
		s.idle()
	}
}

// notSent tells of a frame that nobody was there for.
func (s *sending) notSent(number uint64, why error) {
	s.unsettled = true
	s.print(func() error {
		s.counts.Unsent(why)
		return s.render.NotSent(number, why)
	})
}

// settle tells of all frames that were not sent so far.
func (s *sending) settle() {
	if s.unsettled {
		s.unsettled = false
		s.print(s.render.Settle)
	}
}

// begin tells that frames are sent.
func (s *sending) begin() {
	s.began = time.Now()
	s.print(func() error { return s.render.Start(s.began, s.ifc.Name) })
}

// tellStatus tells what was counted so far at each SIGQUIT until the function that it
// returns is called.
func (s *sending) tellStatus(now func() render.SendEnd) (end func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-s.e.status:
				counted := now()
				_, _ = io.WriteString(s.e.stderr, render.SendStatus(&counted, s.answers))
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		wg.Wait()
	}
}

// keep writes a frame to the file, if there is one. id is the same for a request and
// its answers.
func (s *sending) keep(f *capture.Frame, id uint64) error {
	if s.file == nil {
		return nil
	}
	return s.file.write(&pcapng.Frame{Frame: *f, LinkType: s.facts.LinkType}, &s.facts, &pcapng.Options{PacketID: id})
}

// keepSent writes a frame that left.
func (s *sending) keepSent(b []byte, at int64, id uint64) error {
	return s.keep(&capture.Frame{Data: b, Length: len(b), Arrival: at, PacketType: capture.PacketOutgoing}, id)
}

// finish ends the file, and tells what was counted unless there is nothing to tell.
func (s *sending) finish(before error) error {
	err := before
	if s.file != nil {
		err = s.file.finish(before)
	}
	s.print(func() error {
		s.counts.Time = time.Now()
		s.counts.Duration = s.counts.Time.Sub(s.began)
		if before != nil && s.counts.Sent == 0 && !s.json {
			return s.render.Settle()
		}
		return s.render.End(&s.counts)
	})
	s.flushOut()
	return firstError(err, s.failed())
}
