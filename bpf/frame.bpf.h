/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the socket filters of l2ping have in common: the headers of a frame, and
 * the way to what it carries.
 *
 * The programs run on an AF_PACKET socket of type SOCK_RAW, where offset 0 is
 * the Ethernet header, or the IP header if the interface has no link layer. A
 * socket filter may not use data and data_end, so every header is copied out by
 * bpf_skb_load_bytes(), which fails rather than read past the frame.
 *
 * The headers of this machine describe its own byte order, whatever the
 * target is: asm/byteorder.h and the bit fields of struct iphdr are wrong for
 * one of bpfel and bpfeb. Only bpf_endian.h, which asks the compiler, is used
 * for byte order, and no bit field is read. <linux/icmp.h>, <linux/if_arp.h> and
 * <linux/ipv6.h> are left out because they need the C library of the target.
 */
#ifndef L2PING_FRAME_BPF_H
#define L2PING_FRAME_BPF_H

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

/* IEEE 802.1Q */
#define VLAN_ID 0x0fff
#define VLAN_ID_BITS 12
#define MAX_TAGS_LEFT 2 /* in the frame itself */

/* RFC 791, and RFC 8200, section 4.5: the fragment's offset. */
#define IP_OFFSET 0x1fff
#define IPV6_OFFSET 0xfff8

#define NEXTHDR_FRAGMENT 44
#define NEXTHDR_ICMPV6 58

/* RFC 792 */
#define ICMP_ECHO_REPLY 0
#define ICMP_UNREACHABLE 3
#define ICMP_REDIRECT 5
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETER_PROBLEM 12

/* RFC 4443, RFC 4861 */
#define ICMPV6_UNREACHABLE 1
#define ICMPV6_PACKET_TOO_BIG 2
#define ICMPV6_TIME_EXCEEDED 3
#define ICMPV6_PARAMETER_PROBLEM 4
#define ICMPV6_ECHO_REPLY 129
#define ICMPV6_NEIGHBOR_ADVERTISEMENT 136
#define NEIGHBOR_HOP_LIMIT 255

/* RFC 826 */
#define ARP_HARDWARE_ETHERNET 1
#define ARP_REQUEST 1
#define ARP_REPLY 2

/* Addresses as they lie in the frame, in parts that are compared at once. */
struct addr6 {
	__u64 half[2];
};

struct mac {
	__be16 part[ETH_ALEN / 2];
};

struct ethernet_header {
	struct mac dst;
	struct mac src;
	__be16 type;
};

struct ipv6_header {
	__u8 version; /* in the upper half */
	__u8 flow[3];
	__be16 payload_len;
	__u8 next_header;
	__u8 hop_limit;
	struct addr6 saddr;
	struct addr6 daddr;
};

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
	struct mac sender_mac;
	__be32 sender_addr;
	struct mac target_mac;
	__be32 target_addr;
} __attribute__((packed, aligned(4)));

struct vlan_tag {
	__be16 tci;
	__be16 ethertype; /* of what follows */
};

/* The interface, and the address that is ours. User space writes them before loading. */
const volatile __u8 no_link; /* the frame begins at IP */
const volatile __u8 has_mac;
const volatile struct mac local_mac;

static __always_inline int is_local_mac(const struct mac *mac)
{
	return mac->part[0] == local_mac.part[0] && mac->part[1] == local_mac.part[1] &&
	       mac->part[2] == local_mac.part[2];
}

/* ff02::1: RFC 4291, section 2.7.1. */
static __always_inline int is_all_nodes(const struct addr6 *addr)
{
	return addr->half[0] == bpf_cpu_to_be64(0xff02000000000000ULL) &&
	       addr->half[1] == bpf_cpu_to_be64(1);
}

/* ARP between Ethernet and IPv4. */
static __always_inline int is_ethernet_arp(const struct arp_packet *arp)
{
	return arp->hardware_type == bpf_htons(ARP_HARDWARE_ETHERNET) &&
	       arp->protocol_type == bpf_htons(ETH_P_IP) && arp->hardware_len == ETH_ALEN &&
	       arp->protocol_len == sizeof(__be32);
}

/* The header's length in bytes, 20 to 60, or 0 if it is no IPv4 header. */
static __always_inline __u32 ipv4_header_len(const struct iphdr *ip)
{
	__u8 first = *(const __u8 *)ip;

	if (first >> 4 != 4 || (first & 0xf) < 5)
		return 0;
	return (first & 0xf) * 4;
}

/*
 * Tags in one number: the ids of all but priority tags, outer first, 12 bits
 * each. A frame may have one more than what it is compared with: 36 bits.
 */
static __always_inline __u64 add_tag(__u64 tags, __u16 tci)
{
	__u16 id = tci & VLAN_ID;

	return id ? tags << VLAN_ID_BITS | id : tags;
}

/*
 * Goes to where the packet begins that a frame carries: @off gets the place,
 * @tags the frame's tags, and the type in @eth is that of the packet. Without a
 * link layer there is no more than the type in @eth.
 *
 * Returns 0 if there is none, or if the frame is not for us. Those are that the
 * interface took for this host, or for a group, or that are to our address, or
 * all if @promiscuous. The kernel moves the outer VLAN tag out of the frame
 * before a packet socket sees it.
 */
static __always_inline int find_packet(struct __sk_buff *skb, struct ethernet_header *eth,
				       __u32 *off, __u64 *tags, int promiscuous)
{
	struct vlan_tag tag;
	__u8 first;
	__u32 i;

	*off = 0;
	*tags = 0;
	if (!no_link) {
		if (bpf_skb_load_bytes(skb, 0, eth, sizeof(*eth)))
			return 0;
		*off = sizeof(*eth);
	}
	switch (skb->pkt_type) {
	case PACKET_HOST:
	case PACKET_BROADCAST:
	case PACKET_MULTICAST:
		break;
	case PACKET_OTHERHOST:
		if (promiscuous || (has_mac && is_local_mac(&eth->dst)))
			break;
		return 0;
	default:
		return 0;
	}

	if (skb->vlan_present)
		*tags = add_tag(*tags, skb->vlan_tci);
	if (no_link) {
		if (bpf_skb_load_bytes(skb, 0, &first, sizeof(first)))
			return 0;
		switch (first >> 4) {
		case 4:
			eth->type = bpf_htons(ETH_P_IP);
			return 1;
		case 6:
			eth->type = bpf_htons(ETH_P_IPV6);
			return 1;
		}
		return 0;
	}
	for (i = 0; i < MAX_TAGS_LEFT; i++) {
		if (eth->type != bpf_htons(ETH_P_8021Q) && eth->type != bpf_htons(ETH_P_8021AD))
			break;
		if (bpf_skb_load_bytes(skb, *off, &tag, sizeof(tag)))
			return 0;
		*off += sizeof(tag);
		*tags = add_tag(*tags, bpf_ntohs(tag.tci));
		eth->type = tag.ethertype;
	}
	return 1;
}

#endif
