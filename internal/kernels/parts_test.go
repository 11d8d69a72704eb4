//go:build !kernels

package kernels

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

// readArchive reads an archive in the format newc: its files as "mode name
// data", in their order.
func readArchive(t *testing.T, b []byte) []string {
	t.Helper()
	offset := 0
	take := func(n int) []byte {
		if n < 0 || offset+n > len(b) {
			t.Fatalf("%d bytes at %d of %d", n, offset, len(b))
		}
		defer func() { offset += n }()
		return b[offset : offset+n]
	}
	pad := func() { take((4 - offset%4) % 4) }
	var all []string
	for {
		if magic := string(take(6)); magic != "070701" {
			t.Fatalf("%q at %d is no header", magic, offset-6)
		}
		var fields [13]int
		for i := range fields {
			v, err := strconv.ParseUint(string(take(8)), 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			fields[i] = int(v)
		}
		name := string(take(fields[11]))
		pad()
		data := string(take(fields[6]))
		pad()
		if name == "TRAILER!!!\x00" {
			if offset != len(b) {
				t.Errorf("%d bytes behind the end", len(b)-offset)
			}
			return all
		}
		all = append(all, fmt.Sprintf("%o %s%s", fields[1], strings.Replace(name, "\x00", " ", 1), data))
	}
}

func TestArchive(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"a/b": "12345", "a/skipped/c": "1", "d": ""} {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	a := NewArchive(&out)
	a.TemporaryDir("tmp")
	a.File("x/y/z", 0o755, []byte("1234"))
	a.Dir("x")
	a.Symlink("x/link", "/x/y/z")
	a.Tree("src", dir, func(d fs.DirEntry) bool { return d.Name() == "skipped" })
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"41777 tmp ", "40755 x ", "40755 x/y ", "100755 x/y/z 1234", "120777 x/link /x/y/z",
		"40755 src ", "40755 src/a ", "100600 src/a/b 12345", "100600 src/d ",
	}
	if got := readArchive(t, out.Bytes()); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	a = NewArchive(&out)
	a.Copy("x", filepath.Join(dir, "nosuch"))
	if err := a.Close(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v, want that a file does not exist", err)
	}
}

// object is an ELF file with a section .modinfo.
func object(info string) []byte {
	const names = "\x00.modinfo\x00.shstrtab\x00"
	const header, section = 64, 64
	text := info + names
	b := make([]byte, header+3*section, header+3*section+len(text))
	le := binary.LittleEndian
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], 1)  // relocatable
	le.PutUint16(b[18:], 62) // x86-64
	le.PutUint32(b[20:], 1)
	le.PutUint64(b[40:], header) // the sections
	le.PutUint16(b[52:], header)
	le.PutUint16(b[58:], section)
	le.PutUint16(b[60:], 3)
	le.PutUint16(b[62:], 2) // the last has the names
	for i, s := range []struct{ name, kind, offset, size int }{
		{}, {1, 1, 0, len(info)}, {10, 3, len(info), len(names)},
	} {
		h := b[header+i*section:]
		le.PutUint32(h, uint32(s.name))
		le.PutUint32(h[4:], uint32(s.kind))
		le.PutUint64(h[24:], uint64(header+3*section+s.offset))
		le.PutUint64(h[32:], uint64(s.size))
	}
	return append(b, text...)
}

func TestModules(t *testing.T) {
	file := func(info string) *fstest.MapFile { return &fstest.MapFile{Data: object(info)} }
	dir := fstest.MapFS{
		"modules.builtin":        {Data: []byte("kernel/net/packet/af_packet.ko\nkernel/a/virtio-pci.ko\n")},
		"kernel/net/8021q.ko":    file("license=GPL\x00depends=mrp,garp-x,af_packet\x00"),
		"kernel/net/mrp.ko":      file("depends=\x00"),
		"kernel/net/garp-x.ko":   file("depends=stp\x00"),
		"kernel/net/stp.ko":      file("license=GPL\x00"),
		"kernel/net/circle.ko":   file("depends=circle\x00"),
		"kernel/net/dangling.ko": file("depends=nosuch\x00"),
		"kernel/net/empty.ko":    {},
		"kernel/net/odd.ko.zst":  {},
	}
	got, err := Modules(t.Context(), dir, []string{"stp", "8021q", "virtio_pci", "mrp", "circle"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range got {
		names = append(names, m.Name)
	}
	if want := []string{"stp", "mrp", "garp_x", "8021q", "circle"}; !slices.Equal(names, want) {
		t.Errorf("%v, want %v", names, want)
	}
	for name, want := range map[string]string{
		"nosuch":   "module nosuch: file does not exist in this kernel",
		"dangling": "dangling needs module nosuch: file does not exist in this kernel",
		"empty":    "module empty: EOF",
		"odd":      "module odd: odd.ko.zst is not compressed by xz",
	} {
		if _, err := Modules(t.Context(), dir, []string{name}); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}

func TestReadTests(t *testing.T) {
	root, err := ReadTests(strings.NewReader(`
		{"Action":"output","Output":"ahead\n"}
		{"Action":"run","Test":"TestA"}
		{"Action":"output","Test":"TestA","Output":"=== RUN   TestA\n"}
		{"Action":"run","Test":"TestA/b/c"}
		{"Action":"output","Test":"TestA/b/c","Output":"    file.go:1: why\n"}
		{"Action":"output","Test":"TestA/b/c","Output":"    --- SKIP: TestA/b/c (0.00s)\n"}
		{"Action":"skip","Test":"TestA/b/c"}
		{"Action":"pass","Test":"TestA"}
		{"Action":"run","Test":"TestD"}
		{"Action":"fail","Test":"TestD"}
		{"Action":"run","Test":"TestE"}
		{"Action":"output","Output":"FAIL\n"}
		{"Action":"fail"}`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	var list func(t *Test)
	list = func(t *Test) {
		for _, sub := range t.Tests {
			got = append(got, fmt.Sprintf("%s %s %t %s %q", sub.Name, sub.Element(), sub.Began, sub.Verdict, sub.Output))
			list(sub)
		}
	}
	list(root)
	want := []string{
		`TestA TestA true pass ""`, `TestA/b b false  ""`, `TestA/b/c c true skip "    file.go:1: why\n"`,
		`TestD TestD true fail ""`, `TestE TestE true  ""`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if root.Output != "ahead\n" || root.Verdict != "" {
		t.Errorf("the root is %+v", root)
	}
	for verdict, want := range map[Verdict]int{Passed: 1, Failed: 1, Skipped: 1} {
		if n := root.Count(verdict); n != want {
			t.Errorf("%d tests with %s, want %d", n, verdict, want)
		}
	}
	if _, err := ReadTests(strings.NewReader("ok\n")); err == nil {
		t.Error("no error of what is no JSON")
	}
}

func TestMessages(t *testing.T) {
	var got []string
	for m, err := range messages(strings.NewReader(`{"Release":"6.1"}{"Fault":"no memory"}{"Done":true}`)) {
		got = append(got, fmt.Sprintf("%q %t %v", m.Release, m.Done, err))
	}
	if want := []string{`"6.1" false <nil>`, `"" false the guest gave up: no memory`}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	for _, err := range messages(strings.NewReader(`{"Done":`)) {
		if err == nil {
			t.Error("no error of half a message")
		}
	}
}

func TestTail(t *testing.T) {
	console := &tail{lines: 2}
	for i := range 100 {
		fmt.Fprintf(console, "line %d\r\n", i)
	}
	fmt.Fprint(console, "and half")
	if got, want := console.String(), "line 99\nand half"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if n := len(console.text); n > 100 {
		t.Errorf("%d bytes are kept", n)
	}
}
