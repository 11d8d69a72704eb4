//go:build linux

package probe_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/l2ping/l2ping/internal/lab/labtest"
	"github.com/l2ping/l2ping/l2/frame"
	"github.com/l2ping/l2ping/probe"
)

// TestExchangeExamples runs the examples where they do no harm.
func TestExchangeExamples(t *testing.T) {
	pair := labtest.NewPair(t, nil)
	labtest.OpenIn(t, pair.Far, func() (net.Listener, error) { return net.Listen("tcp4", "198.51.100.2:80") })
	server := labtest.OpenIn(t, pair.Far, func() (*net.UDPConn, error) {
		return net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(198, 51, 100, 2), Port: 53})
	})
	go func() {
		buf := make([]byte, 512)
		for {
			n, from, err := server.ReadFromUDP(buf)
			if err != nil {
				return // the test has ended
			}
			buf[2] |= 0x80 // a response
			buf[3] = 3     // no such name
			_, _ = server.WriteToUDP(buf[:n], from)
		}
	}()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	ready := make(chan struct{})
	go func() {
		ended <- pair.Far.Do(func() error {
			cfg := &probe.AnswerConfig{EtherTypes: []frame.EtherType{etherTypeDoubler}}
			return probe.AnswerReady(ctx, "eth0", cfg, double, func() { close(ready) })
		})
	}()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	select {
	case <-ready:
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	}

	for _, tt := range []struct {
		name    string
		example func()
		want    []string
	}{
		{"ping", ExampleExchange, []string{"98 bytes, driver stamps, true"}},
		{"ARP sweep", ExampleExchanger_Run, []string{"198.51.100.2 is at 02:00:5e:00:53:02"}},
		{"TCP", ExampleExchange_tcp, []string{"22 closed", "25 closed", "80 open", "443 closed", "8080 closed"}},
		{"DNS", ExampleExchange_dns, []string{"code 3 with 0 answers"}},
		{"own protocol", ExampleRule, []string{"1 doubled is 2", "2 doubled is 4", "21 doubled is 42"}},
	} {
		got := output(t, func() error {
			return pair.Near.Do(func() error {
				tt.example()
				return nil
			})
		})
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// output is what f prints, line by line.
func output(t *testing.T, f func() error) []string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "output")
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	was := os.Stdout
	os.Stdout = file
	err = f()
	os.Stdout = was
	if err != nil {
		t.Error(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}
