//go:build linux

package render

import (
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/capture/pcapng"
	"github.com/l2ping/l2ping/cmd/l2ping/internal/craft"
	"github.com/l2ping/l2ping/l2/frame"
)

// CaptureOptions say what a Capture shows.
type CaptureOptions struct {
	Link    bool // the MACs, the EtherType and the whole length
	Hex     bool // the bytes
	Verbose bool // each layer with its fields
	// Location is the time zone of the times; nil is the host's.
	Location *time.Location
}

// A Capture prints captured frames as `tcpdump -n -S` does, one line each: when it
// was there in nanoseconds, which way it went, and what it is. There may be more
// lines below it, which begin with white space. What a frame holds never breaks a
// line.
type Capture struct {
	out   io.Writer
	opts  CaptureOptions
	words words
	tagged
}

// NewCapture returns a Capture that prints to out.
func NewCapture(out io.Writer, opts CaptureOptions) *Capture {
	if opts.Location == nil {
		opts.Location = time.Local
	}
	return &Capture{out: out, opts: opts}
}

// Frame prints a frame. The error is the writer's.
func (c *Capture) Frame(f *pcapng.Frame) error {
	data, length := c.whole(f)
	w := &c.words
	*w = words{b: w.b[:0], link: c.opts.Link}
	if at := stampOf(f); at != 0 {
		w.b = time.Unix(0, at).In(c.opts.Location).AppendFormat(w.b, "15:04:05.000000000")
	} else {
		w.add("--:--:--.---------") // a file may tell no times
	}
	w.addf(" %-3s ", directionOf(f))
	if layers := decode(data, f.LinkType); layers != nil {
		w.frame(layers, length)
	} else {
		w.add("link-type ")
		w.add(LinkName(f.LinkType))
		w.length(length)
	}
	for _, comment := range f.Comments {
		w.add("  # ")
		w.text([]byte(comment))
	}
	w.add("\n")
	if c.opts.Verbose {
		w.dump(data, f.LinkType)
	}
	if c.opts.Hex {
		w.hex(data)
	}
	_, err := c.out.Write(w.b)
	return err
}

// tagged puts VLAN tags back that the kernel has taken off frames.
type tagged struct{ room []byte }

const macsLen = 2 * len(frame.MAC{})

// whole is the frame as the wire had it, as far as it was captured, and how long it
// was. It is valid until the next.
func (t *tagged) whole(f *pcapng.Frame) (data []byte, length int) {
	data, length = f.Data, max(f.Length, len(f.Data))
	if !f.VLAN.Present || f.LinkType != pcapng.LinkEthernet || len(data) < macsLen {
		return data, length
	}
	t.room = append(t.room[:0], data[:macsLen]...)
	t.room = append(t.room, byte(f.VLAN.Type>>8), byte(f.VLAN.Type), byte(f.VLAN.TCI>>8), byte(f.VLAN.TCI))
	t.room = append(t.room, data[macsLen:]...)
	return t.room, length + 4
}

// stampOf is when a frame was there, in nanoseconds since 1970; 0 if nobody knows.
func stampOf(f *pcapng.Frame) int64 {
	if f.Arrival == 0 {
		return f.Hardware
	}
	return f.Arrival
}

// directionOf is tcpdump's word for the way of a frame, and whom it was for.
func directionOf(f *pcapng.Frame) string {
	switch f.PacketType {
	case capture.PacketHost:
		return "In"
	case capture.PacketBroadcast:
		return "B"
	case capture.PacketMulticast:
		return "M"
	case capture.PacketOtherHost:
		return "P"
	case capture.PacketOutgoing:
		return "Out"
	}
	switch f.Direction {
	case capture.DirectionIn:
		return "In"
	case capture.DirectionOut:
		return "Out"
	}
	return "?"
}

// dump adds the layers with their fields, as `l2ping send --dry-run` shows them.
func (w *words) dump(data []byte, link pcapng.LinkType) {
	if link == linkIPv4 || link == linkIPv6 {
		link = pcapng.LinkRaw
	}
	text := craft.Dump(craft.Frame{Bytes: data, LinkType: layers.LinkType(link)})
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "0000  ") {
			break // the bytes
		}
		w.add("\t")
		w.add(line)
	}
}

// hex adds lines of 16 bytes, each with its offset, as `l2ping send` reads them.
func (w *words) hex(data []byte) {
	const digits = "0123456789abcdef"
	for at := 0; at < len(data); at += 16 {
		row := data[at:min(at+16, len(data))]
		w.b = append(w.b, '\t', digits[at>>12&15], digits[at>>8&15], digits[at>>4&15], digits[at&15], ' ')
		for i := range 16 {
			if i == 8 {
				w.b = append(w.b, ' ')
			}
			if i < len(row) {
				w.b = append(w.b, ' ', digits[row[i]>>4], digits[row[i]&15])
			} else {
				w.add("   ")
			}
		}
		w.add("  |")
		for _, c := range row {
			if c < 0x20 || c > 0x7e {
				c = '.'
			}
			w.b = append(w.b, c)
		}
		w.add("|\n")
	}
}

// CaptureJSON prints captured frames as one JSON object a line.
type CaptureJSON struct {
	out   io.Writer
	hex   bool
	line  line
	words words
	tagged
}

// NewCaptureJSON returns a CaptureJSON that prints to out, with the bytes if so
// asked.
func NewCaptureJSON(out io.Writer, hex bool) *CaptureJSON { return &CaptureJSON{out: out, hex: hex} }

// A CaptureStart is what is told of a capture before its first frame.
type CaptureStart struct {
	Time      time.Time
	Interface string // or
	File      string
	LinkType  pcapng.LinkType // of an interface
	// SnapLen is how many bytes of each frame are kept; 0 is not told.
	SnapLen     int
	Filter      string
	Direction   capture.Direction
	Promiscuous bool
	// Fallback says why there is no ring; nil if there is one.
	Fallback error
}

// Start prints what is known ahead of all frames. The error is the writer's, as of
// all methods.
func (j *CaptureJSON) Start(s *CaptureStart) error {
	j.head("start", s.Time)
	l := &j.line
	l.int("version", jsonVersion)
	if s.Interface != "" {
		l.text("interface", s.Interface)
		l.text("link_type", LinkName(s.LinkType))
		l.word("direction", s.Direction.String())
	}
	if s.File != "" {
		l.text("file", s.File)
	}
	if s.SnapLen > 0 {
		l.int("snap_length", s.SnapLen)
	}
	if s.Filter != "" {
		l.plain("filter", []byte(s.Filter))
	}
	if s.Promiscuous {
		l.yes("promiscuous")
	}
	if s.Fallback != nil {
		l.text("ring_reason", s.Fallback.Error())
	}
	return j.end()
}

// Frame prints a frame; ifname is what the interface is called that it was captured
// on, if that is known.
func (j *CaptureJSON) Frame(f *pcapng.Frame, number uint64, ifname string) error {
	data, length := j.whole(f)
	l := &j.line
	*l = (*l)[:0]
	l.open()
	l.word("event", "frame")
	if at := stampOf(f); at != 0 {
		l.time(time.Unix(0, at))
	}
	l.uint("number", number)
	if ifname != "" {
		l.text("interface", ifname)
	}
	if f.Hardware != 0 {
		l.name("hardware_ns")
		*l = strconv.AppendInt(*l, f.Hardware, 10)
	}
	direction := f.Direction
	if f.PacketType != capture.PacketUnknown {
		direction = f.PacketType.Direction()
		l.word("packet_type", f.PacketType.String())
	}
	if direction != capture.DirectionBoth {
		l.word("direction", direction.String())
	}
	l.int("length", length)
	l.int("captured", len(data))
	found := decode(data, f.LinkType)
	l.headers(found)
	w := &j.words
	*w = words{b: w.b[:0]}
	if found != nil {
		w.frame(found, length)
	} else {
		w.add("link-type ")
		w.add(LinkName(f.LinkType))
	}
	l.plain("summary", w.b)
	if len(f.Comments) > 0 {
		l.value("comments", f.Comments)
	}
	if f.PacketID != 0 {
		l.uint("packet_id", f.PacketID)
	}
	if f.Dropped != 0 {
		l.uint("dropped", f.Dropped)
	}
	if j.hex {
		l.name("data")
		*l = append(*l, '"')
		*l = appendHex(*l, data)
		*l = append(*l, '"')
	}
	return j.end()
}

// plain is text, for text with signs that encoding/json escapes for the sake of HTML.
func (l *line) plain(name string, s []byte) {
	l.name(name)
	*l = append(*l, '"')
	for len(s) > 0 {
		r, n := utf8.DecodeRune(s)
		switch {
		case r == '"' || r == '\\':
			*l = append(*l, '\\', byte(r))
		case r < ' ':
			*l = append(*l, `\u00`...)
			*l = appendHex(*l, s[:1])
		default:
			*l = utf8.AppendRune(*l, r) // U+FFFD for what is none
		}
		s = s[n:]
	}
	*l = append(*l, '"')
}

func appendHex(b, data []byte) []byte {
	const digits = "0123456789abcdef"
	b = slices.Grow(b, 2*len(data))
	for _, c := range data {
		b = append(b, digits[c>>4], digits[c&15])
	}
	return b
}

// headers adds the addresses of the outer headers, and the names of all layers.
func (l *line) headers(ls []gopacket.Layer) {
	tags := 0
	var network, transport bool
	for i, layer := range ls {
		if undecoded(ls[i:]) {
			ls = ls[:i]
			break
		}
		switch h := layer.(type) {
		case *layers.Ethernet:
			if i > 0 {
				continue
			}
			l.mac("source_mac", frame.MAC(h.SrcMAC))
			l.mac("destination_mac", frame.MAC(h.DstMAC))
			if h.EthernetType != layers.EthernetTypeLLC {
				l.uint("ether_type", uint64(h.EthernetType))
			}
		case *layers.Dot1Q:
			if tags++; tags > 2 || network {
				continue
			}
			prefix := ""
			if tags == 2 {
				prefix = "inner_"
			}
			// 0 is a value of either: a tag of no VLAN is there for its priority, which
			// may be the lowest.
			l.uint(prefix+"vlan", uint64(h.VLANIdentifier))
			l.uint(prefix+"vlan_priority", uint64(h.Priority))
		case *layers.ARP:
			if network || len(h.SourceProtAddress) != 4 || len(h.DstProtAddress) != 4 {
				continue
			}
			network = true
			l.ends(h.SourceProtAddress, h.DstProtAddress)
		case *layers.IPv4:
			if network {
				continue
			}
			network = true
			l.ends(h.SrcIP, h.DstIP)
			l.uint("protocol", uint64(h.Protocol))
		case *layers.IPv6:
			if network {
				continue
			}
			network = true
			l.ends(h.SrcIP, h.DstIP)
			l.uint("protocol", uint64(upper6(h, ls[i+1:])))
		case *layers.TCP:
			l.ports(&transport, uint16(h.SrcPort), uint16(h.DstPort))
		case *layers.UDP:
			l.ports(&transport, uint16(h.SrcPort), uint16(h.DstPort))
		case *layers.SCTP:
			l.ports(&transport, uint16(h.SrcPort), uint16(h.DstPort))
		}
	}
	if len(ls) == 0 {
		return
	}
	l.name("layers")
	*l = append(*l, '[')
	for i, layer := range ls {
		if i > 0 {
			*l = append(*l, ',')
		}
		*l = append(*l, '"')
		*l = append(*l, layer.LayerType().String()...)
		*l = append(*l, '"')
	}
	*l = append(*l, ']')
}

// upper6 is the protocol behind the extension headers, as far as they are there.
func upper6(ip *layers.IPv6, ls []gopacket.Layer) layers.IPProtocol {
	next := ip.NextHeader
	for _, layer := range ls {
		switch h := layer.(type) {
		case *layers.IPv6HopByHop:
			next = h.NextHeader
		case *layers.IPv6Destination:
			next = h.NextHeader
		case *layers.IPv6Routing:
			next = h.NextHeader
		case *layers.IPv6Fragment:
			return h.NextHeader
		default:
			return next
		}
	}
	return next
}

func (l *line) ends(src, dst []byte) {
	for _, end := range [...]struct {
		name string
		ip   []byte
	}{{"source", src}, {"destination", dst}} {
		l.name(end.name)
		*l = append(*l, '"')
		w := words{b: *l}
		w.ip(end.ip)
		*l = append(line(w.b), '"')
	}
}

func (l *line) ports(done *bool, src, dst uint16) {
	if *done {
		return
	}
	*done = true
	l.uint("source_port", uint64(src))
	l.uint("destination_port", uint64(dst))
}

// A CaptureChange is that an interface went down, or came up again, while frames are
// captured.
type CaptureChange struct {
	Time      time.Time
	Interface string
	Up        bool
}

// Change prints it.
func (j *CaptureJSON) Change(c *CaptureChange) error {
	j.head("change", c.Time)
	state := "down"
	if c.Up {
		state = "up"
	}
	j.line.word("what", state)
	j.line.text("interface", c.Interface)
	return j.end()
}

// A CaptureEnd is what is told of a capture behind its last frame.
type CaptureEnd struct {
	Time     time.Time
	Captured uint64
	// Counted says that a kernel has counted Received and Dropped.
	Counted           bool
	Received, Dropped uint64
	// Files were written, with so many frames; 0 where no frame was to be written.
	Files    int
	Written  uint64
	Duration time.Duration
}

// End prints what was counted.
func (j *CaptureJSON) End(e *CaptureEnd) error {
	j.head("summary", e.Time)
	l := &j.line
	l.uint("captured", e.Captured)
	if e.Counted {
		l.uint("received", e.Received)
		l.uint("kernel_drops", e.Dropped)
	}
	if e.Files > 0 {
		l.int("files", e.Files)
		l.uint("written", e.Written)
	}
	l.ns("duration_ns", e.Duration)
	return j.end()
}

func (j *CaptureJSON) head(event string, at time.Time) {
	j.line = j.line[:0]
	j.line.open()
	j.line.word("event", event)
	j.line.time(at)
}

func (l *line) time(at time.Time) {
	l.name("time")
	*l = append(*l, '"')
	*l = at.UTC().AppendFormat(*l, "2006-01-02T15:04:05.000000000Z07:00")
	*l = append(*l, '"')
}

func (j *CaptureJSON) end() error {
	j.line.close()
	j.line = append(j.line, '\n')
	_, err := j.out.Write(j.line)
	return err
}
