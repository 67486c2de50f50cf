// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Which packets of a protected port the engine gets, and which stay with the kernel.
 *
 *   to us       ESP, fragments of ESP         -> engine
 *               UDP 4500 that carries ESP     -> engine
 *               everything else               -> kernel (ARP is not even IP; IKE, ICMP, ND, ssh, ...)
 *   not to us   everything ("transit")        -> engine, which knows the rules
 *
 * It fails closed: a packet that the kernel could forward in clear is either redirected or dropped. So a queue that no
 * socket serves drops transit and ESP instead of passing them, and a source-routed packet, which is addressed to us
 * only for the moment, is dropped.
 *
 * What goes to the kernel although it is not for an address of ours is what the kernel never forwards: frames with
 * another MAC address than ours (multicast and broadcast among them), malformed IP headers, multicast, loopback and
 * unspecified destinations, IPv6 link-local destinations. IPv6 neighbour discovery and MLD need no rule of their own:
 * they are addressed to us, to link-local or to multicast addresses, or they are not valid (RFC 4861 §6.1, §7.1) and
 * must not pass in clear as if they were.
 *
 * Fragments to us: one of ESP is redirected, the engine counts it (RFC 4303 §3.4.1 wants it whole). One of UDP goes to
 * the kernel whatever its port, because later fragments carry no port and the kernel must see all of them to reassemble
 * a long IKE message. UDP-encapsulated ESP that was fragmented on its way therefore arrives at the IKE socket.
 *
 * Frames with a VLAN tag belong to another interface, on which this program is attached or not. A tag of VLAN 0 only
 * carries a priority, and the kernel takes the frame for an untagged one. So that a tag is no way past the rules, such
 * a frame goes to the engine, which refuses what does not begin with IP; ARP alone is left to the kernel.
 *
 * The file includes nothing, so that its object depends on the compiler alone. It calls no helper that asks for a
 * GPL-compatible program, so the licence section can say what the licence is. `model.rs` beside it says the same in
 * Rust; the two are compared packet by packet.
 */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
#define UINT(name, value) int(*name)[value]

/* Kernel interface: values of <linux/bpf.h>. */
enum { MAP_HASH = 1, MAP_ARRAY = 2, MAP_PERCPU_ARRAY = 6, MAP_XSK = 17 };
enum { XDP_DROP = 1, XDP_PASS = 2, XDP_REDIRECT = 4 };

struct xdp_md {
	u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex;
};

static void *(*const map_lookup)(void *map, const void *key) = (void *)1;
static long (*const redirect_map)(void *map, u64 key, u64 fallback) = (void *)51;

/* Every packet is counted once under what was decided; `UNSERVED` counts redirections that found no socket again. */
enum { ESP, UDP_ESP, TRANSIT, PASSED, SOURCE_ROUTED, UNSERVED, COUNTERS };

struct mac {
	u16 word[3];
	u16 pad;
};

struct ipv6 {
	u32 word[4];
};

struct {
	UINT(type, MAP_XSK);
	UINT(max_entries, 256);
	u32 *key;
	u32 *value;
} xsks SEC(".maps");

struct {
	UINT(type, MAP_HASH);
	UINT(max_entries, 4096);
	u32 *key;
	u8 *value;
} local_ipv4 SEC(".maps");

struct {
	UINT(type, MAP_HASH);
	UINT(max_entries, 4096);
	struct ipv6 *key;
	u8 *value;
} local_ipv6 SEC(".maps");

struct {
	UINT(type, MAP_ARRAY);
	UINT(max_entries, 1);
	u32 *key;
	struct mac *value;
} local_mac SEC(".maps");

struct {
	UINT(type, MAP_PERCPU_ARRAY);
	UINT(max_entries, COUNTERS);
	u32 *key;
	u64 *value;
} counters SEC(".maps");

#define be16(host) __builtin_bswap16(host)
#define be32(host) __builtin_bswap32(host)

struct ethernet {
	struct mac_packed {
		u16 word[3];
	} to, from;
	u16 type;
} __attribute__((packed));

struct ipv4_header {
	u8 version_ihl, tos;
	u16 total_len, id, fragment;
	u8 ttl, protocol;
	u16 checksum;
	u32 from, to;
};

struct ipv6_header {
	u32 version_class_flow;
	u16 payload_len;
	u8 next, hop_limit;
	struct ipv6 from, to;
};

struct udp_header {
	u16 from, to, len, checksum;
};

struct extension_header {
	u8 next, len, routing_type, segments_left;
	u32 rest;
};

struct fragment_header {
	u8 next, reserved;
	u16 offset_more;
	u32 id;
};

struct vlan_tag {
	u16 priority_id, type;
};

enum { ETHERTYPE_IPV4 = 0x0800, ETHERTYPE_ARP = 0x0806, ETHERTYPE_IPV6 = 0x86dd };
enum { ETHERTYPE_VLAN = 0x8100, ETHERTYPE_SERVICE_VLAN = 0x88a8 };
enum { HOP_BY_HOP = 0, UDP = 17, ROUTING = 43, FRAGMENT = 44, PROTOCOL_ESP = 50, AUTHENTICATION = 51, DESTINATION = 60 };
enum { PORT_NAT_T = 4500, EXTENSION_HEADERS_MAX = 8 };
enum { OPTION_END = 0, OPTION_NOP = 1, OPTION_LSRR = 131, OPTION_SSRR = 137, OPTION_OCTETS_MAX = 40 };

INLINE void count(u32 which)
{
	u64 *counter = map_lookup(&counters, &which);
	if (counter)
		*counter += 1;
}

INLINE int pass(void)
{
	count(PASSED);
	return XDP_PASS;
}

INLINE int redirect(struct xdp_md *ctx, u32 kind)
{
	count(kind);
	/* Dropped where no socket serves the queue: the kernel must get neither transit in clear nor our ESP. */
	long action = redirect_map(&xsks, ctx->rx_queue_index, XDP_DROP);
	if (action != XDP_REDIRECT)
		count(UNSERVED);
	return action;
}

INLINE int source_routed(void)
{
	count(SOURCE_ROUTED);
	return XDP_DROP;
}

/* UDP to us, not a fragment. A keepalive is one octet (RFC 3948 §2.3), an IKE message begins with four zero octets. */
INLINE int steer_udp(struct xdp_md *ctx, u8 *at, u8 *end)
{
	struct udp_header *udp = (void *)at;
	u32 *marker = (void *)(udp + 1);
	if ((u8 *)(marker + 1) > end)
		return pass();
	/* By its own length: a short packet is padded to 60 octets on the wire. */
	if (udp->to != be16(PORT_NAT_T) || be16(udp->len) < sizeof(*udp) + 5 || *marker == 0)
		return pass();
	return redirect(ctx, UDP_ESP);
}

/* Whether the options ask to be forwarded from here (RFC 791 §3.1), or cannot be told apart. */
INLINE int is_source_routed(u8 *options, u32 octets, u8 *end)
{
	u32 next = 0;
	for (u32 i = 0; i < OPTION_OCTETS_MAX; i++) {
		u8 *at = options + i;
		if (i >= octets || at + 1 > end)
			return 0;
		if (i < next)
			continue;
		if (*at == OPTION_END)
			return 0;
		if (*at == OPTION_NOP) {
			next = i + 1;
			continue;
		}
		if (*at == OPTION_LSRR || *at == OPTION_SSRR)
			return 1;
		if (at + 2 > end || at[1] < 2)
			return 0;
		next = i + at[1];
	}
	return 0;
}

INLINE int steer_ipv4(struct xdp_md *ctx, u8 *at, u8 *end)
{
	struct ipv4_header *ip = (void *)at;
	if ((u8 *)(ip + 1) > end)
		return pass();
	u32 header = (ip->version_ihl & 15) * 4;
	if (ip->version_ihl >> 4 != 4 || header < sizeof(*ip) || at + header > end)
		return pass();
	u32 to = ip->to;
	u8 first = to & 255;
	if (to == 0 || to == 0xffffffff || first == 127 || first >> 4 == 14)
		return pass();
	if (!map_lookup(&local_ipv4, &to))
		return redirect(ctx, TRANSIT);
	if (header > sizeof(*ip) && is_source_routed(at + sizeof(*ip), header - sizeof(*ip), end))
		return source_routed();
	if (ip->protocol == PROTOCOL_ESP)
		return redirect(ctx, ESP);
	/* More fragments, or an offset. */
	if (ip->protocol != UDP || ip->fragment & be16(0x3fff))
		return pass();
	return steer_udp(ctx, at + header, end);
}

INLINE int steer_ipv6(struct xdp_md *ctx, u8 *at, u8 *end)
{
	struct ipv6_header *ip = (void *)at;
	if ((u8 *)(ip + 1) > end || at[0] >> 4 != 6)
		return pass();
	struct ipv6 to = ip->to;
	int upper_zero = !(to.word[0] | to.word[1] | to.word[2]);
	if ((to.word[0] & 255) == 0xff || (upper_zero && (to.word[3] == 0 || to.word[3] == be32(1))))
		return pass();
	int link_local = (to.word[0] & be32(0xffc00000)) == be32(0xfe800000);
	if (!link_local && !map_lookup(&local_ipv6, &to))
		return redirect(ctx, TRANSIT);

	u8 next = ip->next;
	u32 offset = sizeof(*ip);
	for (int i = 0; i < EXTENSION_HEADERS_MAX; i++) {
		if (offset > 2048)
			return pass();
		u8 *here = at + offset;
		if (next == PROTOCOL_ESP)
			return redirect(ctx, ESP);
		if (next == UDP)
			return steer_udp(ctx, here, end);
		struct extension_header *extension = (void *)here;
		if ((u8 *)(extension + 1) > end)
			return pass();
		if (next == FRAGMENT) {
			struct fragment_header *fragment = (void *)here;
			next = fragment->next;
			/* An atomic fragment (RFC 6946) is a whole packet. */
			if (fragment->offset_more & be16(0xfff9))
				return next == PROTOCOL_ESP ? redirect(ctx, ESP) : pass();
			offset += 8;
		} else if (next == HOP_BY_HOP || next == DESTINATION || next == ROUTING) {
			if (next == ROUTING && extension->segments_left)
				return source_routed();
			next = extension->next;
			offset += (extension->len + 1) * 8;
		} else if (next == AUTHENTICATION) {
			next = extension->next;
			offset += (extension->len + 2) * 4;
		} else {
			return pass();
		}
	}
	return pass();
}

/* A frame with a VLAN tag, to our MAC address. */
INLINE int steer_tagged(struct xdp_md *ctx, u8 *at, u8 *end)
{
	struct vlan_tag *tag = (void *)at;
	if ((u8 *)(tag + 1) > end || tag->priority_id & be16(0x0fff) || tag->type == be16(ETHERTYPE_ARP))
		return pass();
	return redirect(ctx, TRANSIT);
}

SEC("xdp")
int steer(struct xdp_md *ctx)
{
	u8 *data = (u8 *)(long)ctx->data;
	u8 *end = (u8 *)(long)ctx->data_end;
	struct ethernet *ethernet = (void *)data;
	if ((u8 *)(ethernet + 1) > end)
		return pass();
	u32 zero = 0;
	struct mac *ours = map_lookup(&local_mac, &zero);
	if (!ours || ethernet->to.word[0] != ours->word[0] || ethernet->to.word[1] != ours->word[1] ||
	    ethernet->to.word[2] != ours->word[2])
		return pass();
	if (ethernet->type == be16(ETHERTYPE_IPV4))
		return steer_ipv4(ctx, (u8 *)(ethernet + 1), end);
	if (ethernet->type == be16(ETHERTYPE_IPV6))
		return steer_ipv6(ctx, (u8 *)(ethernet + 1), end);
	if (ethernet->type == be16(ETHERTYPE_VLAN) || ethernet->type == be16(ETHERTYPE_SERVICE_VLAN))
		return steer_tagged(ctx, (u8 *)(ethernet + 1), end);
	return pass();
}

char licence[] SEC("license") = "MIT OR Apache-2.0";
