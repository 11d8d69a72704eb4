//go:build linux

package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// listOf is what the targets are, as text.
func listOf(t *targets) string {
	words := make([]string, len(t.list))
	for i, target := range t.list {
		words[i] = target.Addr.String()
	}
	return strings.Join(words, " ")
}

func TestFindTargets(t *testing.T) {
	for _, tt := range []struct {
		hosts  string
		family family
		want   string
	}{
		{"192.0.2.1", anyFamily, "192.0.2.1"},
		{"192.0.2.2 2001:db8::1 192.0.2.1", anyFamily, "192.0.2.2 2001:db8::1 192.0.2.1"},
		// Once is enough, however it is written.
		{"192.0.2.1 192.0.2.1 ::ffff:192.0.2.1 2001:db8::1 2001:DB8:0::1", anyFamily, "192.0.2.1 2001:db8::1"},
		{"192.0.2.1 192.0.2.0/30 192.0.2.1-192.0.2.3", anyFamily, "192.0.2.1 192.0.2.2 192.0.2.3"},
		{"fe80::1 fe80::1%eth0", anyFamily, "fe80::1%eth0"},
		{"fe80::1%eth0 fe80::1", anyFamily, "fe80::1%eth0"},
		// A block's network and broadcast addresses are no hosts, unless it has no others.
		{"192.0.2.0/30", anyFamily, "192.0.2.1 192.0.2.2"},
		{"192.0.2.3/30", anyFamily, "192.0.2.1 192.0.2.2"},
		{"192.0.2.0/31", anyFamily, "192.0.2.0 192.0.2.1"},
		{"192.0.2.9/32", anyFamily, "192.0.2.9"},
		{"255.255.255.252/30", anyFamily, "255.255.255.253 255.255.255.254"},
		{"2001:db8::/126", anyFamily, "2001:db8:: 2001:db8::1 2001:db8::2 2001:db8::3"},
		{"2001:db8::5/128", onlyIPv6, "2001:db8::5"},
		{"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/127", anyFamily,
			"ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
		// Both ends of a range are in it.
		{"192.0.2.254-192.0.3.1", onlyIPv4, "192.0.2.254 192.0.2.255 192.0.3.0 192.0.3.1"},
		{"192.0.2.7-192.0.2.7", anyFamily, "192.0.2.7"},
		{"192.0.2.7-::ffff:192.0.2.8", anyFamily, "192.0.2.7 192.0.2.8"},
		{"255.255.255.254-255.255.255.255", anyFamily, "255.255.255.254 255.255.255.255"},
		{"2001:db8::f-2001:db8::11", anyFamily, "2001:db8::f 2001:db8::10 2001:db8::11"},
		{"fe80::1-fe80::2%eth0", anyFamily, "fe80::1%eth0 fe80::2%eth0"},
		{"fe80::1%eth0-fe80::2%eth0", anyFamily, "fe80::1%eth0 fe80::2%eth0"},
	} {
		e, _, _ := newTestEnv()
		got, err := e.findTargets(t.Context(), strings.Fields(tt.hosts), "", tt.family)
		if err != nil {
			t.Errorf("%s: %v", tt.hosts, err)
			continue
		}
		if listOf(got) != tt.want {
			t.Errorf("%s: %s, want %s", tt.hosts, listOf(got), tt.want)
		}
	}
}

// The limit is on hosts: a block that is there already costs nothing.
func TestMostTargets(t *testing.T) {
	e, _, _ := newTestEnv()
	got, err := e.findTargets(t.Context(), []string{"10.0.0.0-10.1.255.255", "10.0.0.0/16", "10.1.0.0/16"}, "", anyFamily)
	if err != nil || len(got.list) != maxTargets {
		t.Fatalf("%v", err)
	}
	const want = "192.0.2.0/31: more than 131072 hosts"
	if _, err = e.findTargets(t.Context(), []string{"10.0.0.0-10.1.255.255", "192.0.2.0/31"}, "", anyFamily); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestTargetNames(t *testing.T) {
	e, _, _ := newTestEnv()
	got, err := e.findTargets(t.Context(), []string{"::ffff:192.0.2.1", "2001:DB8::1", "192.0.2.0/30", "fe80::1%eth0"}, "", anyFamily)
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]string{
		"192.0.2.1": "::ffff:192.0.2.1", "192.0.2.2": "192.0.2.2", "2001:db8::1": "2001:DB8::1",
		"fe80::1%eth0": "fe80::1%eth0", "198.51.100.1": "198.51.100.1",
	} {
		if name := got.name(netip.MustParseAddr(addr)); name != want {
			t.Errorf("%s is %s, want %s", addr, name, want)
		}
	}
}

func TestTargetsFile(t *testing.T) {
	for _, tt := range []struct{ text, want, err string }{
		{"192.0.2.1\n192.0.2.2\n", "192.0.2.9 192.0.2.1 192.0.2.2", ""},
		{"# a comment\n\n  192.0.2.1 # the first\n\t\n192.0.2.2", "192.0.2.9 192.0.2.1 192.0.2.2", ""},
		{"192.0.2.1\r\n192.0.2.9\r\n", "192.0.2.9 192.0.2.1", ""},
		{"192.0.2.4/31\n2001:db8::1-2001:db8::2\n", "192.0.2.9 192.0.2.4 192.0.2.5 2001:db8::1 2001:db8::2", ""},
		{"192.0.2.1-", "", `, line 1: unknown host "192.0.2.1-": `},
		{"# nobody\n", "192.0.2.9", ""},
		{"192.0.2.1\n192.0.2.2 192.0.2.3\n", "", `, line 2: "192.0.2.2 192.0.2.3": one host a line`},
		{"\n\n192.0.2.2-192.0.2.1\n", "", ", line 3: 192.0.2.2-192.0.2.1: the last address comes before the first"},
		{"2001:db8::1\n2001:db8::/8\n", "", ", line 2: 2000::/8: more than 131072 hosts"},
		{"x" + strings.Repeat("y", 1<<16), "", ", line 1: bufio.Scanner: token too long"},
	} {
		path := filepath.Join(t.TempDir(), "hosts")
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, file := range []string{path, "-"} {
			e, _, _ := newTestEnv()
			e.stdin = iotest.HalfReader(strings.NewReader(tt.text))
			got, err := e.findTargets(t.Context(), []string{"192.0.2.9"}, file, anyFamily)
			switch {
			case tt.err != "":
				if want := fileName(file) + tt.err; err == nil || !strings.HasPrefix(err.Error(), want) {
					t.Errorf("%q: %v, want %s", tt.text, err, want)
				}
			case err != nil:
				t.Errorf("%q: %v", tt.text, err)
			case listOf(got) != tt.want:
				t.Errorf("%q: %s, want %s", tt.text, listOf(got), tt.want)
			}
		}
	}
}

// Blocks were hardly meant to have this host in them; an address by itself was.
func TestLeaveOut(t *testing.T) {
	own := []netip.Prefix{
		netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("192.0.2.65/26"),
		netip.MustParsePrefix("192.0.2.130/31"), netip.MustParsePrefix("2001:db8::1/64"),
	}
	for _, tt := range []struct{ hosts, list, out string }{
		{"192.0.2.64/29", "192.0.2.66 192.0.2.67 192.0.2.68 192.0.2.69 192.0.2.70", "192.0.2.65 (this host's own)"},
		{"192.0.2.126-192.0.2.131", "192.0.2.126 192.0.2.128 192.0.2.129 192.0.2.131", "192.0.2.127 (a broadcast address) 192.0.2.130 (this host's own)"},
		{"2001:db8::/126", "2001:db8:: 2001:db8::2 2001:db8::3", "2001:db8::1 (this host's own)"},
		{"192.0.2.65", "192.0.2.65", ""},
		{"192.0.2.65 192.0.2.64/30", "192.0.2.65 192.0.2.66", ""},
		{"192.0.2.64/30 192.0.2.65", "192.0.2.65 192.0.2.66", ""},
		{"192.0.2.127 192.0.2.1", "192.0.2.127 192.0.2.1", ""},
		{"192.0.2.65/32", "", "192.0.2.65 (this host's own)"},
	} {
		e, _, _ := newTestEnv()
		targets, err := e.findTargets(t.Context(), strings.Fields(tt.hosts), "", anyFamily)
		if err != nil {
			t.Fatal(err)
		}
		out := targets.leaveOut(own)
		if listOf(targets) != tt.list || strings.Join(out, " ") != tt.out {
			t.Errorf("%s: %s, without %q; want %s, without %s", tt.hosts, listOf(targets), out, tt.list, tt.out)
		}
	}
}

// Whatever is in a file, it makes an error or targets that are each there once;
// no names are looked up here.
func FuzzTargets(f *testing.F) {
	for _, s := range []string{
		"192.0.2.1\n", "192.0.2.0/24 # a block\n192.0.2.7-192.0.2.9", "2001:db8::/120\n", "fe80::1%eth0-fe80::9",
		"0.0.0.0/0", "::/0", "::ffff:0:0/112", "255.255.255.255/32", "255.255.255.250-255.255.255.255", "a b", "#", "-", "/", "1-2-3",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		targets := &targets{known: make(map[netip.Addr]hostName)}
		for line, err := range hostLines(strings.NewReader(text)) {
			if err != nil {
				return
			}
			if strings.Contains(line.text, "#") || line.text != strings.TrimSpace(line.text) || line.text == "" {
				t.Errorf("%q: line %d is %q", text, line.number, line.text)
			}
			_, _, isRange := parseRange(line.text)
			_, prefixErr := netip.ParsePrefix(line.text)
			_, addrErr := netip.ParseAddr(line.text)
			if !isRange && prefixErr != nil && addrErr != nil {
				continue
			}
			if targets.add(t.Context(), line.text, anyFamily) != nil {
				return
			}
		}
		seen := make(map[netip.Addr]bool)
		for _, target := range targets.list {
			key := target.Addr.WithZone("")
			if !key.IsValid() || key.Is4In6() || seen[key] {
				t.Fatalf("%q: %v", text, target.Addr)
			}
			seen[key] = true
		}
		if len(targets.list) > maxTargets || len(targets.list) != len(targets.known) {
			t.Errorf("%q: %d targets, %d names", text, len(targets.list), len(targets.known))
		}
		before := len(targets.list)
		out := targets.leaveOut(slices.Collect(func(yield func(netip.Prefix) bool) {
			for _, target := range targets.list {
				if !yield(netip.PrefixFrom(target.Addr.WithZone(""), target.Addr.BitLen())) {
					return
				}
			}
		}))
		if len(out)+len(targets.list) != before {
			t.Errorf("%q: of %d are %d left, and %d out", text, before, len(targets.list), len(out))
		}
	})
}
