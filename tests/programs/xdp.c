// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Programs that see what a NIC receives, one for each verdict of XDP. All but
 * `pass` are about ICMP echo requests over IPv4 only; the rest goes to the stack.
 */

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>

#define SEC(name) __attribute__((section(name), used))

static long (*const redirect)(__u32 ifindex, __u64 flags) = (void *)BPF_FUNC_redirect;

struct echo {
	struct ethhdr ethernet;
	struct iphdr ip;
	__u8 type;
	__u8 code;
	__u16 sum;
} __attribute__((packed));

/* The echo request that a frame is; 0: it is something else. */
static __attribute__((always_inline)) struct echo *request(struct xdp_md *frame)
{
	struct echo *echo = (void *)(long)frame->data;

	if ((void *)(echo + 1) > (void *)(long)frame->data_end)
		return 0;
	if (echo->ethernet.h_proto != __builtin_bswap16(ETH_P_IP) || echo->ip.ihl != 5 ||
	    echo->ip.protocol != IPPROTO_ICMP || echo->type != 8)
		return 0;
	return echo;
}

/* Makes the answer of a request. */
static __attribute__((always_inline)) void answer(struct echo *echo)
{
	__u32 address = echo->ip.saddr, sum;
	__u8 mac[ETH_ALEN];

	__builtin_memcpy(mac, echo->ethernet.h_source, ETH_ALEN);
	__builtin_memcpy(echo->ethernet.h_source, echo->ethernet.h_dest, ETH_ALEN);
	__builtin_memcpy(echo->ethernet.h_dest, mac, ETH_ALEN);
	echo->ip.saddr = echo->ip.daddr;
	echo->ip.daddr = address;
	/* The type went from 8 to 0, in the upper byte of a sum in network order. */
	sum = echo->sum + 8;
	echo->sum = sum + (sum >> 16);
	echo->type = 0;
}

SEC("pass") int on_pass(struct xdp_md *frame)
{
	return XDP_PASS;
}

SEC("drop") int on_drop(struct xdp_md *frame)
{
	return request(frame) ? XDP_DROP : XDP_PASS;
}

SEC("tx") int on_tx(struct xdp_md *frame)
{
	struct echo *echo = request(frame);

	if (!echo)
		return XDP_PASS;
	answer(echo);
	return XDP_TX;
}

SEC("redirect") int on_redirect(struct xdp_md *frame)
{
	struct echo *echo = request(frame);

	if (!echo)
		return XDP_PASS;
	answer(echo);
	return redirect(frame->ingress_ifindex, 0);
}

SEC("aborted") int on_aborted(struct xdp_md *frame)
{
	return request(frame) ? XDP_ABORTED : XDP_PASS;
}

char gpl[] SEC("license") = "GPL";
