// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Sends every frame it is run on out of the interface that it is said to have come by. Run by the kernel's test harness
 * on live frames it is the fastest source of packets that a machine without NICs has: the benchmark's generator.
 *
 * Includes nothing and calls no helper for GPL-compatible programs, as steer.bpf.c.
 */

typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))

/* Kernel interface: values of <linux/bpf.h>. */
struct xdp_md {
	u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex;
};

static long (*const redirect)(u32 interface, u64 flags) = (void *)23;

SEC("xdp")
int generate(struct xdp_md *ctx)
{
	return redirect(ctx->ingress_ifindex, 0);
}

char licence[] SEC("license") = "MIT OR Apache-2.0";
