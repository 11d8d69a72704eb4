//go:build linux

package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/l2/frame"
	"github.com/l2ping/l2ping/probe"
)

// echoTimeout is how long the askers wait for answers after the last request. With
// its thread srp counts from the first, and needs echoSending for each besides, which
// is some three times what it takes.
const (
	echoTimeout = 2 * time.Second
	echoSending = time.Millisecond
	// echoLasts is how long a run is to be at least: a call that takes a moment is
	// made again and again, for scapy's do not take less.
	echoLasts = echoTimeout
)

// A volley is echo requests that are asked at once, each to another host.
type volley struct {
	first netip.Addr
	count int
}

// An exchanged is what became of a volley; where it was exchanged several times, the
// least number of answers and the median of each time.
type exchanged struct {
	Calls    int           `json:"calls"`
	Answered int           `json:"answered"`
	Whole    time.Duration `json:"whole_ns"` // of the call, sockets opened and closed and all
	Last     time.Duration `json:"last_ns"`  // from the call to the last answer's arrival
}

// An asker is a way to exchange a volley. A further one is a further entry of
// allAskers.
type asker struct {
	name, note string
	tool       string
	ask        func(context.Context, *bench, *place, volley) (exchanged, error)
}

// allAskers are the ways, l2ping's first.
var allAskers = []asker{
	{name: ours, tool: ours, note: "is probe.Exchange, in this process, called until 2 s have passed; the median call", ask: askOurs},
	{name: "scapy", tool: "scapy", note: "reads no answer before it has sent all requests, as srp is by default", ask: askScapy("plain", 0)},
	{name: "scapy threaded", tool: "scapy", note: "reads while it sends; if the last answer is there before its thread has ended, it waits for the timeout", ask: askScapy("threaded", echoSending)},
	{name: "scapy filtered", tool: "scapy", note: "does so with a filter for echo replies in the kernel", ask: askScapy("filtered", echoSending)},
}

// echoesScript is scapy's part.
//
//go:embed echoes.py
var echoesScript []byte

// askOurs exchanges a volley by the library.
func askOurs(ctx context.Context, _ *bench, p *place, v volley) (exchanged, error) {
	frames, err := v.frames(p)
	if err != nil {
		return exchanged{}, err
	}
	var calls []exchanged
	begun := time.Now()
	for len(calls) == 0 || time.Since(begun) < echoLasts {
		got, err := v.exchange(ctx, p, frames)
		if err != nil {
			return exchanged{}, err
		}
		calls = append(calls, got)
	}
	return ofCalls(calls), nil
}

// ofCalls sums calls up.
func ofCalls(calls []exchanged) exchanged {
	all := exchanged{Calls: len(calls), Answered: calls[0].Answered}
	var wholes, lasts []time.Duration
	for _, c := range calls {
		all.Answered = min(all.Answered, c.Answered)
		wholes, lasts = append(wholes, c.Whole), append(lasts, c.Last)
	}
	all.Whole, all.Last = quantile(wholes, 0.5), quantile(lasts, 0.5)
	return all
}

// exchange does it once.
func (v volley) exchange(ctx context.Context, p *place, frames [][]byte) (got exchanged, err error) {
	err = p.Near.Do(func() error {
		begun := time.Now()
		answered, unanswered, err := probe.Exchange(ctx, "eth0", frames, &probe.ExchangeConfig{Timeout: echoTimeout})
		got.Whole = time.Since(begun)
		if err != nil {
			return err
		}
		if n := len(answered) + len(unanswered); n != v.count {
			return fmt.Errorf("%d of %d requests accounted for", n, v.count)
		}
		got.Answered = len(answered)
		for _, e := range answered {
			got.Last = max(got.Last, time.Duration(e.Reply.Arrival-begun.UnixNano()))
		}
		return nil
	})
	return got, err
}

// frames are the requests of a volley.
func (v volley) frames(p *place) ([][]byte, error) {
	src, err := frame.MACFrom(p.NearMAC)
	if err != nil {
		return nil, err
	}
	dst, err := frame.MACFrom(p.FarMAC)
	if err != nil {
		return nil, err
	}
	frames := make([][]byte, v.count)
	ip := v.first
	for i := range frames {
		echo := frame.Echo{SrcMAC: src, Src: p.NearIP, Dst: ip, ID: uint16(os.Getpid()), TTL: 64, DataLen: 56}
		request, err := echo.Template()
		if err != nil {
			return nil, err
		}
		request.SetDstMAC(dst)
		frames[i] = bytes.Clone(request.Patch(uint64(i) + 1))
		ip = ip.Next()
	}
	return frames, nil
}

// askScapy exchanges a volley by one call of srp, in a process of its own. Its
// timeout is so much longer for each request.
func askScapy(mode string, each time.Duration) func(context.Context, *bench, *place, volley) (exchanged, error) {
	return func(ctx context.Context, b *bench, p *place, v volley) (exchanged, error) {
		script := filepath.Join(b.dir, "echoes.py")
		if err := os.WriteFile(script, echoesScript, 0o644); err != nil {
			return exchanged{}, err
		}
		python := program{path: b.programs["scapy"].path, args: []string{script}}
		_, stdout, stderr, err := b.execute(ctx, p.Near, python, []string{
			"eth0", p.FarMAC.String(), p.NearIP.String(), v.first.String(), strconv.Itoa(v.count), mode,
			seconds(echoTimeout + time.Duration(v.count)*each),
		}, time.Second)
		if err != nil {
			return exchanged{}, fmt.Errorf("%w: %s", err, bytes.TrimSpace(stderr))
		}
		return parseExchanged(stdout)
	}
}

// parseExchanged reads what echoes.py prints.
func parseExchanged(stdout []byte) (exchanged, error) {
	got := exchanged{Calls: 1}
	if err := json.Unmarshal(stdout, &got); err != nil {
		return exchanged{}, fmt.Errorf("output %q: %w", stdout, err)
	}
	if got.Whole <= 0 || got.Answered < 0 || (got.Answered > 0) != (got.Last > 0) {
		return exchanged{}, fmt.Errorf("output %q: times that cannot be", stdout)
	}
	return got, nil
}

// measureEchoes has each asker exchange the same volley, interleaved.
func (b *bench) measureEchoes(ctx context.Context) (_ *echoSection, err error) {
	p, err := manyPlace()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	arrived, who, end, err := answerEchoes(p)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, end()) }()
	v := volley{first: manyBlock.Addr().Next(), count: b.echoes}
	var runs []echoRun
	var out []leftOut
	failed := map[string]bool{}
	for run := 1; run <= b.runs; run++ {
		for _, a := range allAskers {
			if failed[a.name] || b.programs[a.tool].path == "" {
				continue
			}
			fmt.Fprintf(b.progress, "exchange: %s, run %d of %d\n", a.name, run, b.runs)
			r, err := b.attemptEchoes(ctx, p, a, v, arrived)
			r.Run = run
			switch {
			case err == nil:
				runs = append(runs, r)
			case a.tool == ours || ctx.Err() != nil:
				return nil, fmt.Errorf("exchange: %s, run %d: %w", a.name, run, err)
			default:
				fmt.Fprintf(b.progress, "  left out: %v\n", err)
				failed[a.name] = true
				out = append(out, leftOut{a.name, fmt.Sprintf("run %d: %s", run, firstLine(err))})
			}
		}
	}
	s := newEchoSection(v.count, runs, out)
	s.Far = who
	return s, nil
}

// answerEchoes has the far end answer with as little of this machine's time as can
// be, for that of a real far end would not be ours at all: by a program at its
// interface, else by Linux's own stack. It returns how to count the requests that
// have arrived, and who answers.
func answerEchoes(p *place) (arrived func() (int, error), who string, end func() error, err error) {
	r, err := lab.NewReflector(p.Far, "eth0")
	if errors.Is(err, errors.ErrUnsupported) {
		return func() (int, error) { return echoRequests(p.Far) },
			fmt.Sprintf("Linux's own stack answers (%v)", err), func() error { return nil }, nil
	}
	if err != nil {
		return nil, "", nil, err
	}
	return r.Reflected, "a program at the far interface answers", r.Close, nil
}

// attemptEchoes has an asker exchange a volley, of which the far end counts the
// requests.
func (b *bench) attemptEchoes(ctx context.Context, p *place, a asker, v volley, arrived func() (int, error)) (echoRun, error) {
	ctx, cancel := context.WithTimeout(ctx, echoTimeout+toolGrace+time.Duration(v.count)*4*echoSending)
	defer cancel()
	r := echoRun{Tool: a.name}
	before, err := arrived()
	if err != nil {
		return r, err
	}
	busy := readCPUTime()
	if r.exchanged, err = a.ask(ctx, b, p, v); err != nil {
		return r, err
	}
	r.Busy = readCPUTime().busySince(busy)
	after, err := arrived()
	if r.Calls > 0 {
		r.Arrived = (after - before) / r.Calls
	}
	return r, err
}
