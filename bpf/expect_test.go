package bpf

import (
	"bytes"
	goflag "flag" // flag is a function here
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	cbpf "golang.org/x/net/bpf"
)

// TestAnswers has every frame of the corpus be the answer to every request.
func TestAnswers(t *testing.T) {
	requests, answers := pairRequests(), pairAnswers()
	for name := range answered {
		frameOf(requests, name)
	}
	for _, r := range requests {
		for _, name := range answered[r.name] {
			frameOf(answers, name)
		}
		for _, a := range answers {
			want := slices.Contains(answered[r.name], a.name)
			if got := Answers(a.bytes, Meta{}, r.bytes, false); got != want {
				t.Errorf("%s is answered by %s: %v, want %v", r.name, a.name, got, want)
			}
			if bare(r) && bare(a) && Answers(a.bytes[etherLen:], Meta{}, r.bytes[etherLen:], true) != want {
				t.Errorf("%s is answered by %s without link layer: %v, want %v", r.name, a.name, !want, want)
			}
		}
	}
}

// bare tells whether a frame is the same without its Ethernet header.
func bare(n named) bool {
	typ := uint16(n.bytes[12])<<8 | uint16(n.bytes[13])
	return (typ == etherTypeIPv4 || typ == etherTypeIPv6) && n.name != "echo to a subnet"
}

// Of a frame's tags the kernel has taken the outer one out.
func TestAnswersTags(t *testing.T) {
	requests, answers := pairRequests(), pairAnswers()
	reply := frameOf(answers, "echo reply")
	for _, tt := range []struct {
		request string
		answer  []byte
		meta    Meta
		want    bool
	}{
		{"echo", reply, Meta{VLANPresent: true}, true},
		{"echo", reply, Meta{VLANPresent: true, VLANTCI: 0xe000}, true},
		{"echo", reply, Meta{VLANTCI: 5}, true}, // a tag that is not there
		{"echo", reply, Meta{VLANPresent: true, VLANTCI: 5}, false},
		{"echo in VLAN 5", reply, Meta{VLANPresent: true, VLANTCI: 5}, true},
		{"echo in VLAN 5", reply, Meta{VLANPresent: true, VLANTCI: 0xf005}, true},
		{"echo in VLAN 5", reply, Meta{VLANPresent: true, VLANTCI: 6}, false},
		{"echo in VLAN 5", insertTag(reply, 0), Meta{VLANPresent: true, VLANTCI: 5}, true},
		{"echo in VLAN 5.7", insertTag(reply, 7), Meta{VLANPresent: true, VLANTCI: 5}, true},
		{"echo in VLAN 5.7", insertService(reply, 7), Meta{VLANPresent: true, VLANTCI: 5}, true},
		{"echo in VLAN 5.7", insertTag(reply, 5), Meta{VLANPresent: true, VLANTCI: 7}, false},
		{"echo in VLAN 5.7", insertTag(insertTag(reply, 7), 5), Meta{VLANPresent: true, VLANTCI: 1}, false},
		{"echo in VLAN 5.7", insertTag(insertTag(reply, 7), 5), Meta{VLANPresent: true, VLANTCI: 256}, false},
		{"echo", insertTag(insertTag(reply, 0), 0), Meta{VLANPresent: true, VLANTCI: 256}, false},
	} {
		if got := Answers(tt.answer, tt.meta, frameOf(requests, tt.request), false); got != tt.want {
			t.Errorf("%s, answer with %+v:\n% x\n%v, want %v", tt.request, tt.meta, tt.answer, got, tt.want)
		}
	}
}

func TestQuotes(t *testing.T) {
	requests, answers := pairRequests(), pairAnswers()
	for _, tt := range []struct {
		request, answer string
		want            bool
	}{
		{"echo", "unreachable echo", true},
		{"echo", "redirect of echo", true},
		{"echo", "quoted id changed", false},
		{"echo", "echo reply", false},
		{"echo", "expired echo to another", false},
		{"who-has", "is-at", false},
		{"DNS", "unreachable DNS", true},
		{"UDP", "unreachable UDP", true},
		{"SYN", "expired SYN, whole", true},
		{"keep-alive", "expired SYN", true}, // which differ in what is not quoted
		{"keep-alive", "expired SYN, whole", true},
		{"other protocol", "unknown protocol", true},
		{"IPv6 UDP", "unreachable IPv6 UDP", true},
		{"IPv6 echo with a fragment header", "expired IPv6 fragment", true},
	} {
		r, a := frameOf(requests, tt.request), frameOf(answers, tt.answer)
		if got := Quotes(a, Meta{}, r, false); got != tt.want {
			t.Errorf("%s is quoted by %s: %v, want %v", tt.request, tt.answer, got, tt.want)
		}
	}
	// The UDP checksum tells two datagrams apart that are alike but for data.
	one := frameOf(requests, "UDP")
	two := changed(one, etherLen+ipv4Len+7, 1)
	a := about(two, icmpTimeExceeded, quote4Len)
	if !Answers(a, Meta{}, one, false) || Quotes(a, Meta{}, one, false) || !Quotes(a, Meta{}, two, false) {
		t.Error("an error about another datagram of the same ports is not told apart")
	}
}

// Each request has Keys but those that nothing answers, and no more than are
// allowed for.
func TestKeys(t *testing.T) {
	without := []string{"ARP reply", "own protocol", "later fragment"}
	requests := pairRequests()
	for _, r := range requests {
		n := len(AppendRequestKeys(nil, r.bytes, false))
		if none := slices.Contains(without, r.name); none != (n == 0) || n > MaxRequestKeys {
			t.Errorf("%s: %d keys", r.name, n)
		}
	}
	for _, a := range pairAnswers() {
		if n := len(AppendAnswerKeys(nil, a.bytes, Meta{}, false)); n > MaxAnswerKeys {
			t.Errorf("%s: %d keys", a.name, n)
		}
	}
	seen := make(map[Key]string)
	for _, name := range []string{
		"who-has", "echo", "echo, 2nd", "timestamp", "information", "address mask", "echo to another",
		"SYN", "SYN, wrap", "UDP", "UDP to another port", "DNS", "DNS, 2nd", "other protocol", "another protocol",
		"IPv6 echo", "IPv6 echo, 2nd", "solicitation", "IPv6 SYN", "IPv6 UDP", "IPv6 DNS", "echo in VLAN 5", "echo in VLAN 5.7",
	} {
		for _, k := range AppendRequestKeys(nil, frameOf(requests, name), false) {
			if other, ok := seen[k]; ok && !(other == "DNS" && name == "DNS, 2nd") { // errors quote no identifier
				t.Errorf("%s and %s have a key in common", name, other)
			}
			seen[k] = name
		}
	}
}

// A frame cut anywhere has no more Keys than it can show, and nothing panics.
func TestKeysCut(t *testing.T) {
	for _, n := range slices.Concat(pairRequests(), pairAnswers()) {
		for i := range n.bytes {
			cut := n.bytes[:i:i]
			AppendRequestKeys(nil, cut, false)
			AppendAnswerKeys(nil, cut, Meta{}, false)
			AppendRequestKeys(nil, cut, true)
			AppendAnswerKeys(nil, cut, Meta{}, true)
			Answers(cut, Meta{}, n.bytes, false)
			Quotes(cut, Meta{}, n.bytes, false)
		}
	}
}

func TestExpectConfig(t *testing.T) {
	for _, tt := range []struct {
		cfg  ExpectConfig
		want string
	}{
		{ExpectConfig{}, ""},
		{ExpectConfig{NoLink: true, EtherTypes: []uint16{0x0800, 0x86dd}, MaxKeys: 1}, ""},
		{ExpectConfig{MAC: localMAC, Promiscuous: true, EtherTypes: []uint16{0x0600, 0x0806, 0x88b5, 0xffff}, MaxKeys: 1 << 20}, ""},
		{ExpectConfig{MaxKeys: -1}, "-1 keys at most: not within 0 to 1048576"},
		{ExpectConfig{MaxKeys: 1<<20 + 1}, "1048577 keys at most: not within 0 to 1048576"},
		{ExpectConfig{MAC: groupMAC}, "MAC address 01:00:5e:00:00:01: not a host's"},
		{ExpectConfig{MAC: localMAC, NoLink: true}, "MAC address 02:00:5e:00:53:01: there are none without a link layer"},
		{ExpectConfig{EtherTypes: make([]uint16, 9)}, "9 EtherTypes: not within 0 to 8"},
		{ExpectConfig{EtherTypes: []uint16{0x05ff}}, "EtherType 0x05ff: not within 0x0600 to 0xffff"},
		{ExpectConfig{EtherTypes: []uint16{0x88b5, 0x8100}}, "EtherType 0x8100: that of a VLAN tag"},
		{ExpectConfig{EtherTypes: []uint16{0x88a8}}, "EtherType 0x88a8: that of a VLAN tag"},
		{ExpectConfig{EtherTypes: []uint16{0x0806}, NoLink: true}, "EtherTypes: there are only those of IPv4 and IPv6 without a link layer"},
	} {
		got := ""
		if err := tt.cfg.Validate(); err != nil {
			got = err.Error()
		}
		if tt.want != "" {
			tt.want = "expecting answers: " + tt.want
		}
		if got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.cfg, got, tt.want)
		}
	}
}

// An expectation is a filter as Go and classic BPF have it.
type expectation struct {
	name    string
	cfg     ExpectConfig
	request []named
	keys    map[Key]uint32
	sum     summary
}

func newExpectation(name string, cfg ExpectConfig, requests ...named) *expectation {
	x := &expectation{name: name, cfg: cfg, request: requests, keys: make(map[Key]uint32)}
	for _, k := range x.list() {
		x.keys[k]++
		x.sum.add(k)
	}
	return x
}

// list is all Keys, in their order.
func (x *expectation) list() (keys []Key) {
	for _, r := range x.request {
		b := r.bytes
		if x.cfg.NoLink {
			if !bare(r) {
				continue
			}
			b = b[etherLen:]
		}
		keys = AppendRequestKeys(keys, b, x.cfg.NoLink)
	}
	return keys
}

// classicVM is the classic program, for frames of which the kernel says meta.
func (x *expectation) classicVM(tb testing.TB, meta Meta) *cbpf.VM {
	tb.Helper()
	raw, err := x.sum.classic(&x.cfg)
	if err != nil {
		tb.Fatal(err)
	}
	insns, ok := cbpf.Disassemble(raw)
	if !ok {
		tb.Fatal("not all of the classic program is disassembled")
	}
	vm, err := cbpf.NewVM(withMeta(tb, insns, meta))
	if err != nil {
		tb.Fatal(err)
	}
	return vm
}

// withMeta has a program load constants for what the virtual machine of x/net/bpf
// does not know.
func withMeta(tb testing.TB, insns []cbpf.Instruction, meta Meta) []cbpf.Instruction {
	tb.Helper()
	insns = slices.Clone(insns)
	for i, in := range insns {
		ext, ok := in.(cbpf.LoadExtension)
		if !ok {
			continue
		}
		load := cbpf.LoadConstant{Dst: cbpf.RegA}
		switch ext.Num {
		case cbpf.ExtType:
			load.Val = uint32(meta.PacketType)
		case cbpf.ExtVLANTagPresent:
			if meta.VLANPresent {
				load.Val = 1
			}
		case cbpf.ExtVLANTag:
			load.Val = uint32(meta.VLANTCI)
		case cbpf.ExtLen:
			continue
		default:
			tb.Fatalf("classic program loads extension %d", ext.Num)
		}
		insns[i] = load
	}
	return insns
}

// expectations are each request by itself, many of them, none, and other
// configurations.
func expectations() []*expectation {
	requests := pairRequests()
	only := func(list ...string) (found []named) {
		for _, r := range requests {
			if slices.Contains(list, r.name) {
				found = append(found, r)
			}
		}
		return found
	}
	own := []uint16{0x88b5, 0x88b6, etherTypeARP}
	list := []*expectation{
		newExpectation("nothing", ExpectConfig{}),
		newExpectation("all", ExpectConfig{}, requests...),
		newExpectation("all, of another station", ExpectConfig{MAC: otherMAC}, requests...),
		newExpectation("all, promiscuous", ExpectConfig{Promiscuous: true}, requests...),
		newExpectation("own protocols alone", ExpectConfig{EtherTypes: own}),
		newExpectation("own protocols", ExpectConfig{EtherTypes: own}, only("echo", "echo in VLAN 5")...),
		newExpectation("own protocols in VLAN 5.7", ExpectConfig{EtherTypes: own}, only("echo in VLAN 5.7")...),
		newExpectation("pings", ExpectConfig{}, only("echo", "echo, 2nd", "echo to another")...),
		newExpectation("two families", ExpectConfig{}, only("echo", "SYN", "IPv6 echo", "IPv6 SYN")...),
		newExpectation("two of DNS", ExpectConfig{}, only("DNS", "DNS, 2nd", "mDNS")...),
		newExpectation("routers and echoes", ExpectConfig{}, only("router solicitation", "IPv6 echo", "solicitation")...),
		newExpectation("without link layer", ExpectConfig{NoLink: true}, requests...),
		newExpectation("without link layer, IPv6 whole", ExpectConfig{NoLink: true, EtherTypes: []uint16{etherTypeIPv6}}, only("echo")...),
	}
	for _, r := range requests {
		list = append(list, newExpectation(r.name, ExpectConfig{}, r))
	}
	return list
}

// expectSamples are the frames for them, as a packet socket gets them: the
// corpora, and the frames of the pairs spoilt.
func expectSamples(tb testing.TB) []sample {
	tb.Helper()
	var list []sample
	for _, n := range slices.Concat(pairAnswers(), pairRequests()) {
		s := sample{name: n.name, bytes: n.bytes}
		list = append(list, s)
		if bare(n) {
			list = append(list, sample{name: n.name + " without link layer", bytes: n.bytes[etherLen:], raw: true})
		}
		tagged := s
		tagged.name, tagged.vlan, tagged.tci = s.name+" behind tag 5", true, 5
		list = append(list, tagged)
	}
	for _, n := range pairAnswers() {
		for i := range n.bytes {
			for _, bit := range []byte{0x01, 0x10, 0x80} {
				list = append(list, sample{name: fmt.Sprintf("%s, byte %d ^ %#x", n.name, i, bit), bytes: changed(n.bytes, i, n.bytes[i]^bit)})
			}
			list = append(list, sample{name: fmt.Sprintf("%s, cut at %d", n.name, i), bytes: n.bytes[:i]})
		}
	}
	return append(list, corpus(tb)...)
}

// TestExpectations checks that Go accepts just what has a Key of a request, and
// that the classic program lets that pass, and not everything else.
func TestExpectations(t *testing.T) {
	samples := expectSamples(t)
	for _, x := range expectations() {
		vms := make(map[Meta]*cbpf.VM)
		accepted, passed := 0, 0
		for _, s := range samples {
			if s.raw != x.cfg.NoLink {
				continue
			}
			meta := s.meta()
			want := x.cfg.accepts(s.bytes, meta, x.keys)
			if vms[meta] == nil {
				vms[meta] = x.classicVM(t, meta)
			}
			n, err := vms[meta].Run(s.bytes)
			if err != nil {
				t.Fatal(err)
			}
			if want && n == 0 {
				t.Errorf("%s: the classic program drops %s\n% x", x.name, s.name, s.bytes)
			}
			accepted += count(want)
			passed += count(n != 0)
		}
		t.Logf("%s: %d accepted, %d passed by the classic program", x.name, accepted, passed)
		if len(x.keys) > 0 && accepted == 0 && !slices.Contains(unanswered, x.name) {
			t.Errorf("%s: nothing is accepted", x.name)
		}
	}
}

// unanswered are the requests that have Keys, and not even a frame that is like an
// answer.
var unanswered = []string{"echo reply, unasked"}

// What answers a request passes where it is expected.
func TestAnswersPass(t *testing.T) {
	answers := pairAnswers()
	for _, r := range pairRequests() {
		x := newExpectation(r.name, ExpectConfig{}, r)
		for _, name := range answered[r.name] {
			s := sample{bytes: frameOf(answers, name)}
			if !x.cfg.accepts(s.bytes, s.meta(), x.keys) {
				t.Errorf("%s is answered by %s, which does not pass", r.name, name)
			}
		}
	}
}

// The classic program asks for what all requests have in common.
func TestSummary(t *testing.T) {
	requests, answers := pairRequests(), pairAnswers()
	for _, tt := range []struct {
		expected string // by comma
		answer   []byte
		want     bool
	}{
		{"echo", frameOf(answers, "echo reply"), true},
		{"echo", frameOf(answers, "echo reply, 2nd"), true}, // sequence numbers are not asked for
		{"echo", frameOf(answers, "echo reply with another id"), false},
		{"echo", frameOf(answers, "echo reply of another"), false},
		{"echo", frameOf(answers, "echo reply to another"), false},
		{"echo", frameOf(answers, "echo reply in VLAN 5"), false},
		{"echo", frameOf(answers, "their echo"), false},
		{"echo", frameOf(answers, "SYN-ACK"), false},
		{"echo", frameOf(answers, "is-at"), false},
		{"echo", frameOf(answers, "IPv6 echo reply"), false},
		{"echo", frameOf(answers, "expired SYN"), true}, // nor what is quoted
		{"echo", frameOf(answers, "error for another"), false},
		{"echo,echo to another", frameOf(answers, "echo reply of another"), true},
		{"echo,echo to another", frameOf(answers, "echo reply with another id"), false},
		{"echo,echo in VLAN 5", frameOf(answers, "echo reply in VLAN 6"), true},
		{"SYN", frameOf(answers, "SYN-ACK of nothing"), true},
		{"SYN", frameOf(answers, "UDP"), false},
		{"UDP", frameOf(answers, "UDP to another port"), false},
		{"UDP", frameOf(answers, "UDP from another port"), true},
		{"who-has", frameOf(answers, "is-at"), true},
		{"who-has", frameOf(answers, "is-at of another"), false},
		{"who-has", frameOf(answers, "announcement"), false},
		{"solicitation", frameOf(answers, "advertisement of another"), false},
		{"solicitation", frameOf(answers, "IPv6 echo reply"), false},
		{"IPv6 echo", frameOf(answers, "IPv6 echo reply of another"), false},
		{"IPv6 echo", frameOf(answers, "IPv6 UDP"), false},
		{"IPv6 echo", behind(frameOf(answers, "IPv6 UDP"), protocolFragment), false},
		{"IPv6 echo", frameOf(answers, "IPv6 echo reply behind two headers"), false},
	} {
		var list []named
		for name := range strings.SplitSeq(tt.expected, ",") {
			list = append(list, named{name, frameOf(requests, name)})
		}
		x := newExpectation(tt.expected, ExpectConfig{}, list...)
		s := sample{bytes: tt.answer}
		n, err := x.classicVM(t, s.meta()).Run(tt.answer)
		if err != nil {
			t.Fatal(err)
		}
		if (n != 0) != tt.want {
			t.Errorf("%s: passes: %v, want %v\n% x", tt.expected, n != 0, tt.want, tt.answer)
		}
	}
}

// A program that would tell too much apart lets all of IP and ARP pass.
func TestSummaryAll(t *testing.T) {
	var requests []named
	for p := range uint8(maxClasses) { // each of which is a class, beside that of errors
		requests = append(requests, named{"", fromUs(localIP, peerIP, 100+p, nil)})
	}
	answers := pairAnswers()
	few, many := newExpectation("few", ExpectConfig{}, requests[1:]...), newExpectation("many", ExpectConfig{}, requests...)
	for _, name := range []string{"UDP", "IPv6 UDP", "is-at of another"} {
		b := frameOf(answers, name)
		if n, err := few.classicVM(t, Meta{}).Run(b); n != 0 || err != nil {
			t.Errorf("%s passes a few: %d, %v", name, n, err)
		}
		if n, err := many.classicVM(t, Meta{}).Run(b); n == 0 || err != nil {
			t.Errorf("%s does not pass many: %d, %v", name, n, err)
		}
	}
	if n, err := many.classicVM(t, Meta{}).Run(frameOf(answers, "own protocol")); n != 0 || err != nil {
		t.Errorf("an own protocol passes many: %d, %v", n, err)
	}
	if many.sum.add(AppendRequestKeys(nil, fromUs(otherIP, routerIP, 99, nil), false)[0]) {
		t.Error("what passes anyhow changes the program")
	}
}

// The kernel has its limit for programs, and net.core.optmem_max its own.
func TestSummaryLen(t *testing.T) {
	longest := 0
	for _, x := range expectations() {
		raw, err := x.sum.classic(&x.cfg)
		if err != nil {
			t.Fatal(err)
		}
		longest = max(longest, len(raw))
	}
	t.Logf("%d instructions at the most", longest)
	if longest > 512 {
		t.Errorf("%d instructions, want at most 512", longest)
	}
}

var update = goflag.Bool("update", false, "write testdata/pairs.txt")

// testdata/pairs.txt has the corpus for those who cannot call pairRequests: a
// frame a line, with what it is for, its name and its bytes.
func TestPairsFile(t *testing.T) {
	const path = "testdata/pairs.txt"
	var want bytes.Buffer
	for _, r := range pairRequests() {
		fmt.Fprintf(&want, "request\t%s\t%x\n", r.name, r.bytes)
	}
	for _, a := range pairAnswers() {
		fmt.Fprintf(&want, "answer\t%s\t%x\n", a.name, a.bytes)
	}
	if *update {
		if err := os.WriteFile(path, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Errorf("%s is not what the corpus is (try go test -run PairsFile -update)", path)
	}
}

func TestExpectAllocs(t *testing.T) {
	requests, answers := pairRequests(), pairAnswers()
	x := newExpectation("all", ExpectConfig{}, requests...)
	var buf [8]Key
	if n := testing.AllocsPerRun(10, func() {
		for _, r := range requests {
			AppendRequestKeys(buf[:0], r.bytes, false)
			for _, a := range answers {
				Answers(a.bytes, Meta{}, r.bytes, false)
				Quotes(a.bytes, Meta{}, r.bytes, false)
			}
		}
		for _, a := range answers {
			AppendAnswerKeys(buf[:0], a.bytes, Meta{}, false)
			x.cfg.accepts(a.bytes, Meta{}, x.keys)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzAnswers looks for a frame that answers a request and would not pass.
func FuzzAnswers(f *testing.F) {
	requests, answers := pairRequests(), pairAnswers()
	for _, r := range requests {
		f.Add(r.bytes, r.bytes, uint8(0), false, uint16(0), false)
		for _, name := range answered[r.name] {
			f.Add(frameOf(answers, name), r.bytes, uint8(0), false, uint16(0), false)
		}
	}
	f.Fuzz(func(t *testing.T, answer, request []byte, pkttype uint8, vlan bool, tci uint16, noLink bool) {
		meta := Meta{PacketType: pkttype, VLANPresent: vlan, VLANTCI: tci}
		x := newExpectation("", ExpectConfig{NoLink: noLink, Promiscuous: true})
		for _, k := range AppendRequestKeys(nil, request, noLink) {
			x.keys[k]++
			x.sum.add(k)
		}
		accepted := x.cfg.accepts(answer, meta, x.keys)
		if meta.PacketType <= packetOtherHost && Answers(answer, meta, request, noLink) && !accepted {
			t.Error("an answer does not pass")
		}
		if Quotes(answer, meta, request, noLink) && !Answers(answer, meta, request, noLink) {
			t.Error("a quote is no answer")
		}
		n, err := x.classicVM(t, meta).Run(answer)
		if err != nil {
			t.Fatal(err)
		}
		if accepted && n == 0 {
			t.Error("the classic program drops what is accepted")
		}
	})
}

func BenchmarkKeys(b *testing.B) {
	requests, answers := pairRequests(), pairAnswers()
	var buf [8]Key
	for _, name := range []string{"echo", "SYN", "DNS", "IPv6 echo", "who-has"} {
		r := frameOf(requests, name)
		b.Run("request/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				AppendRequestKeys(buf[:0], r, false)
			}
		})
	}
	for _, name := range []string{"echo reply", "SYN-ACK", "DNS", "IPv6 echo reply", "unreachable echo", "is-at"} {
		a := frameOf(answers, name)
		b.Run("answer/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				AppendAnswerKeys(buf[:0], a, Meta{}, false)
			}
		})
	}
}

func BenchmarkAnswers(b *testing.B) {
	requests, answers := pairRequests(), pairAnswers()
	for _, bb := range [][2]string{{"echo", "echo reply"}, {"SYN", "SYN-ACK"}, {"echo", "unreachable echo"}, {"IPv6 echo", "IPv6 echo reply"}} {
		r, a := frameOf(requests, bb[0]), frameOf(answers, bb[1])
		b.Run(bb[1], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Answers(a, Meta{}, r, false)
			}
		})
	}
}
