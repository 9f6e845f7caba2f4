// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Programs that see what a NIC receives, one for each verdict of XDP, each in a
 * section of its own. All but `pass` are about ICMP echo requests over IPv4
 * only; the rest goes to the stack.
 */

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>

static long (*const redirect)(__u32 ifindex, __u64 flags) = (void *)BPF_FUNC_redirect;

struct icmp {
	__u8 type;
	__u8 code;
	__u16 sum;
};

/* Whether a frame is an echo request; if it is to be turned, it becomes the answer. */
static inline int is_request(struct xdp_md *frame, int turn)
{
	struct ethhdr *ethernet = (void *)(long)frame->data;
	struct iphdr *ip = (void *)(ethernet + 1);
	struct icmp *icmp = (void *)(ip + 1);
	__u8 mac[ETH_ALEN];
	__u32 word;

	if ((void *)(icmp + 1) > (void *)(long)frame->data_end)
		return 0;
	if (ethernet->h_proto != __builtin_bswap16(ETH_P_IP) || ip->ihl != 5 ||
	    ip->protocol != IPPROTO_ICMP || icmp->type != 8)
		return 0;
	if (!turn)
		return 1;
	__builtin_memcpy(mac, ethernet->h_source, ETH_ALEN);
	__builtin_memcpy(ethernet->h_source, ethernet->h_dest, ETH_ALEN);
	__builtin_memcpy(ethernet->h_dest, mac, ETH_ALEN);
	word = ip->saddr;
	ip->saddr = ip->daddr;
	ip->daddr = word;
	/* The type goes from 8 to 0, in the upper byte of a sum in network order. */
	word = icmp->sum + 8;
	icmp->sum = word + (word >> 16);
	icmp->type = 0;
	return 1;
}

#pragma clang section text = "pass"
int on_pass(struct xdp_md *frame)
{
	return XDP_PASS;
}

#pragma clang section text = "drop"
int on_drop(struct xdp_md *frame)
{
	return is_request(frame, 0) ? XDP_DROP : XDP_PASS;
}

#pragma clang section text = "aborted"
int on_aborted(struct xdp_md *frame)
{
	return is_request(frame, 0) ? XDP_ABORTED : XDP_PASS;
}

#pragma clang section text = "tx"
int on_tx(struct xdp_md *frame)
{
	return is_request(frame, 1) ? XDP_TX : XDP_PASS;
}

#pragma clang section text = "redirect"
int on_redirect(struct xdp_md *frame)
{
	return is_request(frame, 1) ? redirect(frame->ingress_ifindex, 0) : XDP_PASS;
}

#pragma clang section data = "license"
char license_of_it[] = "GPL";
