//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/l2ping/l2ping/bpf"
	"github.com/l2ping/l2ping/cmd/l2ping/internal/render"
	"github.com/l2ping/l2ping/internal/lab"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/probe"
)

// demoUserns marks the demo that runs in a user namespace of its own.
const demoUserns = "L2PING_DEMO_USERNS"

// demoReplies is how many replies the demo shows before the loss, demoSpare how
// many more probes it has for that: where the machine is busy, some leave before
// the route is gone.
const (
	demoReplies = 5
	demoSpare   = 20
)

func newDemo(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See it all in a private network; touches no other",
		Long: `Make a network of three hosts in namespaces of this process alone, ping across it,
and show what l2ping measures. Nothing is sent on any interface of this machine, and
nothing is left behind. Needs root, or a system that lets users have namespaces.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return e.demo(cmd.Context()) },
	}
	cmd.Flags().BoolP("help", "h", false, "print this")
	return cmd
}

func (e *env) demo(ctx context.Context) error {
	network, err := lab.NewRouted()
	if errors.Is(err, unix.EPERM) && os.Getenv(demoUserns) == "" {
		return e.demoAsUser(ctx)
	}
	if err != nil {
		return fmt.Errorf("make a private network: %w (sudo %s demo has all it needs)", err, e.executable)
	}
	d := demo{out: e.stdout, network: network, bold: isTerminal(e.stdout)}
	return errors.Join(d.run(ctx), network.Close())
}

// demoAsUser runs the demo again in a user namespace, where anybody may make
// networks.
func (e *env) demoAsUser(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "demo")
	cmd.Cancel = func() error { return nil } // SIGINT reaches it by itself
	cmd.Env = append(os.Environ(), demoUserns+"=1")
	cmd.Stdout, cmd.Stderr = e.stdout, e.stderr
	lab.EnterUserNamespace(cmd)
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		e.exit = exit.ExitCode()
		return errSaid
	case err != nil:
		return fmt.Errorf("make a user namespace: %w (this system keeps them from users: sudo %s demo)", err, e.executable)
	}
	return nil
}

// demo tells the story.
type demo struct {
	out     io.Writer
	network *lab.Routed
	bold    bool
	err     error // of the first write that failed
}

func (d *demo) printf(format string, args ...any) {
	if _, err := fmt.Fprintf(d.out, format, args...); err != nil && d.err == nil {
		d.err = outputError(err)
	}
}

func (d *demo) title(text string) {
	if d.bold {
		text = "\x1b[1m" + text + "\x1b[0m"
	}
	d.printf("\n%s\n\n", text)
}

// indented prints lines with a margin.
func (d *demo) indented(text string) {
	for line := range strings.Lines(text) {
		d.printf("   %s", line)
	}
}

func (d *demo) run(ctx context.Context) error {
	n := d.network
	d.printf("l2ping demo: three hosts in a private network, made for this and gone with it.\n")
	d.printf("Nothing is sent on any interface of this machine.\n\n")
	d.indented(fmt.Sprintf(`you, eth0 ------------------- router ------------------- host
%-19s %s  %s %15s
`, n.NearIP, n.RouterIP, n.RouterFarIP, n.HostIP))
	if os.Getenv(demoUserns) != "" {
		d.printf("\n   You are not root, so it runs in a user namespace, where Linux loads no eBPF:\n")
		d.printf("   the classic filter does the same work. sudo shows the other one.\n")
	}

	var p *probe.Pinger
	err := n.Near.Do(func() (err error) {
		p, err = probe.New(probe.Config{
			Targets:   probe.Hosts(n.HostIP),
			Interface: "eth0",
			Count:     demoReplies + demoSpare,
			Interval:  200 * time.Millisecond,
			Timeout:   time.Second,
		})
		return err
	})
	if err != nil {
		return err
	}
	// The first loss ends it.
	running, end := context.WithCancel(ctx)
	defer end()
	var replies []probe.Reply
	for event, err := range p.Run(running) {
		if err != nil {
			return err
		}
		switch event.Kind {
		case probe.Start:
			d.start(event.Start)
		case probe.Replied:
			if len(replies) >= demoReplies {
				continue
			}
			replies = append(replies, event.Reply)
			d.reply(&event)
			if len(replies) == demoReplies {
				d.compare(replies)
				if err := d.breakRoute(); err != nil {
					return err
				}
			}
		case probe.Failed, probe.Lost:
			if running.Err() == nil {
				d.loss(&event)
			}
			end()
		case probe.Summary:
			d.end(event.Statistics)
		}
		if d.err != nil {
			return d.err
		}
	}
	return ctx.Err()
}

// start tells the path and how the run is set up.
func (d *demo) start(s *probe.Started) {
	d.title("1. The path: l2ping route -i eth0 " + d.network.HostIP.String())
	d.indented(render.Route(&s.Decision, d.network.HostIP.String(), render.Asked{Interface: true}))
	d.printf("\n   Finding the MAC took %.1f us. ping counts that into its first round trip.\n",
		us(s.Decision.Neighbor.Took))

	d.title("2. Five probes, in microseconds: l2ping -i eth0 -c 5 -d 200ms " + d.network.HostIP.String())
	filter := "an eBPF"
	if s.Filter == bpf.Classic {
		filter = "a classic BPF"
	}
	d.printf("   The kernel stamps each probe where it leaves the driver and where its reply\n")
	d.printf("   comes in, and %s filter lets nothing but our replies through.\n\n", filter)
	d.printf("          the wire   your own host             what ping would say\n")
	d.printf("   seq         RTT     send   queue  receive        ping   ping -U\n")
}

// reply is a line of the table. ping starts its clock in the program and stops
// it at the kernel's arrival stamp; with -U it stops it in the program.
func (d *demo) reply(e *probe.Event) {
	b := e.Reply.Budget
	if min(b.Send, b.Queue, b.Wire, b.Receive) == probe.Unknown {
		d.printf("   %3d  %10.1f   (by %s stamps: a better one did not come)\n", e.Seq, us(e.Reply.RTT), e.Reply.RTTSource)
		return
	}
	d.printf("   %3d  %10.1f %8.1f%8.1f%9.1f %11.1f%10.1f\n", e.Seq, us(e.Reply.RTT),
		us(b.Send), us(b.Queue), us(b.Receive), us(asPing(b)), us(asPing(b)+b.Receive))
}

// asPing is the round trip that ping would report.
func asPing(b probe.Budget) time.Duration { return b.Send + b.Queue + b.Wire }

// compare draws the sum.
func (d *demo) compare(replies []probe.Reply) {
	var wire, ping []time.Duration
	for _, r := range replies {
		if r.RTTSource == l2.StampDriver && min(r.Budget.Send, r.Budget.Queue) != probe.Unknown {
			wire = append(wire, r.RTT)
			ping = append(ping, asPing(r.Budget))
		}
	}
	if len(wire) == 0 {
		return
	}
	slices.Sort(wire)
	slices.Sort(ping)
	w, p := wire[len(wire)/2], ping[len(ping)/2]
	d.printf("\n   (The first crossed while the router itself asked for the host's MAC.)\n")
	d.printf("   Of ping's %.1f us (median) %.1f are your own host, not the network.\n", us(p), us(p-w))
}

// breakRoute takes the host from the router.
func (d *demo) breakRoute() error {
	host := netip.PrefixFrom(d.network.HostIP, d.network.HostIP.BitLen())
	return d.network.Router.AddRefusal(host, unix.RTN_UNREACHABLE)
}

// loss tells of the probe that did not come back.
func (d *demo) loss(e *probe.Event) {
	d.title("3. A loss, with its reason: the router has just lost its route to the host")
	d.indented(render.Loss(e))
}

// end closes the story.
func (d *demo) end(s *probe.Statistics) {
	d.printf("\n   %d probes: %d answered, %d lost, %d refused; kernel stamps at the driver for %d of %d replies.\n",
		s.Sent, s.Received, s.Lost, s.Errors, s.Stamps[l2.StampDriver], s.Received)
	d.title("Now on a network of your own")
	d.printf("   sudo l2ping -i eth0 HOST        ping over eth0, and no other interface\n")
	d.printf("   l2ping route -i eth0 HOST       only tell how it would leave, and why\n")
	d.printf("   l2ping stamps -i eth0           what eth0 can stamp, and how true that makes its times\n")
	d.printf("   l2ping --help\n")
}

// us is a time in microseconds.
func us(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// isTerminal tells whether w is a terminal that may show bold text
// (https://no-color.org).
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
