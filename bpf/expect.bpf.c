//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The socket filter of l2ping for many requests: keeps the frames that answer
 * what user space has put into a table. A request and its answer have keys in
 * common; AppendAnswerKeys and its helpers (expect_keys.go) say the same in Go,
 * and a summary (expect_classic.go) says no less in classic BPF; change the
 * three together. User space decides whether what passes is an answer.
 *
 * The table has fingerprints of the keys. User space writes it as memory of its
 * own (expect_table_linux.go), so that what is expected changes without a system
 * call.
 */
#include "frame.bpf.h"

#define MAX_ETHERTYPES 8

#define NEXTHDR_HOP 0
#define NEXTHDR_ROUTING 43
#define NEXTHDR_DEST 60

/* RFC 792 and RFC 950 */
#define ICMP_SOURCE_QUENCH 4
#define ICMP_TIMESTAMP_REPLY 14
#define ICMP_INFORMATION_REPLY 16
#define ICMP_MASK_REPLY 18

/* RFC 4861 */
#define ICMPV6_ROUTER_ADVERTISEMENT 134
#define ROUTER_ADVERTISEMENT_LEN 16
#define NEIGHBOR_ADVERTISEMENT_LEN 24

#define TCP_LEN 20
#define UDP_LEN 8
#define DNS_LEN 12
#define PORT_DNS 53
#define PORT_MDNS 5353

/* The beginning of an extension header. The length does not count the first eight bytes. */
struct extension_header {
	__u8 next_header;
	__u8 len; /* of options; in eights */
	__be16 offset; /* of a fragment; and flags */
};

/*
 * The first eight bytes of a TCP segment, of a UDP datagram, or of an ICMP message:
 * what an error quotes at least (RFC 792).
 */
struct beginning {
	union {
		__be32 ports; /* from, to */
		struct {
			__u8 type;
			__u8 code;
		};
	};
	__be32 number; /* TCP's sequence number; ICMP's identifier and sequence number */
};

/* What the headers of IP say, but for the addresses. */
struct datagram {
	__u32 off; /* of what it carries, in the frame */
	__u32 len; /* of that */
	__u8 protocol;
	__u8 fresh; /* no router has passed it on, and IPv6 has no extension header */
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

#define BUCKET_LEN 4

struct bucket {
	__u64 slot[BUCKET_LEN]; /* fingerprints, or 0 */
};

/*
 * What is expected: the fingerprint of each key is in one of two buckets. User
 * space sets the number of entries, and fills them. The first is no bucket, but
 * has what holds for the whole table.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bucket);
} l2ping_table SEC(".maps");

/* The slots of the first entry. */
#define CROWDED 0 /* how many keys are expected for which there was no room */
#define ANYBODY 1 /* whether there are keys of a PAIR without local or peer */

#define KEY_WORDS 6

/* The ExpectConfig, written before loading. */
const volatile __u8 promiscuous;
const volatile __u8 own_count;
const volatile __be16 own_types[MAX_ETHERTYPES];

const volatile __u64 secret[KEY_WORDS]; /* what nobody on the wire knows */
const volatile __u32 buckets; /* entries, but for the first */

/* What to do with a frame. */
enum verdict {
	OTHER, /* it is no answer, or not for us */
	OWN, /* it passes for its EtherType */
	EXACT, /* it passes if its key is expected */
	PAIR, /* the same, or if the key of a request to anybody, or by whomever, is */
};

/* Two halves as they lie in memory. */
static __always_inline __be64 join(__be32 first, __be32 second)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return (__u64)second << 32 | first;
#else
	return (__u64)first << 32 | second;
#endif
}

static __always_inline __be64 head(enum kind kind, __u8 protocol, __u8 type, __u8 code,
				   __u64 tags)
{
	return bpf_cpu_to_be64((__u64)kind << 56 | (__u64)protocol << 48 | (__u64)type << 40 |
			       (__u64)code << 32 | tags);
}

/* The second half of an IPv4 address, whose first is 0: RFC 4291, section 2.5.5.2. */
static __always_inline __be64 mapped(__be32 addr)
{
	return join(bpf_htonl(0xffff), addr);
}

static __always_inline int is_same(const struct addr6 *a, const struct addr6 *b)
{
	return a->half[0] == b->half[0] && a->half[1] == b->half[1];
}

/*
 * Reads the header @ip at @off of an IPv4 datagram, of which @len bytes are there.
 * Returns 0 if it is none, or a later fragment.
 */
static __always_inline int read_ipv4(__u32 off, __u32 len, const struct iphdr *ip,
				     struct datagram *d)
{
	__u32 ihl = ipv4_header_len(ip);

	if (!ihl || len < ihl || ip->frag_off & bpf_htons(IP_OFFSET))
		return 0;
	d->off = off + ihl;
	d->len = len - ihl;
	d->protocol = ip->protocol;
	return 1;
}

/*
 * The same of IPv6, and of an extension header behind it. Returns 0 also if there
 * are more or others.
 */
static __always_inline int read_ipv6(struct __sk_buff *skb, __u32 off, __u32 len,
				     const struct ipv6_header *ip, struct datagram *d)
{
	__u32 headers = sizeof(*ip) + 8;
	struct extension_header ext;

	if (ip->version >> 4 != 6)
		return 0;
	d->protocol = ip->next_header;
	d->fresh = 0;
	switch (ip->next_header) {
	case NEXTHDR_ROUTING:
		return 0;
	case NEXTHDR_HOP:
	case NEXTHDR_DEST:
	case NEXTHDR_FRAGMENT:
		break;
	default:
		d->off = off + sizeof(*ip);
		d->len = len - sizeof(*ip);
		d->fresh = ip->hop_limit == NEIGHBOR_HOP_LIMIT;
		return 1;
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
	d->off = off + headers;
	d->len = len - headers;
	d->protocol = ext.next_header;
	return 1;
}

static __always_inline int load(struct __sk_buff *skb, const struct datagram *d,
				struct beginning *b)
{
	return d->len >= sizeof(*b) && !bpf_skb_load_bytes(skb, d->off, b, sizeof(*b));
}

/*
 * The datagram that an ICMP error quotes, and its key of the kind @kind. @icmp is
 * the protocol number of ICMP.
 */
static __always_inline enum verdict quoted(struct __sk_buff *skb, const struct datagram *d,
					   struct key *key, __u64 tags, enum kind kind, __u8 icmp)
{
	struct beginning b;

	key->head = head(kind, d->protocol, 0, 0, tags);
	if (d->protocol != icmp && d->protocol != IPPROTO_TCP && d->protocol != IPPROTO_UDP)
		return EXACT;
	if (!load(skb, d, &b))
		return OTHER;
	if (d->protocol == icmp) {
		key->head = head(kind, d->protocol, b.type, b.code, tags);
		key->tail = join(b.number, 0);
	} else {
		key->tail = join(b.ports, d->protocol == IPPROTO_TCP ? b.number : 0);
	}
	return EXACT;
}

/*
 * The quote in an ICMP error at @off, of @len bytes: a datagram of whom the error
 * is for. Its own length is not looked at, which is more than what is quoted.
 */
static __always_inline enum verdict quote4(struct __sk_buff *skb, __u32 off, __u32 len,
					   struct key *key, __u64 tags)
{
	struct datagram d;
	struct iphdr ip;

	if (len < sizeof(ip) || bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)))
		return OTHER;
	if (!read_ipv4(off, len, &ip, &d) || mapped(ip.saddr) != key->local.half[1])
		return OTHER;
	key->peer.half[1] = mapped(ip.daddr);
	return quoted(skb, &d, key, tags, KIND_QUOTE4, IPPROTO_ICMP);
}

/* The same in an ICMPv6 error. */
static __always_inline enum verdict quote6(struct __sk_buff *skb, __u32 off, __u32 len,
					   struct key *key, __u64 tags)
{
	struct ipv6_header ip;
	struct datagram d;

	if (len < sizeof(ip) || bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)))
		return OTHER;
	if (!read_ipv6(skb, off, len, &ip, &d) || !is_same(&ip.saddr, &key->local))
		return OTHER;
	key->peer = ip.daddr;
	return quoted(skb, &d, key, tags, KIND_QUOTE6, NEXTHDR_ICMPV6);
}

/* Tells whether a host may believe a message: RFC 4861, section 7.1, and RFC 6980. */
static __always_inline int is_discovery(const struct datagram *d, const struct beginning *b,
					__u32 least)
{
	return d->fresh && b->code == 0 && d->len >= least;
}

/*
 * A neighbor advertisement. To all nodes it answers an address probe, which is
 * from the unspecified address.
 */
static __always_inline enum verdict advertisement(struct __sk_buff *skb, const struct datagram *d,
						  struct key *key, __u64 tags)
{
	struct addr6 target;

	if (bpf_skb_load_bytes(skb, d->off + sizeof(struct beginning), &target, sizeof(target)))
		return OTHER;
	key->head = head(KIND_NEIGHBOR, 0, 0, 0, tags);
	key->peer = target;
	if (is_all_nodes(&key->local)) {
		key->local.half[0] = 0;
		key->local.half[1] = 0;
	}
	return EXACT;
}

/* An ICMP message. */
static __always_inline enum verdict icmp(struct __sk_buff *skb, const struct datagram *d,
					 struct key *key, __u64 tags)
{
	struct beginning b;

	if (!load(skb, d, &b))
		return OTHER;
	switch (b.type) {
	case ICMP_ECHO_REPLY:
	case ICMP_TIMESTAMP_REPLY:
	case ICMP_INFORMATION_REPLY:
	case ICMP_MASK_REPLY:
		key->head = head(KIND_IPV4, IPPROTO_ICMP, b.type, 0, tags);
		key->tail = join(b.number, 0);
		return PAIR;
	case ICMP_UNREACHABLE:
	case ICMP_SOURCE_QUENCH:
	case ICMP_REDIRECT:
	case ICMP_TIME_EXCEEDED:
	case ICMP_PARAMETER_PROBLEM:
		return quote4(skb, d->off + sizeof(b), d->len - sizeof(b), key, tags);
	}
	return OTHER;
}

/* The same of ICMPv6. */
static __always_inline enum verdict icmpv6(struct __sk_buff *skb, const struct datagram *d,
					   struct key *key, __u64 tags)
{
	struct beginning b;

	if (!load(skb, d, &b))
		return OTHER;
	switch (b.type) {
	case ICMPV6_ECHO_REPLY:
		key->head = head(KIND_IPV6, NEXTHDR_ICMPV6, b.type, 0, tags);
		key->tail = join(b.number, 0);
		return PAIR;
	case ICMPV6_ROUTER_ADVERTISEMENT:
		key->head = head(KIND_IPV6, NEXTHDR_ICMPV6, b.type, 0, tags);
		return is_discovery(d, &b, ROUTER_ADVERTISEMENT_LEN) ? PAIR : OTHER;
	case ICMPV6_NEIGHBOR_ADVERTISEMENT:
		if (!is_discovery(d, &b, NEIGHBOR_ADVERTISEMENT_LEN))
			return OTHER;
		return advertisement(skb, d, key, tags);
	case ICMPV6_UNREACHABLE:
	case ICMPV6_PACKET_TOO_BIG:
	case ICMPV6_TIME_EXCEEDED:
	case ICMPV6_PARAMETER_PROBLEM:
		return quote6(skb, d->off + sizeof(b), d->len - sizeof(b), key, tags);
	}
	return OTHER;
}

/*
 * What is no ICMP: a TCP segment, a UDP datagram, or what is told by its addresses
 * and protocol alone.
 */
static __always_inline enum verdict transport(struct __sk_buff *skb, const struct datagram *d,
					      struct key *key)
{
	struct beginning b;
	__u32 dns = 0;
	__be16 id;

	if (d->protocol != IPPROTO_TCP && d->protocol != IPPROTO_UDP)
		return PAIR;
	if (!load(skb, d, &b))
		return OTHER;
	if (d->protocol == IPPROTO_TCP) {
		if (d->len < TCP_LEN)
			return OTHER;
	} else if (d->len >= UDP_LEN + DNS_LEN) {
		switch (bpf_ntohl(b.ports) >> 16) {
		case PORT_DNS:
		case PORT_MDNS: /* told by its identifier too */
			if (bpf_skb_load_bytes(skb, d->off + UDP_LEN, &id, sizeof(id)))
				return OTHER;
			dns = 0x10000 | bpf_ntohs(id);
		}
	}
	key->tail = join(b.ports << 16 | b.ports >> 16, bpf_htonl(dns)); /* to, from */
	return PAIR;
}

/*
 * A whole IPv4 datagram at @off, or the first fragment of one. Its length is the
 * header's: the frame's may have Ethernet's padding in it.
 */
static __always_inline int ipv4(struct __sk_buff *skb, __u32 off, struct key *key, __u64 tags,
				struct datagram *d)
{
	struct iphdr ip;
	__u32 total;

	if (bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)))
		return 0;
	total = bpf_ntohs(ip.tot_len);
	if (off + total > skb->len || !read_ipv4(off, total, &ip, d))
		return 0;
	key->head = head(KIND_IPV4, ip.protocol, 0, 0, tags);
	key->local.half[1] = mapped(ip.daddr);
	key->peer.half[1] = mapped(ip.saddr);
	return 1;
}

/* The same of IPv6. */
static __always_inline int ipv6(struct __sk_buff *skb, __u32 off, struct key *key, __u64 tags,
				struct datagram *d)
{
	struct ipv6_header ip;
	__u32 total;

	if (bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)))
		return 0;
	total = sizeof(ip) + bpf_ntohs(ip.payload_len);
	if (off + total > skb->len || !read_ipv6(skb, off, total, &ip, d))
		return 0;
	key->head = head(KIND_IPV6, d->protocol, 0, 0, tags);
	key->local = ip.daddr;
	key->peer = ip.saddr;
	return 1;
}

/* An ARP reply, whomever it is to. */
static __always_inline enum verdict arp(struct __sk_buff *skb, __u32 off, struct key *key,
					__u64 tags)
{
	struct arp_packet arp;

	if (bpf_skb_load_bytes(skb, off, &arp, sizeof(arp)))
		return OTHER;
	if (!is_ethernet_arp(&arp) || arp.operation != bpf_htons(ARP_REPLY))
		return OTHER;
	key->head = head(KIND_ARP, 0, 0, 0, tags);
	key->peer.half[1] = mapped(arp.sender_addr);
	return EXACT;
}

static __always_inline int is_own_type(__be16 ethertype)
{
	__u32 i;

	for (i = 0; i < MAX_ETHERTYPES; i++)
		if (i < own_count && ethertype == own_types[i])
			return 1;
	return 0;
}

/* What a frame carries, and its key. */
static __always_inline enum verdict judge(struct __sk_buff *skb, struct key *key)
{
	struct ethernet_header eth = {};
	struct datagram d;
	__u64 tags;
	__u32 off;

	if (!find_packet(skb, &eth, &off, &tags, promiscuous))
		return OTHER;
	if (is_own_type(eth.type))
		return OWN;
	if (tags >> (2 * VLAN_ID_BITS))
		return OTHER; /* a third tag, which no request has */
	switch (eth.type) {
	case bpf_htons(ETH_P_IP):
		if (!ipv4(skb, off, key, tags, &d))
			return OTHER;
		if (d.protocol == IPPROTO_ICMP)
			return icmp(skb, &d, key, tags);
		break;
	case bpf_htons(ETH_P_IPV6):
		if (!ipv6(skb, off, key, tags, &d))
			return OTHER;
		if (d.protocol == NEXTHDR_ICMPV6)
			return icmpv6(skb, &d, key, tags);
		break;
	case bpf_htons(ETH_P_ARP):
		return arp(skb, off, key, tags);
	default:
		return OTHER;
	}
	return transport(skb, &d, key);
}

/*
 * What a word adds to the sum of a key: its two halves, each with a secret number
 * added, multiplied (the hash NH of UMAC, RFC 4418, section 5.2.2).
 */
static __always_inline __u64 term(__u64 word, __u64 secret)
{
	__u32 high = (word >> 32) + (secret >> 32);
	__u32 low = word + secret;

	return (__u64)high * low;
}

/*
 * The fingerprint of a key by its sum, which is told by all of its bits, mixed as
 * SplitMix64 does. It is never 0.
 */
static __always_inline __u64 fingerprint(__u64 sum)
{
	sum = (sum ^ sum >> 30) * 0xbf58476d1ce4e5b9ULL;
	sum = (sum ^ sum >> 27) * 0x94d049bb133111ebULL;
	sum ^= sum >> 31;
	return sum ? sum : 1;
}

static __always_inline const struct bucket *entry(__u32 index)
{
	return bpf_map_lookup_elem(&l2ping_table, &index);
}

/* Looks in the bucket that a number chooses, each of them as often as another. */
static __always_inline int is_in_bucket(__u32 number, __u64 fp)
{
	const struct bucket *b = entry(((__u64)number * buckets >> 32) + 1);

	return b && (b->slot[0] == fp || b->slot[1] == fp || b->slot[2] == fp ||
		     b->slot[3] == fp);
}

static __always_inline int is_expected(__u64 sum)
{
	__u64 fp = fingerprint(sum);

	return is_in_bucket(fp, fp) || is_in_bucket(fp >> 32, fp);
}

/* What the verdict says of a key. */
static __always_inline int passes(const struct key *key, enum verdict verdict)
{
	const struct bucket *first = entry(0);
	__u64 local, peer, rest;

	if (!first)
		return 0;
	if (first->slot[CROWDED])
		return 1;
	rest = term(key->head, secret[0]) + term(key->tail, secret[5]);
	local = term(key->local.half[0], secret[1]) + term(key->local.half[1], secret[2]);
	peer = term(key->peer.half[0], secret[3]) + term(key->peer.half[1], secret[4]);
	if (is_expected(rest + local + peer))
		return 1;
	if (verdict != PAIR || !first->slot[ANYBODY])
		return 0;
	peer = term(0, secret[3]) + term(0, secret[4]);
	if (is_expected(rest + local + peer))
		return 1;
	local = term(0, secret[1]) + term(0, secret[2]);
	return is_expected(rest + local + peer);
}

/* Returns how many bytes of the frame the socket gets: all of them, or none. */
SEC("socket")
int l2ping_expect(struct __sk_buff *skb)
{
	struct key key = {};
	enum verdict verdict = judge(skb, &key);

	switch (verdict) {
	case OTHER:
		return DROP;
	case OWN:
		return KEEP;
	default:
		return passes(&key, verdict) ? KEEP : DROP;
	}
}

char _license[] SEC("license") = "Dual BSD/GPL";
