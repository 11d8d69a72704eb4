//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The socket filter of l2ping: keeps the replies that one Match describes.
 * Match.Accepts, Match.Claims (judge.go) and Match.Classic (classic.go) say
 * the same in Go and in classic BPF; change the three together.
 */
#include "frame.bpf.h"

/* RFC 791, and the same in the fragment header of IPv6: "more fragments". */
#define IP_MF 0x2000
#define IPV6_MF 0x0001

#define ICMP_ECHO_REQUEST 8
#define ICMPV6_ECHO_REQUEST 128
#define ICMPV6_NEIGHBOR_SOLICITATION 135

struct fragment_header {
	__u8 next_header;
	__u8 reserved;
	__be16 offset; /* and flags */
	__be32 id;
};

/* A neighbor solicitation or advertisement, without options. */
struct neighbor {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be32 flags;
	struct addr6 target;
};

enum kind {
	KIND_ECHO_REPLY = 1,
	KIND_ARP_REPLY = 2,
	KIND_NEIGHBOR_REPLY = 3,
	KIND_NEIGHBOR_REQUEST = 4,
	KIND_NEIGHBOR_CLAIM = 5,
};

/*
 * The Match, beside what frame.bpf.h has of it. User space writes these before
 * loading; the verifier then knows them as constants and drops the branches that
 * cannot be taken. All but the small integers are bytes in network order, compared
 * as they lie in the frame.
 */
const volatile __u8 kind;
const volatile __u8 want_ipv4; /* families: one of them, or both */
const volatile __u8 want_ipv6;
const volatile __u8 any_local; /* or the address of the one family */
const volatile __u8 any_peer;
const volatile __be32 local_ipv4;
const volatile __be32 peer_ipv4;
const volatile struct addr6 local_ipv6;
const volatile struct addr6 peer_ipv6;
const volatile __be16 echo_id;
const volatile __u64 cookie; /* zeros from cookie_len on */
const volatile __u8 cookie_len; /* 0 to 8 */
const volatile __u8 fragments; /* let them pass */
const volatile __be32 vlan_tags; /* as add_tag() makes them */

/* Frames that claimed to be replies of ours and were not, since loading. */
__u64 rejected;

/* Ordered: what a header finds can only be lowered by the ones around it. */
enum verdict {
	OTHER, /* not for us */
	CLAIMED, /* ours by identifier, but not by VLAN, code, peer or cookie */
	OURS,
};

static __always_inline int is_local4(__be32 addr)
{
	return any_local || addr == local_ipv4;
}

static __always_inline int is_peer4(__be32 addr)
{
	return any_peer || addr == peer_ipv4;
}

static __always_inline int is_local6(const struct addr6 *addr)
{
	return any_local ||
	       (addr->half[0] == local_ipv6.half[0] && addr->half[1] == local_ipv6.half[1]);
}

static __always_inline int is_peer6(const struct addr6 *addr)
{
	return any_peer ||
	       (addr->half[0] == peer_ipv6.half[0] && addr->half[1] == peer_ipv6.half[1]);
}

static __always_inline int is_unspecified(const struct addr6 *addr)
{
	return addr->half[0] == 0 && addr->half[1] == 0;
}

/*
 * Where the ICMPv6 message begins, counted from the IPv6 header @ip at @off, of
 * which @len bytes are there, or 0 if the datagram is of another protocol or has
 * other extension headers. @fragment gets offset and flag, 0 without a header
 * for them.
 */
static __always_inline __u32 ipv6_headers_len(struct __sk_buff *skb, const struct ipv6_header *ip,
					      __u32 off, __u32 len, __u16 *fragment)
{
	struct fragment_header frag;

	*fragment = 0;
	if (ip->next_header == NEXTHDR_ICMPV6)
		return sizeof(*ip);
	if (ip->next_header != NEXTHDR_FRAGMENT || len < sizeof(*ip) + sizeof(frag))
		return 0;
	if (bpf_skb_load_bytes(skb, off + sizeof(*ip), &frag, sizeof(frag)))
		return 0;
	if (frag.next_header != NEXTHDR_ICMPV6)
		return 0;
	*fragment = bpf_ntohs(frag.offset);
	return sizeof(*ip) + sizeof(frag);
}

/*
 * Tells whether the echoed payload at @off, of @len bytes, has our cookie.
 *
 * Without CAP_PERFMON the verifier also follows the branches that cannot be
 * taken, as a processor may by speculation, and then forgets what it knew of the
 * registers compared (sanitize_speculative_path). A comparison does not convince
 * it of a length, a mask does.
 */
static __always_inline int has_cookie(struct __sk_buff *skb, __u32 off, __u32 len)
{
	__u32 want = cookie_len;
	__u64 got = 0;

	if (want == 0)
		return 1;
	if (want > len)
		return 0;
	want = ((want - 1) & (sizeof(got) - 1)) + 1; /* as it was: it is 1 to 8 */
	if (bpf_skb_load_bytes(skb, off, &got, want))
		return 0;
	return got == cookie;
}

/*
 * A fragment that has no ICMP header in it, and so nothing to tell it by but its
 * addresses. @foreign says that the frame's tags are not ours.
 */
static __always_inline enum verdict later_fragment(int peer, int foreign)
{
	return fragments && peer && !foreign ? OURS : OTHER;
}

/* An echo reply with header @icmp; @len bytes of payload are at @off. */
static __always_inline enum verdict reply(struct __sk_buff *skb, const struct icmp_header *icmp,
					  __u32 off, __u32 len, int peer, int partial)
{
	if (icmp->id != echo_id || (partial && !fragments))
		return OTHER;
	if (icmp->code != 0 || !peer || !has_cookie(skb, off, len))
		return CLAIMED;
	return OURS;
}

/* The ICMP header at @off of the request that an error quotes. */
static __always_inline enum verdict request(struct __sk_buff *skb, __u32 off, __u8 type, int peer)
{
	struct icmp_header icmp;

	if (bpf_skb_load_bytes(skb, off, &icmp, sizeof(icmp)))
		return OTHER;
	if (icmp.type != type || icmp.id != echo_id)
		return OTHER;
	if (icmp.code != 0 || !peer)
		return CLAIMED;
	return OURS;
}

/*
 * The quote in an ICMP error: the header of our probe and eight bytes of its
 * ICMP message, which need not reach the cookie. @len bytes are at @off.
 */
static __always_inline enum verdict quote4(struct __sk_buff *skb, __u32 off, __u32 len)
{
	struct iphdr ip;
	__u32 ihl;

	if (bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)))
		return OTHER;
	ihl = ipv4_header_len(&ip);
	if (!ihl || len < ihl + sizeof(struct icmp_header))
		return OTHER;
	if (ip.protocol != IPPROTO_ICMP || ip.frag_off & bpf_htons(IP_OFFSET))
		return OTHER;
	if (!is_local4(ip.saddr))
		return OTHER;
	return request(skb, off + ihl, ICMP_ECHO_REQUEST, is_peer4(ip.daddr));
}

/* The same in an ICMPv6 error. */
static __always_inline enum verdict quote6(struct __sk_buff *skb, __u32 off, __u32 len)
{
	struct ipv6_header ip;
	__u16 fragment;
	__u32 headers;

	if (bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)))
		return OTHER;
	if (ip.version >> 4 != 6 || !is_local6(&ip.saddr))
		return OTHER;
	headers = ipv6_headers_len(skb, &ip, off, len, &fragment);
	if (!headers || fragment & IPV6_OFFSET || len < headers + sizeof(struct icmp_header))
		return OTHER;
	return request(skb, off + headers, ICMPV6_ECHO_REQUEST, is_peer6(&ip.daddr));
}

/*
 * A whole IPv4 datagram to us at @off, or a fragment of one. Its length is the
 * header's: the frame's may have Ethernet's padding in it.
 */
static __always_inline enum verdict ipv4(struct __sk_buff *skb, __u32 off, int foreign)
{
	struct icmp_header icmp;
	__u32 ihl, total, len;
	struct iphdr ip;
	int partial;

	if (bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)))
		return OTHER;
	ihl = ipv4_header_len(&ip);
	total = bpf_ntohs(ip.tot_len);
	if (!ihl || total < ihl || off + total > skb->len)
		return OTHER;
	if (ip.protocol != IPPROTO_ICMP || !is_local4(ip.daddr))
		return OTHER;
	if (ip.frag_off & bpf_htons(IP_OFFSET))
		return later_fragment(is_peer4(ip.saddr), foreign);

	off += ihl;
	len = total - ihl;
	if (len < sizeof(icmp) || bpf_skb_load_bytes(skb, off, &icmp, sizeof(icmp)))
		return OTHER;
	off += sizeof(icmp);
	len -= sizeof(icmp);

	partial = !!(ip.frag_off & bpf_htons(IP_MF));
	switch (icmp.type) {
	case ICMP_ECHO_REPLY:
		return reply(skb, &icmp, off, len, is_peer4(ip.saddr), partial);
	case ICMP_UNREACHABLE:
	case ICMP_REDIRECT:
	case ICMP_TIME_EXCEEDED:
	case ICMP_PARAMETER_PROBLEM:
		return partial ? OTHER : quote4(skb, off, len);
	}
	return OTHER;
}

/* The same of IPv6. */
static __always_inline enum verdict ipv6(struct __sk_buff *skb, __u32 off, int foreign)
{
	struct icmp_header icmp;
	struct ipv6_header ip;
	__u32 headers, len;
	__u16 fragment;
	int partial;

	if (bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)))
		return OTHER;
	if (ip.version >> 4 != 6 || !is_local6(&ip.daddr))
		return OTHER;
	len = sizeof(ip) + bpf_ntohs(ip.payload_len);
	if (off + len > skb->len)
		return OTHER;
	headers = ipv6_headers_len(skb, &ip, off, len, &fragment);
	if (!headers)
		return OTHER;
	if (fragment & IPV6_OFFSET)
		return later_fragment(is_peer6(&ip.saddr), foreign);

	off += headers;
	len -= headers;
	if (len < sizeof(icmp) || bpf_skb_load_bytes(skb, off, &icmp, sizeof(icmp)))
		return OTHER;
	off += sizeof(icmp);
	len -= sizeof(icmp);

	partial = fragment & IPV6_MF;
	switch (icmp.type) {
	case ICMPV6_ECHO_REPLY:
		return reply(skb, &icmp, off, len, is_peer6(&ip.saddr), partial);
	case ICMPV6_UNREACHABLE:
	case ICMPV6_PACKET_TOO_BIG:
	case ICMPV6_TIME_EXCEEDED:
	case ICMPV6_PARAMETER_PROBLEM:
		return partial ? OTHER : quote6(skb, off, len);
	}
	return OTHER;
}

/* An address probe: RFC 5227, section 2.1.1. */
static __always_inline int is_arp_probe(const struct arp_packet *arp)
{
	return arp->operation == bpf_htons(ARP_REQUEST) && arp->sender_addr == 0 &&
	       is_peer4(arp->target_addr);
}

/*
 * An ARP reply that the peer sent to us, a request for our address, or another
 * host's claim to the peer's.
 */
static __always_inline enum verdict arp(struct __sk_buff *skb, __u32 off)
{
	struct arp_packet arp;

	if (bpf_skb_load_bytes(skb, off, &arp, sizeof(arp)))
		return OTHER;
	if (!is_ethernet_arp(&arp))
		return OTHER;
	if (kind == KIND_NEIGHBOR_CLAIM) {
		if (arp.operation != bpf_htons(ARP_REQUEST) &&
		    arp.operation != bpf_htons(ARP_REPLY))
			return OTHER;
		if (is_local_mac(&arp.sender_mac))
			return OTHER;
		return is_peer4(arp.sender_addr) || is_arp_probe(&arp) ? OURS : OTHER;
	}
	if (!is_local4(arp.target_addr))
		return OTHER;
	if (kind == KIND_NEIGHBOR_REQUEST)
		return arp.operation == bpf_htons(ARP_REQUEST) ? OURS : OTHER;
	if (arp.operation != bpf_htons(ARP_REPLY))
		return OTHER;
	return is_peer4(arp.sender_addr) && is_local_mac(&arp.target_mac) ? OURS : OTHER;
}

/*
 * A neighbor advertisement that the peer sent to us or to all, a solicitation for
 * our address, or another host's claim to the peer's, behind the header @eth. RFC
 * 6980 has those that bear a fragment header ignored.
 */
static __always_inline enum verdict neighbor(struct __sk_buff *skb, __u32 off,
					     const struct ethernet_header *eth)
{
	struct neighbor msg;
	struct ipv6_header ip;
	__u32 len;

	if (bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)))
		return OTHER;
	if (ip.version >> 4 != 6 || ip.next_header != NEXTHDR_ICMPV6 ||
	    ip.hop_limit != NEIGHBOR_HOP_LIMIT)
		return OTHER;
	off += sizeof(ip);
	len = bpf_ntohs(ip.payload_len);
	if (len < sizeof(msg) || off + len > skb->len)
		return OTHER;
	if (bpf_skb_load_bytes(skb, off, &msg, sizeof(msg)) || msg.code != 0)
		return OTHER;

	if (kind == KIND_NEIGHBOR_REQUEST)
		return msg.type == ICMPV6_NEIGHBOR_SOLICITATION && is_local6(&msg.target) ? OURS :
											   OTHER;
	if (!is_peer6(&msg.target))
		return OTHER;
	if (kind == KIND_NEIGHBOR_CLAIM) {
		if (is_local_mac(&eth->src))
			return OTHER;
		if (msg.type == ICMPV6_NEIGHBOR_SOLICITATION && is_unspecified(&ip.saddr))
			return OURS;
		return msg.type == ICMPV6_NEIGHBOR_ADVERTISEMENT ? OURS : OTHER;
	}
	if (msg.type != ICMPV6_NEIGHBOR_ADVERTISEMENT)
		return OTHER;
	if (is_all_nodes(&ip.daddr))
		return OURS;
	return is_local_mac(&eth->dst) && is_local6(&ip.daddr) ? OURS : OTHER;
}

/*
 * What a frame carries at @off, behind the header @eth. @foreign says that its
 * tags are not ours.
 */
static __always_inline enum verdict packet(struct __sk_buff *skb, __be16 ethertype, __u32 off,
					   const struct ethernet_header *eth, int foreign)
{
	if (kind == KIND_ECHO_REPLY) {
		if (want_ipv4 && ethertype == bpf_htons(ETH_P_IP))
			return ipv4(skb, off, foreign);
		if (want_ipv6 && ethertype == bpf_htons(ETH_P_IPV6))
			return ipv6(skb, off, foreign);
		return OTHER;
	}
	if (want_ipv4 && ethertype == bpf_htons(ETH_P_ARP))
		return arp(skb, off);
	if (want_ipv6 && ethertype == bpf_htons(ETH_P_IPV6))
		return neighbor(skb, off, eth);
	return OTHER;
}

static __always_inline enum verdict judge(struct __sk_buff *skb)
{
	struct ethernet_header eth = {};
	enum verdict verdict;
	int foreign;
	__u64 tags;
	__u32 off;

	if (!find_packet(skb, &eth, &off, &tags, 0))
		return OTHER;
	foreign = tags != bpf_ntohl(vlan_tags);
	verdict = packet(skb, eth.type, off, &eth, foreign);
	if (verdict == OURS && foreign)
		return CLAIMED;
	return verdict;
}

/* Returns how many bytes of the frame the socket gets: all of them, or none. */
SEC("socket")
int l2ping_match(struct __sk_buff *skb)
{
	switch (judge(skb)) {
	case OURS:
		return KEEP;
	case CLAIMED:
		__sync_fetch_and_add(&rejected, 1);
		return DROP;
	default:
		return DROP;
	}
}

char _license[] SEC("license") = "Dual BSD/GPL";
