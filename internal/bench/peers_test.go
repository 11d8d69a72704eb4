//go:build linux

package main

import (
	"context"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestMissingPeers holds that a peer that is not there is left out with a line
// that says how to get it, and that l2ping and tcpdump have to be there.
func TestMissingPeers(t *testing.T) {
	dir := t.TempDir()
	script := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	script("arping", "echo ARPing 2.23, by Thomas Habets")
	script("fping", "echo fping: Version 5.1; exit 3")
	l2ping := script("mine", "echo l2ping v1.2.3")
	t.Setenv("PATH", dir)
	o, err := parseFlags([]string{"-l2ping", l2ping, "-tools", "l2ping,ping,fping,hping3,nping,arping"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	found, programs, missing, err := findTools(t.Context(), o, dir)
	if err != nil || names(found) != "l2ping,fping" || programs["l2ping"].version != "v1.2.3" || programs["fping"].version != "5.1" {
		t.Errorf("found %s, %v, %v", names(found), programs, err)
	}
	want := []leftOut{
		{"ping", "not installed (apt-get install iputils-ping)"},
		{"hping3", "not installed (apt-get install hping3)"},
		{"nping", "not installed (apt-get install nmap)"},
		{"arping", filepath.Join(dir, "arping") + " is another program of that name (apt-get install iputils-arping)"},
	}
	if !slices.Equal(missing, want) {
		t.Errorf("left out are %v, want %v", missing, want)
	}
	if _, _, err := newBench(t.Context(), o, dir, io.Discard); err == nil || !strings.Contains(err.Error(), "tcpdump: not installed") {
		t.Errorf("without tcpdump: %v", err)
	}
	o.l2ping = filepath.Join(dir, "nosuch")
	if _, _, _, err := findTools(t.Context(), o, dir); err == nil || !strings.Contains(err.Error(), "nosuch") {
		t.Errorf("without l2ping: %v", err)
	}
	o.tools = []tool{byName(t, "ping")}
	if _, _, _, err := findTools(t.Context(), o, dir); err == nil || !strings.Contains(err.Error(), "no tool is there") {
		t.Errorf("without any: %v", err)
	}
}

// TestMissingScapy holds that a Python that does not tell scapy's version is none.
func TestMissingScapy(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := findScapy(ctx, nil, t.TempDir()); err == nil || !strings.Contains(err.Error(), "apt-get install python3-scapy") {
		t.Errorf("no Python runs: %v", err)
	}
}

func TestArguments(t *testing.T) {
	every := func(interval time.Duration) job {
		return job{ifname: "eth0", target: netip.MustParseAddr("198.51.100.2"), count: 5, interval: interval}
	}
	for _, tt := range []struct {
		tool   string
		job    job
		args   string
		refuse bool
	}{
		{tool: "l2ping", job: every(10 * time.Millisecond), args: "-i eth0 -n -c 5 -d 10ms --json 198.51.100.2"},
		{tool: "ping", job: every(10 * time.Millisecond), args: "-I eth0 -n -c 5 -i 0.01 198.51.100.2"},
		{tool: "fping", job: every(1500 * time.Microsecond), args: "-I eth0 -c 5 -p 1.5 -i 1 -t 2000 198.51.100.2"},
		{tool: "hping3", job: every(time.Millisecond), args: "--icmp -n -I eth0 -c 5 -i u1000 -d 56 198.51.100.2"},
		{tool: "hping3", job: every(2 * time.Second), args: "--icmp -n -I eth0 -c 5 -i 2 -d 56 198.51.100.2"},
		{tool: "hping3", job: every(1500 * time.Millisecond), refuse: true},
		{tool: "nping", job: every(10 * time.Millisecond), args: "--icmp -e eth0 -c 5 --delay 10ms --data-length 56 198.51.100.2"},
		{tool: "arping", job: every(time.Second), args: "-I eth0 -c 5 -i 1 198.51.100.2"},
		{tool: "arping", job: every(999 * time.Millisecond), refuse: true},
		{tool: "l2ping-arping", job: every(time.Second), args: "arping -i eth0 -c 5 -d 1s --json 198.51.100.2"},
		{tool: "scapy", job: every(time.Millisecond), args: "eth0 198.51.100.2 5 0.001"},
		{tool: "pro-bing", job: every(time.Millisecond), args: "eth0 198.51.100.2 5 1ms"},
	} {
		tool := byName(t, tt.tool)
		if refused := tool.refuse != nil && tool.refuse(tt.job) != ""; refused != tt.refuse {
			t.Errorf("%s refuses %+v: %v", tt.tool, tt.job, refused)
			continue
		}
		if got := strings.Join(tool.args(tt.job), " "); !tt.refuse && got != tt.args {
			t.Errorf("%s %s, want %s", tt.tool, got, tt.args)
		}
	}
}
