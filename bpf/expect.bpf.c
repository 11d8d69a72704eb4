//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The socket filter of l2ping for many requests: keeps the frames that answer
 * what user space has put into a map. A request and its answer have keys in
 * common; AppendAnswerKeys and its helpers (expect_keys.go) say the same in Go,
 * and a summary (expect_classic.go) says no less in classic BPF; change the
 * three together. User space decides whether what passes is an answer.
 *
 * What match.bpf.c says of socket filters, of headers and of byte order holds
 * here too.
 */
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

#define MAX_ETHERTYPES 8

/* RFC 791, and RFC 8200, section 4.5: the fragment's offset. */
#define IP_OFFSET 0x1fff
#define IPV6_OFFSET 0xfff8

#define NEXTHDR_HOP 0
#define NEXTHDR_ROUTING 43
#define NEXTHDR_FRAGMENT 44
#define NEXTHDR_ICMPV6 58
#define NEXTHDR_DEST 60

/* RFC 792 and RFC 950 */
#define ICMP_ECHO_REPLY 0
#define ICMP_UNREACHABLE 3
#define ICMP_SOURCE_QUENCH 4
#define ICMP_REDIRECT 5
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETER_PROBLEM 12
#define ICMP_TIMESTAMP_REPLY 14
#define ICMP_INFORMATION_REPLY 16
#define ICMP_MASK_REPLY 18

/* RFC 4443, RFC 4861 */
#define ICMPV6_UNREACHABLE 1
#define ICMPV6_PACKET_TOO_BIG 2
#define ICMPV6_TIME_EXCEEDED 3
#define ICMPV6_PARAMETER_PROBLEM 4
#define ICMPV6_ECHO_REPLY 129
#define ICMPV6_ROUTER_ADVERTISEMENT 134
#define ICMPV6_NEIGHBOR_ADVERTISEMENT 136
#define ROUTER_ADVERTISEMENT_LEN 16
#define NEIGHBOR_ADVERTISEMENT_LEN 24
#define NEIGHBOR_HOP_LIMIT 255

#define TCP_LEN 20
#define UDP_LEN 8
#define DNS_LEN 12
#define QUOTED_LEN 8 /* RFC 792: what an error quotes at least behind the IP header */
#define PORT_DNS 53
#define PORT_MDNS 5353

/* RFC 826 */
#define ARP_HARDWARE_ETHERNET 1
#define ARP_REPLY 2

/* An address as it lies in the frame, that of IPv4 as IPv6 maps it. */
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

/* The beginning of an extension header. The length does not count the first eight bytes. */
struct extension_header {
	__u8 next_header;
	__u8 len; /* of options; in eights */
	__be16 offset; /* of a fragment; and flags */
};

/* The first eight bytes of an ICMP message. */
struct icmp_header {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be16 id;
	__be16 sequence;
};

/* The first eight bytes of a TCP segment, and the first half of a UDP header. */
struct ports {
	__be16 source;
	__be16 dest;
	__be32 sequence;
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

enum kind {
	KIND_ARP = 1,
	KIND_IPV4,
	KIND_QUOTE4,
	KIND_IPV6,
	KIND_QUOTE6,
	KIND_NEIGHBOR,
};

/*
 * Key of expect.go. It is written by whole words alone, and what is loaded from
 * the frame has room of its own: a word of the stack that a known number was
 * written to is like a saved register to the verifier of Linux 6.1, and without
 * CAP_PERFMON no part of it may be written afterwards (check_stack_write_fixed_off
 * in kernel/bpf/verifier.c).
 */
struct key {
	__be64 head; /* kind, protocol, ICMP type and code; tags as add_tag() makes them */
	struct addr6 local; /* zeros: whatever it is */
	struct addr6 peer; /* zeros: anybody's */
	__be64 tail; /* two numbers of 16 bits, and one of 32 */
};

/*
 * What is expected. User space sets the number of entries, and fills it; memory
 * is taken as it does.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct key);
	__type(value, __u8);
} l2ping_keys SEC(".maps");

/* The ExpectConfig, written before loading. */
const volatile __u8 no_link; /* the frame begins at IP */
const volatile __u8 promiscuous;
const volatile __u8 has_mac;
const volatile struct mac local_mac;
const volatile __u8 own_count;
const volatile __be16 own_types[MAX_ETHERTYPES];

/* Whether there are keys without local or peer, written before they are. */
__u8 anybody;

static __always_inline int is_expected(const struct key *key)
{
	return bpf_map_lookup_elem(&l2ping_keys, key) != NULL;
}

/*
 * The same for a key that a request may have to anybody, or to whom it does not
 * know itself.
 */
static __always_inline int is_pair(struct key *key)
{
	if (is_expected(key))
		return 1;
	if (!anybody)
		return 0;
	key->peer.half[0] = 0;
	key->peer.half[1] = 0;
	if (is_expected(key))
		return 1;
	key->local.half[0] = 0;
	key->local.half[1] = 0;
	return is_expected(key);
}

/* What begins a key of no tags, before it is turned to network order. */
static __always_inline __u64 head(enum kind kind, __u8 protocol)
{
	return (__u64)kind << 56 | (__u64)protocol << 48;
}

/* Of an ICMP message. */
static __always_inline __u64 message(__u8 type, __u8 code)
{
	return (__u64)type << 40 | (__u64)code << 32;
}

static __always_inline __be64 tail(__be16 a, __be16 b, __u32 c)
{
	return bpf_cpu_to_be64((__u64)bpf_ntohs(a) << 48 | (__u64)bpf_ntohs(b) << 32 | c);
}

/* The second half of an IPv4 address, whose first is 0: RFC 4291, section 2.5.5.2. */
static __always_inline __be64 mapped(__be32 addr)
{
	return bpf_cpu_to_be64(0x0000ffff00000000ULL | bpf_ntohl(addr));
}

static __always_inline int is_same(const struct addr6 *a, const struct addr6 *b)
{
	return a->half[0] == b->half[0] && a->half[1] == b->half[1];
}

/* ff02::1: RFC 4291, section 2.7.1. */
static __always_inline int is_all_nodes(const struct addr6 *addr)
{
	return addr->half[0] == bpf_cpu_to_be64(0xff02000000000000ULL) &&
	       addr->half[1] == bpf_cpu_to_be64(1);
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
 * The length of the IPv6 header @ip at @off and of an extension header behind it,
 * or 0 if there are more or others, or it is a later fragment, or they are longer
 * than @len. @protocol gets what follows them.
 */
static __always_inline __u32 ipv6_headers_len(struct __sk_buff *skb, const struct ipv6_header *ip,
					      __u32 off, __u32 len, __u8 *protocol)
{
	__u32 headers = sizeof(*ip) + 8;
	struct extension_header ext;

	*protocol = ip->next_header;
	switch (ip->next_header) {
	case NEXTHDR_ROUTING:
		return 0;
	case NEXTHDR_HOP:
	case NEXTHDR_DEST:
	case NEXTHDR_FRAGMENT:
		break;
	default:
		return sizeof(*ip);
	}

	if (len < headers || bpf_skb_load_bytes(skb, off + sizeof(*ip), &ext, sizeof(ext)))
		return 0;
	if (ip->next_header != NEXTHDR_FRAGMENT)
		headers += ext.len * 8;
	else if (ext.offset & bpf_htons(IPV6_OFFSET))
		return 0;
	if (len < headers)
		return 0;
	switch (ext.next_header) {
	case NEXTHDR_HOP:
	case NEXTHDR_ROUTING:
	case NEXTHDR_FRAGMENT:
	case NEXTHDR_DEST:
		return 0;
	}
	*protocol = ext.next_header;
	return headers;
}

/*
 * What an error quotes behind the IP header, at @off, of which @len bytes are
 * there. @icmp is the protocol number of ICMP, @protocol that of the quote.
 */
static __always_inline int quoted(struct __sk_buff *skb, __u32 off, __u32 len, struct key *key,
				  __u64 begin, __u8 protocol, __u8 icmp)
{
	struct icmp_header header;
	struct ports ports;

	if (protocol == icmp) {
		if (len < QUOTED_LEN || bpf_skb_load_bytes(skb, off, &header, sizeof(header)))
			return 0;
		begin |= message(header.type, header.code);
		key->tail = tail(header.id, header.sequence, 0);
	} else if (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP) {
		if (len < QUOTED_LEN || bpf_skb_load_bytes(skb, off, &ports, sizeof(ports)))
			return 0;
		key->tail = tail(ports.source, ports.dest,
				 protocol == IPPROTO_TCP ? bpf_ntohl(ports.sequence) : 0);
	}
	key->head = bpf_cpu_to_be64(begin);
	return is_expected(key);
}

/*
 * The quote in an ICMP error at @off, of @len bytes: a datagram of whom the error
 * is for. Its own length is not looked at, which is more than what is quoted.
 */
static __always_inline int quote4(struct __sk_buff *skb, __u32 off, __u32 len, struct key *key,
				  __u64 tags)
{
	struct iphdr ip;
	__u32 ihl;

	if (len < sizeof(ip) || bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)))
		return 0;
	ihl = ipv4_header_len(&ip);
	if (!ihl || len < ihl || ip.frag_off & bpf_htons(IP_OFFSET))
		return 0;
	if (mapped(ip.saddr) != key->local.half[1])
		return 0;
	key->peer.half[1] = mapped(ip.daddr);
	return quoted(skb, off + ihl, len - ihl, key, head(KIND_QUOTE4, ip.protocol) | tags,
		      ip.protocol, IPPROTO_ICMP);
}

/* The same in an ICMPv6 error. */
static __always_inline int quote6(struct __sk_buff *skb, __u32 off, __u32 len, struct key *key,
				  __u64 tags)
{
	struct ipv6_header ip;
	__u32 headers;
	__u8 protocol;

	if (len < sizeof(ip) || bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)))
		return 0;
	if (ip.version >> 4 != 6 || !is_same(&ip.saddr, &key->local))
		return 0;
	headers = ipv6_headers_len(skb, &ip, off, len, &protocol);
	if (!headers)
		return 0;
	key->peer = ip.daddr;
	return quoted(skb, off + headers, len - headers, key, head(KIND_QUOTE6, protocol) | tags,
		      protocol, NEXTHDR_ICMPV6);
}

/* A TCP segment at @off, of @len bytes. */
static __always_inline int tcp(struct __sk_buff *skb, __u32 off, __u32 len, struct key *key)
{
	struct ports ports;

	if (len < TCP_LEN || bpf_skb_load_bytes(skb, off, &ports, sizeof(ports)))
		return 0;
	key->tail = tail(ports.dest, ports.source, 0);
	return is_pair(key);
}

/* A UDP datagram at @off, of @len bytes. DNS is told by its identifier too. */
static __always_inline int udp(struct __sk_buff *skb, __u32 off, __u32 len, struct key *key)
{
	struct ports ports;
	__u32 dns = 0;
	__be16 id;

	if (len < UDP_LEN || bpf_skb_load_bytes(skb, off, &ports, sizeof(ports)))
		return 0;
	if ((ports.source == bpf_htons(PORT_DNS) || ports.source == bpf_htons(PORT_MDNS)) &&
	    len >= UDP_LEN + DNS_LEN) {
		if (bpf_skb_load_bytes(skb, off + UDP_LEN, &id, sizeof(id)))
			return 0;
		dns = 0x10000 | bpf_ntohs(id);
	}
	key->tail = tail(ports.dest, ports.source, dns);
	return is_pair(key);
}

/* An ICMP message at @off, of @len bytes. */
static __always_inline int icmp(struct __sk_buff *skb, __u32 off, __u32 len, struct key *key,
				__u64 tags)
{
	struct icmp_header header;

	if (len < sizeof(header) || bpf_skb_load_bytes(skb, off, &header, sizeof(header)))
		return 0;
	switch (header.type) {
	case ICMP_ECHO_REPLY:
	case ICMP_TIMESTAMP_REPLY:
	case ICMP_INFORMATION_REPLY:
	case ICMP_MASK_REPLY:
		key->head = bpf_cpu_to_be64(head(KIND_IPV4, IPPROTO_ICMP) |
					    message(header.type, 0) | tags);
		key->tail = tail(header.id, header.sequence, 0);
		return is_pair(key);
	case ICMP_UNREACHABLE:
	case ICMP_SOURCE_QUENCH:
	case ICMP_REDIRECT:
	case ICMP_TIME_EXCEEDED:
	case ICMP_PARAMETER_PROBLEM:
		return quote4(skb, off + sizeof(header), len - sizeof(header), key, tags);
	}
	return 0;
}

/*
 * A neighbor advertisement at @off. To all nodes it answers an address probe,
 * which is from the unspecified address.
 */
static __always_inline int advertisement(struct __sk_buff *skb, __u32 off, struct key *key,
					 __u64 tags)
{
	struct addr6 target;

	if (bpf_skb_load_bytes(skb, off + sizeof(struct icmp_header), &target, sizeof(target)))
		return 0;
	key->head = bpf_cpu_to_be64(head(KIND_NEIGHBOR, 0) | tags);
	key->peer = target;
	if (is_all_nodes(&key->local)) {
		key->local.half[0] = 0;
		key->local.half[1] = 0;
	}
	return is_expected(key);
}

/*
 * The same of ICMPv6. @discovery says that no router has passed the datagram on,
 * and that it has no extension header: RFC 4861, section 7.1, and RFC 6980.
 */
static __always_inline int icmpv6(struct __sk_buff *skb, __u32 off, __u32 len, struct key *key,
				  __u64 tags, int discovery)
{
	struct icmp_header header;

	if (len < sizeof(header) || bpf_skb_load_bytes(skb, off, &header, sizeof(header)))
		return 0;
	key->head = bpf_cpu_to_be64(head(KIND_IPV6, NEXTHDR_ICMPV6) | message(header.type, 0) |
				    tags);
	switch (header.type) {
	case ICMPV6_ECHO_REPLY:
		key->tail = tail(header.id, header.sequence, 0);
		return is_pair(key);
	case ICMPV6_ROUTER_ADVERTISEMENT:
		if (!discovery || header.code != 0 || len < ROUTER_ADVERTISEMENT_LEN)
			return 0;
		return is_pair(key);
	case ICMPV6_NEIGHBOR_ADVERTISEMENT:
		if (!discovery || header.code != 0 || len < NEIGHBOR_ADVERTISEMENT_LEN)
			return 0;
		return advertisement(skb, off, key, tags);
	case ICMPV6_UNREACHABLE:
	case ICMPV6_PACKET_TOO_BIG:
	case ICMPV6_TIME_EXCEEDED:
	case ICMPV6_PARAMETER_PROBLEM:
		return quote6(skb, off + sizeof(header), len - sizeof(header), key, tags);
	}
	return 0;
}

/*
 * A whole IPv4 datagram at @off, or the first fragment of one. Its length is the
 * header's: the frame's may have Ethernet's padding in it.
 */
static __always_inline int ipv4(struct __sk_buff *skb, __u32 off, struct key *key, __u64 tags)
{
	__u32 ihl, total;
	struct iphdr ip;

	if (bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)))
		return 0;
	ihl = ipv4_header_len(&ip);
	total = bpf_ntohs(ip.tot_len);
	if (!ihl || total < ihl || off + total > skb->len)
		return 0;
	if (ip.frag_off & bpf_htons(IP_OFFSET))
		return 0;
	key->head = bpf_cpu_to_be64(head(KIND_IPV4, ip.protocol) | tags);
	key->local.half[1] = mapped(ip.daddr);
	key->peer.half[1] = mapped(ip.saddr);

	switch (ip.protocol) {
	case IPPROTO_ICMP:
		return icmp(skb, off + ihl, total - ihl, key, tags);
	case IPPROTO_TCP:
		return tcp(skb, off + ihl, total - ihl, key);
	case IPPROTO_UDP:
		return udp(skb, off + ihl, total - ihl, key);
	default:
		return is_pair(key);
	}
}

/* The same of IPv6. */
static __always_inline int ipv6(struct __sk_buff *skb, __u32 off, struct key *key, __u64 tags)
{
	struct ipv6_header ip;
	__u32 headers, total;
	__u8 protocol;

	if (bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)))
		return 0;
	total = sizeof(ip) + bpf_ntohs(ip.payload_len);
	if (ip.version >> 4 != 6 || off + total > skb->len)
		return 0;
	headers = ipv6_headers_len(skb, &ip, off, total, &protocol);
	if (!headers)
		return 0;
	key->head = bpf_cpu_to_be64(head(KIND_IPV6, protocol) | tags);
	key->local = ip.daddr;
	key->peer = ip.saddr;

	switch (protocol) {
	case NEXTHDR_ICMPV6:
		return icmpv6(skb, off + headers, total - headers, key, tags,
			      headers == sizeof(ip) && ip.hop_limit == NEIGHBOR_HOP_LIMIT);
	case IPPROTO_TCP:
		return tcp(skb, off + headers, total - headers, key);
	case IPPROTO_UDP:
		return udp(skb, off + headers, total - headers, key);
	default:
		return is_pair(key);
	}
}

/* An ARP reply, whomever it is to. */
static __always_inline int arp(struct __sk_buff *skb, __u32 off, struct key *key, __u64 tags)
{
	struct arp_packet arp;

	if (bpf_skb_load_bytes(skb, off, &arp, sizeof(arp)))
		return 0;
	if (arp.hardware_type != bpf_htons(ARP_HARDWARE_ETHERNET) ||
	    arp.protocol_type != bpf_htons(ETH_P_IP) ||
	    arp.hardware_len != ETH_ALEN || arp.protocol_len != sizeof(__be32) ||
	    arp.operation != bpf_htons(ARP_REPLY))
		return 0;
	key->head = bpf_cpu_to_be64(head(KIND_ARP, 0) | tags);
	key->peer.half[1] = mapped(arp.sender_addr);
	return is_expected(key);
}

/*
 * Tags in one number: the ids of all but priority tags, outer first, 12 bits
 * each. A frame may have one more than a request: 36 bits.
 */
static __always_inline __u64 add_tag(__u64 tags, __u16 tci)
{
	__u16 id = tci & VLAN_ID;

	return id ? tags << VLAN_ID_BITS | id : tags;
}

static __always_inline int is_own_type(__be16 ethertype)
{
	__u32 i;

	for (i = 0; i < MAX_ETHERTYPES; i++)
		if (i < own_count && ethertype == own_types[i])
			return 1;
	return 0;
}

static __always_inline int is_local_mac(const struct mac *mac)
{
	return has_mac && mac->part[0] == local_mac.part[0] &&
	       mac->part[1] == local_mac.part[1] && mac->part[2] == local_mac.part[2];
}

/*
 * A frame that the interface took for this host, or for a group, or that is to
 * our address. The kernel moves the outer VLAN tag out of the frame before a
 * packet socket sees it.
 */
static __always_inline int link(struct __sk_buff *skb)
{
	struct ethernet_header eth;
	struct key key = {};
	struct vlan_tag tag;
	__be16 ethertype = 0;
	int to_mac = 0;
	__u32 off = 0;
	__u64 tags = 0;
	__u8 first;
	__u32 i;

	if (!no_link) {
		if (bpf_skb_load_bytes(skb, 0, &eth, sizeof(eth)))
			return 0;
		off = sizeof(eth);
		ethertype = eth.type;
		to_mac = is_local_mac(&eth.dst);
	}
	switch (skb->pkt_type) {
	case PACKET_HOST:
	case PACKET_BROADCAST:
	case PACKET_MULTICAST:
		break;
	case PACKET_OTHERHOST:
		if (promiscuous || to_mac)
			break;
		return 0;
	default:
		return 0;
	}

	if (skb->vlan_present)
		tags = add_tag(tags, skb->vlan_tci);
	if (no_link) {
		if (bpf_skb_load_bytes(skb, 0, &first, sizeof(first)))
			return 0;
		if (first >> 4 == 4)
			ethertype = bpf_htons(ETH_P_IP);
		else if (first >> 4 == 6)
			ethertype = bpf_htons(ETH_P_IPV6);
		else
			return 0;
	} else {
		for (i = 0; i < MAX_TAGS_LEFT; i++) {
			if (ethertype != bpf_htons(ETH_P_8021Q) &&
			    ethertype != bpf_htons(ETH_P_8021AD))
				break;
			if (bpf_skb_load_bytes(skb, off, &tag, sizeof(tag)))
				return 0;
			off += sizeof(tag);
			tags = add_tag(tags, bpf_ntohs(tag.tci));
			ethertype = tag.ethertype;
		}
	}

	if (is_own_type(ethertype))
		return 1;
	if (tags >> (2 * VLAN_ID_BITS))
		return 0; /* a third tag, which no request has */
	switch (ethertype) {
	case bpf_htons(ETH_P_IP):
		return ipv4(skb, off, &key, tags);
	case bpf_htons(ETH_P_IPV6):
		return ipv6(skb, off, &key, tags);
	case bpf_htons(ETH_P_ARP):
		return arp(skb, off, &key, tags);
	}
	return 0;
}

/* Returns how many bytes of the frame the socket gets: all of them, or none. */
SEC("socket")
int l2ping_expect(struct __sk_buff *skb)
{
	return link(skb) ? KEEP : DROP;
}

char _license[] SEC("license") = "Dual BSD/GPL";
