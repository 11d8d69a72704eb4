//go:build linux

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/l2ping/l2ping/arp"
	"github.com/l2ping/l2ping/capture"
	"github.com/l2ping/l2ping/cmd/l2ping/internal/render"
	"github.com/l2ping/l2ping/l2"
	"github.com/l2ping/l2ping/l2/frame"
	"github.com/l2ping/l2ping/probe"
)

// exchange sends all frames, and pairs what comes back.
func (s *sending) exchange() error {
	var x *probe.Exchanger
	if err := s.source.inNetns(func() (err error) {
		cfg := probe.ExchangeConfig{
			Timeout: time.Duration(s.timeout), Interval: s.pace.interval, Retry: s.retry, Multi: s.multi,
			Promiscuous: s.promiscuous, AnswerFor: s.answerFor(), Mark: uint32(s.mark), Bypass: s.noQdisc,
		}
		for _, a := range cfg.AnswerFor {
			s.found = append(s.found, a.Source)
		}
		if s.link.MAC != s.ifc.MAC {
			cfg.MAC = s.link.MAC
		}
		if x, err = probe.NewExchanger(s.ifc.Name, &cfg); err != nil {
			return err
		}
		if s.watch, err = s.ifc.Watch(); err != nil {
			return errors.Join(err, x.Close())
		}
		return nil
	}); err != nil {
		return err
	}
	s.tellRefused(x.MarkRefused())
	s.begin()
	end := s.tellStatus(func() (e render.SendEnd) {
		s.mu.Lock()
		e.NotSent = s.counts.NotSent
		refused := s.refused
		s.mu.Unlock()
		takeCounts(&e, x.Statistics(), refused)
		return e
	})
	err := s.pair(x)
	end()
	takeCounts(&s.counts, x.Statistics(), s.refused)
	if s.counts.Answered == 0 || s.refused > 0 {
		s.e.exit = exitNoReply
	}
	switch {
	case errors.Is(err, s.ctx.Err()):
		err = nil
	case errors.Is(err, l2.ErrDown), errors.Is(err, l2.ErrNoCarrier):
		err = s.lost(err)
	}
	return s.finish(err)
}

// takeCounts takes what an exchange has counted. Requests that the kernel refused are
// unanswered to the exchange, and not sent here.
func takeCounts(e *render.SendEnd, c probe.ExchangeStatistics, refused uint64) {
	e.Sent, e.Answered, e.Unanswered = c.Sent, c.Answered, c.Unanswered-min(c.Unanswered, refused)
	e.Unpaired, e.Full, e.Dropped = c.Unpaired, c.SendRetries, c.KernelDrops
}

// answerFor are the addresses that the host does not answer for by itself: one that is
// not its own, and in a VLAN that it knows nothing of all of the interface.
func (s *sending) answerFor() (list []arp.ResponderConfig) {
	if s.ifc.NoLink || s.ifc.Loopback {
		return nil
	}
	add := func(c arp.ResponderConfig) {
		c.VLANs, c.MAC = s.vlans, s.srcMAC
		list = append(list, c)
	}
	tagged := false
	for _, v := range s.vlans {
		tagged = tagged || v.ID() != 0
	}
	if own := s.source.source; own.IsValid() {
		if _, err := l2.InterfaceByAddress(own); (err != nil || tagged) && !own.IsUnspecified() {
			add(arp.ResponderConfig{Source: own})
		}
		return list
	}
	for _, a := range s.ifc.Addresses {
		if tagged {
			add(arp.ResponderConfig{Source: a.Addr()})
		}
	}
	return list
}

// pair runs the exchange and tells of it.
func (s *sending) pair(x *probe.Exchanger) error {
	for e, err := range x.Run(s.ctx, s.requests) {
		if err == nil {
			err = s.exchanged(&e)
		}
		if err != nil {
			s.quit() // the requests may wait for something
			return err
		}
	}
	return nil
}

// requests yields the frames for the exchange.
func (s *sending) requests(yield func([]byte, error) bool) {
	number := uint64(0)
	for f, err := range s.frames() {
		number++
		if isPassedOver(err) {
			s.notSent(number, err)
			continue
		}
		if s.ctx.Err() != nil {
			return
		}
		if err == nil && s.replay {
			// An exchange that has failed waits for its requests.
			err = s.pause(s.pace.due(time.Now(), f.Time))
		}
		if err == nil {
			s.settle()
			s.tellForeign(f.Bytes)
		}
		if !yield(f.Bytes, err) {
			return
		}
	}
}

// tellForeign tells, of the first frame whose source is no address of this host, that
// its answers go elsewhere. To answer ARP for it is for -S alone to say: somebody
// else may have the address.
func (s *sending) tellForeign(b []byte) {
	if s.foreign || s.ifc.Loopback {
		return
	}
	src := s.packetSource(b)
	if !src.IsValid() || src.IsUnspecified() || src.IsLoopback() || slices.Contains(s.found, src) {
		return
	}
	err := s.source.inNetns(func() error {
		_, err := l2.InterfaceByAddress(src)
		return err
	})
	if err == nil || errors.Is(err, l2.ErrNoZone) {
		// Where sources are many, one of them soon is not this host's.
		s.found = append(s.found, src)
		return
	}
	s.foreign = true
	onLink := slices.ContainsFunc(s.ifc.Addresses, func(p netip.Prefix) bool { return p.Contains(src) })
	switch {
	case !onLink || s.ifc.NoLink || s.read != "" || s.hexText != "":
		fmt.Fprintf(s.e.stderr, "l2ping: %s is no address of this host: answers to it go elsewhere\n", src)
	case src.Is4():
		fmt.Fprintf(s.e.stderr, "l2ping: %s is no address of this host: answers to it find us with -S %s, which answers ARP for it\n", src, src)
	default:
		fmt.Fprintf(s.e.stderr, "l2ping: %s is no address of this host: answers to it find us with -S %s, which answers neighbor solicitations for it\n", src, src)
	}
}

// packetSource is where an IP packet comes from; of any other frame, and of neighbor
// discovery, which says its MAC itself, it is none.
func (s *sending) packetSource(b []byte) netip.Addr {
	packet := b
	if !s.ifc.NoLink {
		var e frame.Ethernet
		if e.Decode(b) != nil || e.Type != frame.EtherTypeIPv4 && e.Type != frame.EtherTypeIPv6 {
			return netip.Addr{}
		}
		packet = e.Payload
	}
	var ip frame.IP
	if ip.Decode(packet) != nil {
		return netip.Addr{}
	}
	if ip.Protocol == frame.ProtocolICMPv6 && len(ip.Payload) > 0 {
		switch frame.ICMPType(ip.Payload[0]) {
		case frame.ICMPv6NeighborSolicitation, frame.ICMPv6NeighborAdvertisement:
			return netip.Addr{}
		}
	}
	return ip.Src
}

// exchanged tells what became of a request.
func (s *sending) exchanged(e *probe.Exchanged) error {
	if !e.More && e.Request.Tries > 0 {
		at := e.Request.Sent.UnixNano()
		if e.Request.Driver != 0 {
			at = e.Request.Driver
		}
		if err := s.keepSent(e.Request.Frame, at, e.Request.Seq); err != nil {
			return err
		}
	}
	if e.Answered {
		s.counts.Round(e.RTT)
		reply := e.Reply
		reply.PacketType = s.receptionOf(reply.Data)
		if err := s.keep(&reply, e.Request.Seq); err != nil {
			return err
		}
	}
	if e.Request.Err != nil {
		e.Request.Err = s.inWords(e.Request.Frame, e.Request.Err)
	}
	s.print(func() error {
		if e.Request.Err != nil && e.Request.Tries == 0 {
			s.counts.Unsent(e.Request.Err)
			s.refused++
		}
		return s.render.Exchanged(e)
	})
	return s.failed()
}

// receptionOf is whom a frame was for that came in.
func (s *sending) receptionOf(b []byte) capture.PacketType {
	if s.link.NoLink || len(b) < frame.EthernetHeaderLen {
		return capture.PacketHost
	}
	switch dst := frame.MAC(b[:6]); {
	case dst == frame.Broadcast:
		return capture.PacketBroadcast
	case dst.IsGroup():
		return capture.PacketMulticast
	case dst != s.link.MAC && dst != s.ifc.MAC:
		return capture.PacketOtherHost
	}
	return capture.PacketHost
}
