// SPDX-License-Identifier: GPL-2.0

#include <linux/etherdevice.h>
#include <linux/if_vlan.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/mm.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include <linux/tcp.h>
#include <net/ip6_checksum.h>
#include <net/sock.h>

/* Devices. */

void hv_helper_netdev_set_parent(struct net_device *dev, struct device *parent)
{
	SET_NETDEV_DEV(dev, parent);
}

void hv_helper_netdev_set_address(struct net_device *dev, const u8 *address)
{
	eth_hw_addr_set(dev, address);
}

/* The address may be changed while the device is up. */
void hv_helper_netdev_allow_live_address(struct net_device *dev)
{
	dev->priv_flags |= IFF_LIVE_ADDR_CHANGE;
}

void hv_helper_netdev_start_queues(struct net_device *dev)
{
	netif_tx_start_all_queues(dev);
	/* What the stack kept meanwhile goes now, whatever it was stopped by. */
	netif_tx_schedule_all(dev);
}

void hv_helper_netdev_disable_queues(struct net_device *dev)
{
	netif_tx_disable(dev);
}

void hv_helper_netdev_stop_queue(struct net_device *dev, u16 queue)
{
	netif_stop_subqueue(dev, queue);
}

bool hv_helper_netdev_queue_stopped(struct net_device *dev, u16 queue)
{
	return __netif_subqueue_stopped(dev, queue);
}

void hv_helper_netdev_wake_queue(struct net_device *dev, u16 queue)
{
	netif_wake_subqueue(dev, queue);
}

void hv_helper_netdev_sent(struct net_device *dev, u16 queue, unsigned int bytes)
{
	netdev_tx_sent_queue(netdev_get_tx_queue(dev, queue), bytes);
}

void hv_helper_netdev_completed(struct net_device *dev, u16 queue, unsigned int packets,
				unsigned int bytes)
{
	netdev_tx_completed_queue(netdev_get_tx_queue(dev, queue), packets, bytes);
}

void hv_helper_netdev_reset_queue(struct net_device *dev, u16 queue)
{
	netdev_tx_reset_queue(netdev_get_tx_queue(dev, queue));
}

bool hv_helper_netif_is_rxfh_configured(const struct net_device *dev)
{
	return netif_is_rxfh_configured(dev);
}

bool hv_helper_netdev_is_registered(const struct net_device *dev)
{
	return READ_ONCE(dev->reg_state) == NETREG_REGISTERED;
}

/* Polling. */

void hv_helper_netif_napi_add(struct net_device *dev, struct napi_struct *napi,
			      int (*poll)(struct napi_struct *, int), u16 number)
{
	/* What the administrator sets for it outlives it. */
	netif_napi_add_config(dev, napi, poll, number);
}

void hv_helper_napi_link(struct net_device *dev, u16 number,
			 struct napi_struct *napi)
{
	netif_queue_set_napi(dev, number, NETDEV_QUEUE_TYPE_RX, napi);
	netif_queue_set_napi(dev, number, NETDEV_QUEUE_TYPE_TX, napi);
}

void hv_helper_netif_napi_del(struct napi_struct *napi)
{
	netif_napi_del(napi);
}

void hv_helper_napi_schedule(struct napi_struct *napi)
{
	napi_schedule_irqoff(napi);
}

void hv_helper_napi_kick(struct napi_struct *napi)
{
	local_bh_disable();
	napi_schedule(napi);
	local_bh_enable();
}

/* Frames to send. */

void hv_helper_skb_free(struct sk_buff *skb)
{
	dev_kfree_skb_any(skb);
}

void hv_helper_skb_consume(struct sk_buff *skb, int budget)
{
	napi_consume_skb(skb, budget);
}

u16 hv_helper_skb_queue(const struct sk_buff *skb)
{
	return skb_get_queue_mapping(skb);
}

/*
 * The queue of the frame's connection, while frames of it may be on their way;
 * below 0: it may take any.
 */
int hv_helper_skb_kept_queue(const struct net_device *dev, const struct sk_buff *skb)
{
	int queue = sk_tx_queue_get(skb->sk);

	return skb->ooo_okay || queue >= dev->real_num_tx_queues ? -1 : queue;
}

/* Its connection keeps this one. */
void hv_helper_skb_keep_queue(const struct sk_buff *skb, int queue)
{
	struct sock *sk = skb->sk;

	if (sk && sk_fullsock(sk) && rcu_access_pointer(sk->sk_dst_cache))
		sk_tx_queue_set(sk, queue);
}

u32 hv_helper_skb_flow_hash(struct sk_buff *skb)
{
	return skb_get_hash(skb);
}

void hv_helper_skb_timestamp(struct sk_buff *skb)
{
	skb_tx_timestamp(skb);
}

/* The device has a copy of the whole frame. */
void hv_helper_skb_copied(struct sk_buff *skb)
{
	skb_tx_timestamp(skb);
	dev_consume_skb_any(skb);
}

void hv_helper_skb_set_queue(struct sk_buff *skb, u16 queue)
{
	skb_set_queue_mapping(skb, queue);
}

bool hv_helper_skb_xmit_more(void)
{
	return netdev_xmit_more();
}

/* Room for @bytes before the frame, which they become a part of; NULL without memory. */
u8 *hv_helper_skb_prepend(struct sk_buff *skb, unsigned int bytes)
{
	if (skb_cow_head(skb, bytes))
		return NULL;
	return skb_push(skb, bytes);
}

void hv_helper_skb_unprepend(struct sk_buff *skb, unsigned int bytes)
{
	skb_pull(skb, bytes);
}

/* A piece of a frame that lies in one page of 4 KiB. */
struct hv_skb_piece {
	u32 bytes;
	u32 offset;
	u64 pfn;
};

static size_t hv_pieces(struct hv_skb_piece *out, size_t room, phys_addr_t at, size_t bytes)
{
	size_t count = 0;

	while (bytes) {
		u32 offset = at & (SZ_4K - 1);
		u32 part = min_t(size_t, bytes, SZ_4K - offset);

		if (count == room)
			return room + 1;
		out[count++] = (struct hv_skb_piece){ part, offset, at >> 12 };
		at += part;
		bytes -= part;
	}
	return count;
}

/* The pieces of a frame; more than @room when they are too many. */
size_t hv_helper_skb_pieces(struct sk_buff *skb, struct hv_skb_piece *out, size_t room)
{
	size_t count = hv_pieces(out, room, virt_to_phys(skb->data), skb_headlen(skb));
	int i;

	for (i = 0; i < skb_shinfo(skb)->nr_frags && count <= room; i++) {
		const skb_frag_t *frag = &skb_shinfo(skb)->frags[i];
		phys_addr_t at = page_to_phys(skb_frag_page(frag)) + skb_frag_off(frag);

		count += hv_pieces(out + count, room - count, at, skb_frag_size(frag));
	}
	return count;
}

int hv_helper_skb_linearize(struct sk_buff *skb)
{
	return skb_linearize(skb);
}

/* A frame, and what is left to the device of its checksums and cutting. */
struct hv_skb_facts {
	u32 bytes;
	/* ETH_P_IP or ETH_P_IPV6, in host order; 0: anything else. */
	u16 protocol;
	/* IPPROTO_TCP, IPPROTO_UDP or anything else. */
	u8 transport;
	/* CHECKSUM_PARTIAL */
	bool checksum;
	bool has_vlan;
	u16 vlan_tci;
	/* Payload bytes of each segment; 0: not to be cut. */
	u16 segment;
	u16 segments;
	u16 transport_offset;
	/* Bytes of all headers. */
	u16 header;
};

void hv_helper_skb_facts(const struct sk_buff *skb, struct hv_skb_facts *out)
{
	__be16 protocol;

	*out = (struct hv_skb_facts){
		.bytes = skb->len,
		.checksum = skb->ip_summed == CHECKSUM_PARTIAL,
		.has_vlan = skb_vlan_tag_present(skb),
		.vlan_tci = skb_vlan_tag_get(skb),
	};
	if (!out->checksum)
		return;
	protocol = vlan_get_protocol(skb);
	out->transport_offset = skb_transport_offset(skb);
	if (protocol == htons(ETH_P_IP)) {
		out->protocol = ETH_P_IP;
		out->transport = ip_hdr(skb)->protocol;
	} else if (protocol == htons(ETH_P_IPV6)) {
		out->protocol = ETH_P_IPV6;
		out->transport = ipv6_hdr(skb)->nexthdr;
	}
	out->segment = skb_shinfo(skb)->gso_size;
	if (out->segment) {
		out->segments = skb_shinfo(skb)->gso_segs;
		out->header = skb_tcp_all_headers(skb);
	}
}

/*
 * What Hyper-V wants in a segment that it cuts: no length, and the sum over
 * the pseudo-header without it. The headers are writable: skb_prepend() came
 * first.
 */
void hv_helper_skb_prepare_cut(struct sk_buff *skb)
{
	if (skb_is_gso_v6(skb)) {
		tcp_v6_gso_csum_prep(skb);
	} else {
		ip_hdr(skb)->tot_len = 0;
		ip_hdr(skb)->check = 0;
		tcp_hdr(skb)->check = ~csum_tcpudp_magic(ip_hdr(skb)->saddr, ip_hdr(skb)->daddr,
							 0, IPPROTO_TCP, 0);
	}
}

int hv_helper_skb_checksum_help(struct sk_buff *skb)
{
	return skb_checksum_help(skb);
}

/* @head, then the frame, which has @bytes. */
void hv_helper_skb_copy_to(const struct sk_buff *skb, void *to, const void *head,
			   unsigned int head_bytes, unsigned int bytes)
{
	memcpy(to, head, head_bytes);
	skb_copy_bits(skb, 0, to + head_bytes, bytes);
}

u64 hv_helper_netdev_features(const struct net_device *dev)
{
	return READ_ONCE(dev->features);
}

void hv_helper_netdev_set_features(struct net_device *dev, u64 features)
{
	dev->features = features;
}
