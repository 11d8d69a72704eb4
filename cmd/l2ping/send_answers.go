//go:build linux

package main

import (
	"errors"
	"time"

	"github.com/l2ping/l2ping/arp"
	"github.com/l2ping/l2ping/capture"
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
			Promiscuous: s.promiscuous, AnswerFor: s.answerFor(),
		}
		if s.link.MAC != s.ifc.MAC {
			cfg.MAC = s.link.MAC
		}
		x, err = probe.NewExchanger(s.ifc.Name, &cfg)
		return err
	}); err != nil {
		return err
	}
	if err := s.begin(); err != nil {
		return errors.Join(err, x.Close())
	}
	err := s.pair(x)
	counted := x.Statistics()
	s.counts.Sent, s.counts.Answered, s.counts.Unanswered = counted.Sent, counted.Answered, counted.Unanswered
	s.counts.Unpaired, s.counts.Full, s.counts.Dropped = counted.Unpaired, counted.SendRetries, counted.KernelDrops
	if s.counts.Answered == 0 {
		s.e.exit = exitNoReply
	}
	if errors.Is(err, s.ctx.Err()) {
		err = nil
	}
	return s.finish(err)
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
		if err != nil {
			return err
		}
		if err := s.exchanged(&e); err != nil {
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
			waitUntil(s.ctx, s.pace.due(time.Now(), f.Time))
		}
		if !yield(f.Bytes, err) {
			return
		}
	}
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
	s.print(func() error { return s.render.Exchanged(e) })
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
