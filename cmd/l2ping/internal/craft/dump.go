package craft

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// Dump returns a frame as text, for people: what gopacket makes of it, layer by
// layer with its fields, and the bytes. Checksums that are wrong are marked. The
// lines of bytes are such as FromHex reads. Every line ends with a newline.
func Dump(f Frame) string {
	var b strings.Builder
	if first := decoder(f.LinkType); first != nil {
		p := gopacket.NewPacket(f.Bytes, first, gopacket.DecodeOptions{})
		wrong := wrongChecksums(p)
		for i, l := range p.Layers() {
			// What failed at its first byte left a layer of zeros behind.
			if i+1 < len(p.Layers()) && len(l.LayerContents()) == 0 && l.LayerType() != gopacket.LayerTypeDecodeFailure &&
				p.Layers()[i+1].LayerType() == gopacket.LayerTypeDecodeFailure {
				continue
			}
			if i > 0 && l.LayerType() == gopacket.LayerTypeDecodeFailure && carriesUnknown(p.Layers()[i-1]) {
				break
			}
			correct, isWrong := wrong[i]
			dumpLayer(&b, l, layerDump{wrong: isWrong, correct: correct})
			if carriesUnknown(l) && len(l.LayerPayload()) > 0 {
				fmt.Fprintf(&b, "Payload, %s\n", counted(len(l.LayerPayload()), "byte"))
			}
		}
	}
	dumpBytes(&b, f.Bytes)
	return b.String()
}

// decoder is what a frame starts with, nil if gopacket does not know.
func decoder(link layers.LinkType) gopacket.Decoder {
	switch link {
	case layers.LinkTypeEthernet:
		return layers.LayerTypeEthernet
	case layers.LinkTypeRaw, layers.LinkTypeLinuxSLL, layers.LinkTypeLinuxSLL2, layers.LinkTypeNull, layers.LinkTypeLoop,
		layers.LinkTypePPP, layers.LinkTypeIEEE802_11, layers.LinkTypeIEEE80211Radio:
		return link
	}
	return nil
}

// carriesUnknown tells whether a layer says that it carries what gopacket knows
// nothing of: there is nothing wrong with that.
func carriesUnknown(l gopacket.Layer) bool {
	switch l := l.(type) {
	case *layers.Ethernet:
		return l.EthernetType.LayerType() == gopacket.LayerTypeZero
	case *layers.Dot1Q:
		return l.Type.LayerType() == gopacket.LayerTypeZero
	case *layers.SNAP:
		return l.Type.LayerType() == gopacket.LayerTypeZero
	case *layers.GRE:
		return l.Protocol.LayerType() == gopacket.LayerTypeZero
	case *layers.IPv4:
		return l.Protocol.LayerType() == gopacket.LayerTypeZero
	case *layers.IPv6:
		return l.NextHeader.LayerType() == gopacket.LayerTypeZero
	}
	return false
}

// wrongChecksums are what the checksums of layers should be that are not, by the
// layer's place.
func wrongChecksums(p gopacket.Packet) map[int]uint32 {
	var network gopacket.NetworkLayer
	for _, l := range p.Layers() {
		if n, ok := l.(gopacket.NetworkLayer); ok {
			network = n
		}
		type summed interface {
			SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
		}
		if s, ok := l.(summed); ok && network != nil {
			// It can refuse only a layer that is neither IPv4 nor IPv6.
			_ = s.SetNetworkLayerForChecksum(network)
		}
	}
	wrong := map[int]uint32{}
	for i, l := range p.Layers() {
		if c, ok := l.(gopacket.LayerWithChecksum); ok {
			if err, r := c.VerifyChecksum(); err == nil && !r.Valid {
				wrong[i] = r.Correct
			}
		}
	}
	return wrong
}

func dumpLayer(b *strings.Builder, l gopacket.Layer, d layerDump) {
	if e, ok := l.(gopacket.ErrorLayer); ok {
		fmt.Fprintf(b, "not understood from here on: %s\n", oneLine(e.Error().Error()))
		return
	}
	fmt.Fprintf(b, "%s, %s\n", l.LayerType(), counted(len(l.LayerContents()), "byte"))
	v := reflect.ValueOf(l)
	for v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return
	}
	d.fields(v)
	width := 0
	for _, line := range d.lines {
		width = max(width, len(line[0]))
	}
	for _, line := range d.lines {
		fmt.Fprintf(b, "  %-*s  %s\n", width, line[0], line[1])
	}
}

// A layerDump gathers the fields of a layer: name and value.
type layerDump struct {
	lines   [][2]string
	wrong   bool   // the checksum is
	correct uint32 // what it should be then
}

// fields gathers those that are exported, and those of structs that are embedded.
// Of truth values the true ones are named, on one line; if none is, there is no line.
func (d *layerDump) fields(v reflect.Value) {
	var named []string
	truths := -1
	for i := range v.NumField() {
		f, at := v.Field(i), v.Type().Field(i)
		switch {
		case at.Type == reflect.TypeFor[layers.BaseLayer]() || !at.IsExported() && !at.Anonymous:
		case at.Anonymous && f.Kind() == reflect.Struct:
			d.fields(f)
		case v.Type() == reflect.TypeFor[layers.Ethernet]() && at.Name == "Length" && f.IsZero(): // of 802.3 alone
		case !at.IsExported():
		case f.Kind() == reflect.Bool:
			if truths < 0 {
				truths = len(d.lines)
				d.lines = append(d.lines, [2]string{"set", ""})
			}
			if f.Bool() {
				named = append(named, at.Name)
			}
		default:
			d.field(at.Name, f)
		}
	}
	switch {
	case truths < 0:
	case named == nil:
		d.lines = slices.Delete(d.lines, truths, truths+1)
	default:
		d.lines[truths][1] = strings.Join(named, ", ")
	}
}

func (d *layerDump) field(name string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface, reflect.Map, reflect.Func:
		if v.IsNil() {
			return
		}
		if _, ok := v.Interface().(gopacket.Layer); ok {
			return // it has a place of its own
		}
	case reflect.Slice:
		if v.Len() == 0 {
			return
		}
		if v.Type().Elem().Kind() != reflect.Uint8 && !isStringer(v) {
			for i := range v.Len() {
				d.lines = append(d.lines, [2]string{name, shown(v.Index(i), 0)})
				name = ""
			}
			return
		}
	}
	text := shown(v, 0)
	switch {
	case name == "Checksum" && v.CanUint():
		text = fmt.Sprintf("0x%04x", v.Uint())
		if d.wrong {
			text += fmt.Sprintf(" (wrong, 0x%04x is right)", d.correct)
		}
	case strings.HasSuffix(name, "Port") && v.CanUint():
		text = strconv.FormatUint(v.Uint(), 10)
	case strings.HasSuffix(name, "HwAddress") && v.Kind() == reflect.Slice:
		text = net.HardwareAddr(v.Bytes()).String()
	case strings.HasSuffix(name, "ProtAddress") && v.Kind() == reflect.Slice:
		if a, ok := netip.AddrFromSlice(v.Bytes()); ok {
			text = a.String()
		}
	}
	d.lines = append(d.lines, [2]string{name, text})
}

func isStringer(v reflect.Value) bool {
	_, ok := asStringer(v)
	return ok
}

func asStringer(v reflect.Value) (fmt.Stringer, bool) {
	if !v.CanInterface() {
		return nil, false
	}
	if s, ok := v.Interface().(fmt.Stringer); ok {
		return s, true
	}
	if v.CanAddr() {
		s, ok := v.Addr().Interface().(fmt.Stringer)
		return s, ok
	}
	return nil, false
}

// shown is a value on one line.
func shown(v reflect.Value, depth int) string {
	if depth > 4 {
		return "..."
	}
	if s, ok := asStringer(v); ok && !(v.Kind() == reflect.Pointer && v.IsNil()) {
		text := oneLine(s.String())
		if inner, ok := strings.CutPrefix(text, v.Type().Name()+"("); ok {
			text = strings.TrimSuffix(strings.TrimSuffix(inner, ")"), ":")
		}
		// The number too, unless the name has it.
		if v.CanUint() {
			if text == "" {
				return numbered(v.Uint())
			}
			if n := strconv.FormatUint(v.Uint(), 10); !strings.Contains(text, n) {
				return fmt.Sprintf("%s (%s)", text, numbered(v.Uint()))
			}
		}
		return text
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return "-"
		}
		return shown(v.Elem(), depth+1)
	case reflect.Struct:
		var parts []string
		for i := range v.NumField() {
			f, at := v.Field(i), v.Type().Field(i)
			if !at.IsExported() || f.IsZero() || at.Type == reflect.TypeFor[layers.BaseLayer]() {
				continue
			}
			parts = append(parts, at.Name+" "+shown(f, depth+1))
		}
		return strings.Join(parts, ", ")
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			b := make([]byte, v.Len())
			reflect.Copy(reflect.ValueOf(b), v)
			return shownBytes(b)
		}
		parts := make([]string, 0, v.Len())
		for i := range min(v.Len(), 16) {
			parts = append(parts, shown(v.Index(i), depth+1))
		}
		if v.Len() > 16 {
			parts = append(parts, "...")
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return oneLine(fmt.Sprint(v))
}

// numbered is a number as protocols have it: in hexadecimal from two digits on.
func numbered(n uint64) string {
	if n < 256 {
		return strconv.FormatUint(n, 10)
	}
	return fmt.Sprintf("0x%04x", n)
}

// shownBytes are bytes as text where they are, else in hexadecimal; the first 32. Of
// many zeros it is said that they are.
func shownBytes(b []byte) string {
	rest := ""
	if len(b) > 16 && len(bytes.Trim(b, "\x00")) == 0 {
		return fmt.Sprintf("zeros (%d bytes)", len(b))
	}
	if len(b) > 32 {
		rest = fmt.Sprintf("... (%d bytes)", len(b))
		b = b[:32]
	}
	for _, c := range b {
		if c < 0x20 || c > 0x7e {
			return fmt.Sprintf("%x%s", b, rest)
		}
	}
	return strconv.Quote(string(b)) + rest
}

// oneLine keeps what comes out of a frame from breaking lines, or worse.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		if !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

// dumpBytes writes lines of 16 bytes.
func dumpBytes(w *strings.Builder, b []byte) {
	for at := 0; at < len(b); at += 16 {
		row := b[at:min(at+16, len(b))]
		fmt.Fprintf(w, "%04x ", at)
		for i := range 16 {
			if i == 8 {
				w.WriteByte(' ')
			}
			if i < len(row) {
				fmt.Fprintf(w, " %02x", row[i])
			} else {
				w.WriteString("   ")
			}
		}
		w.WriteString("  |")
		for _, c := range row {
			if c < 0x20 || c > 0x7e {
				c = '.'
			}
			w.WriteByte(c)
		}
		w.WriteString("|\n")
	}
}
