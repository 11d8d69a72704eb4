//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The socket filter of l2ping: keeps the replies that one Match describes.
 * Match.Accepts, Match.Claims (match.go) and Match.Classic (classic.go) say
 * the same in Go and in classic BPF; change the three together.
 *
 * The program runs on an AF_PACKET socket of type SOCK_RAW, where offset 0 is
 * the Ethernet header. A socket filter may not use data and data_end, so every
 * header is copied out by bpf_skb_load_bytes(), which fails rather than read
 * past the frame.
 *
 * The headers of this machine describe its own byte order, whatever the
 * target is: asm/byteorder.h and the bit fields of struct iphdr are wrong for
 * one of bpfel and bpfeb. Only bpf_endian.h, which asks the compiler, is used
 * for byte order, and no bit field is read. <linux/icmp.h> and <linux/if_arp.h>
 * are left out because they need the C library of the target.
 */
#include <stddef.h>
#include <linux/types.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* What the kernel keeps of a frame: sk_filter() takes it as a length. */
#define DROP 0
#define KEEP (-1)

/* RFC 791: the flag "more fragments", and the fragment's offset. */
#define IP_MF 0x2000
#define IP_OFFSET 0x1fff

/* RFC 792 */
#define ICMP_ECHO_REPLY 0
#define ICMP_UNREACHABLE 3
#define ICMP_REDIRECT 5
#define ICMP_ECHO_REQUEST 8
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETER_PROBLEM 12

/* RFC 826 */
#define ARP_HARDWARE_ETHERNET 1
#define ARP_REPLY 2

/* The first eight bytes of an ICMP message: echo, or an error before its quote. */
struct icmp_header {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be16 id;
	__be16 sequence;
};

struct arp_packet {
	__be16 hardware_type;
	__be16 protocol_type;
	__u8 hardware_len;
	__u8 protocol_len;
	__be16 operation;
	__u8 sender_mac[ETH_ALEN];
	__be32 sender_addr;
	__u8 target_mac[ETH_ALEN];
	__be32 target_addr;
} __attribute__((packed));

enum kind {
	KIND_ECHO_REPLY = 1,
	KIND_ARP_REPLY = 2,
};

/*
 * The Match. User space writes these before loading; the verifier then knows
 * them as constants and drops the branches that cannot be taken. All but the
 * small integers are bytes in network order, compared as they lie in the frame.
 */
const volatile __u8 kind;
const volatile __be32 local_addr;
const volatile __be32 peer_addr; /* 0: any */
const volatile __be16 echo_id;
const volatile __u8 cookie[8]; /* zeros from cookie_len on */
const volatile __u8 cookie_len; /* 0 to 8 */
const volatile __u8 local_mac[ETH_ALEN];

/* Frames that claimed to be replies of ours and were not, since loading. */
__u64 rejected;

/* Ordered: what a header finds can only be lowered by the ones around it. */
enum verdict {
	OTHER, /* not for us */
	CLAIMED, /* ours by identifier, but not by VLAN, code, peer or cookie */
	OURS,
};

/* The header's length in bytes, 20 to 60, or 0 if it is no IPv4 header. */
static __always_inline __u32 ipv4_header_len(const struct iphdr *ip)
{
	__u8 first = *(const __u8 *)ip;

	if (first >> 4 != 4 || (first & 0xf) < 5)
		return 0;
	return (first & 0xf) * 4;
}

static __always_inline int is_peer(__be32 addr)
{
	__be32 peer = peer_addr;

	return !peer || addr == peer;
}

/* Tells whether the echoed payload at @off, of @len bytes, has our cookie. */
static __always_inline int has_cookie(struct __sk_buff *skb, __u32 off, __u32 len)
{
	__u8 got[sizeof(cookie)] = {};
	__u32 want = cookie_len;
	__u32 i;

	if (want == 0)
		return 1;
	if (want > sizeof(got) || want > len)
		return 0;
	if (bpf_skb_load_bytes(skb, off, got, want))
		return 0;
	for (i = 0; i < sizeof(got); i++)
		if (got[i] != cookie[i])
			return 0;
	return 1;
}

/*
 * The quote in an ICMP error: the header of our probe and eight bytes of its
 * ICMP message, which need not reach the cookie. @len bytes are at @off.
 */
static __always_inline enum verdict quote(struct __sk_buff *skb, __u32 off, __u32 len)
{
	struct icmp_header icmp;
	struct iphdr ip;
	__u32 ihl;

	if (bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)))
		return OTHER;
	ihl = ipv4_header_len(&ip);
	if (!ihl || len < ihl + sizeof(icmp))
		return OTHER;
	if (ip.protocol != IPPROTO_ICMP || ip.frag_off & bpf_htons(IP_OFFSET))
		return OTHER;
	if (ip.saddr != local_addr)
		return OTHER;

	if (bpf_skb_load_bytes(skb, off + ihl, &icmp, sizeof(icmp)))
		return OTHER;
	if (icmp.type != ICMP_ECHO_REQUEST || icmp.id != echo_id)
		return OTHER;

	if (icmp.code != 0 || !is_peer(ip.daddr))
		return CLAIMED;
	return OURS;
}

/* An ICMP message of @len bytes at @off, sent by @from. */
static __always_inline enum verdict icmp(struct __sk_buff *skb, __u32 off, __u32 len, __be32 from)
{
	struct icmp_header icmp;

	if (len < sizeof(icmp) || bpf_skb_load_bytes(skb, off, &icmp, sizeof(icmp)))
		return OTHER;
	off += sizeof(icmp);
	len -= sizeof(icmp);

	switch (icmp.type) {
	case ICMP_ECHO_REPLY:
		if (icmp.id != echo_id)
			return OTHER;
		if (icmp.code != 0 || !is_peer(from) || !has_cookie(skb, off, len))
			return CLAIMED;
		return OURS;
	case ICMP_UNREACHABLE:
	case ICMP_REDIRECT:
	case ICMP_TIME_EXCEEDED:
	case ICMP_PARAMETER_PROBLEM:
		return quote(skb, off, len);
	}
	return OTHER;
}

/*
 * A whole IPv4 datagram to us. Its length is the header's: the frame's may
 * have Ethernet's padding in it.
 */
static __always_inline enum verdict ipv4(struct __sk_buff *skb)
{
	__u32 ihl, total;
	struct iphdr ip;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)))
		return OTHER;
	ihl = ipv4_header_len(&ip);
	total = bpf_ntohs(ip.tot_len);
	if (!ihl || total < ihl || ETH_HLEN + total > skb->len)
		return OTHER;
	if (ip.frag_off & bpf_htons(IP_MF | IP_OFFSET))
		return OTHER;
	if (ip.protocol != IPPROTO_ICMP || ip.daddr != local_addr)
		return OTHER;
	return icmp(skb, ETH_HLEN + ihl, total - ihl, ip.saddr);
}

/* An ARP reply that the peer sent to us. */
static __always_inline enum verdict arp(struct __sk_buff *skb)
{
	struct arp_packet arp;
	__u32 i;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &arp, sizeof(arp)))
		return OTHER;
	if (arp.hardware_type != bpf_htons(ARP_HARDWARE_ETHERNET) ||
	    arp.protocol_type != bpf_htons(ETH_P_IP) ||
	    arp.hardware_len != ETH_ALEN || arp.protocol_len != sizeof(__be32) ||
	    arp.operation != bpf_htons(ARP_REPLY))
		return OTHER;
	if (arp.sender_addr != peer_addr || arp.target_addr != local_addr)
		return OTHER;
	for (i = 0; i < ETH_ALEN; i++)
		if (arp.target_mac[i] != local_mac[i])
			return OTHER;
	return OURS;
}

/*
 * A frame that the interface took for this host, or for a group. The kernel
 * moves the outer VLAN tag out of the frame before a packet socket sees it.
 */
static __always_inline enum verdict ethernet(struct __sk_buff *skb)
{
	enum verdict verdict;
	__be16 ethertype;

	if (skb->pkt_type != PACKET_HOST && skb->pkt_type != PACKET_BROADCAST &&
	    skb->pkt_type != PACKET_MULTICAST)
		return OTHER;
	if (bpf_skb_load_bytes(skb, offsetof(struct ethhdr, h_proto), &ethertype, sizeof(ethertype)))
		return OTHER;

	switch (kind) {
	case KIND_ECHO_REPLY:
		if (ethertype != bpf_htons(ETH_P_IP))
			return OTHER;
		verdict = ipv4(skb);
		if (verdict == OURS && skb->vlan_present)
			return CLAIMED;
		return verdict;
	case KIND_ARP_REPLY:
		if (ethertype != bpf_htons(ETH_P_ARP) || skb->vlan_present)
			return OTHER;
		return arp(skb);
	}
	return OTHER;
}

/* Returns how many bytes of the frame the socket gets: all of them, or none. */
SEC("socket")
int l2ping_match(struct __sk_buff *skb)
{
	switch (ethernet(skb)) {
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
