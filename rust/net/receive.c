// SPDX-License-Identifier: GPL-2.0
/*
 * Received frames: the memory that they are copied to, and what the stack is told of them. The
 * pages of longer ones are the queue's: they come back to its pool when the stack is done with
 * them, which saves their way through the page allocator, and that they are cleared
 * (CONFIG_INIT_ON_ALLOC_DEFAULT_ON).
 */

#include <linux/etherdevice.h>
#include <linux/if_vlan.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>

#include "receive.h"

/* Pages that a queue keeps at hand at most, but for a few. */
#define HV_RX_PAGES 512

/* For a queue that was just added as @napi; NULL without memory. */
struct hv_rx_queue *hv_helper_rx_queue_new(struct net_device *dev, struct napi_struct *napi,
					   u32 number)
{
	struct page_pool_params params = {
		.pool_size = HV_RX_PAGES,
		.nid = NUMA_NO_NODE,
		.napi = napi,
		.netdev = dev,
		.queue_idx = number,
	};
	struct hv_rx_queue *queue = kzalloc(sizeof(*queue), GFP_KERNEL);

	if (!queue)
		return NULL;
	if (xdp_rxq_info_reg(&queue->info, dev, number, napi->napi_id))
		goto free_queue;
	queue->pool = page_pool_create(&params);
	if (IS_ERR(queue->pool))
		goto unregister;
	if (xdp_rxq_info_reg_mem_model(&queue->info, MEM_TYPE_PAGE_POOL, queue->pool))
		goto destroy_pool;
	return queue;
destroy_pool:
	page_pool_destroy(queue->pool);
unregister:
	xdp_rxq_info_unreg(&queue->info);
free_queue:
	kfree(queue);
	return NULL;
}

/*
 * After the queue isn't polled any more. Whoever gives pages back looks at the queue's NAPI, which
 * may be freed after the grace period of its removal: this comes before it.
 */
void hv_helper_rx_queue_free(struct hv_rx_queue *queue)
{
	xdp_rxq_info_unreg(&queue->info);
	page_pool_destroy(queue->pool);
	kfree(queue);
}

/* Bytes of a frame that are not in pages of the pool, where it needs several. */
#define HV_SKB_HEAD 256
/*
 * The longest frame that has memory of its own: two share a page at least. Parts of the pool's
 * pages cost more than that, with their counts and locks.
 */
#define HV_SKB_SHORT (PAGE_SIZE / 2)
#define HV_SKB_PAD (NET_SKB_PAD + NET_IP_ALIGN)
/* The longest frame that lies in one page. */
#define HV_SKB_PAGE (SKB_WITH_OVERHEAD(PAGE_SIZE) - HV_SKB_PAD)

/* A buffer in a page. */
static struct sk_buff *hv_skb_in_page(struct hv_rx_queue *queue, unsigned int bytes)
{
	struct page *page = page_pool_dev_alloc_pages(queue->pool);
	struct sk_buff *skb;

	if (!page)
		return NULL;
	skb = napi_build_skb(page_address(page), PAGE_SIZE);
	if (!skb) {
		page_pool_put_full_page(queue->pool, page, true);
		return NULL;
	}
	skb_mark_for_recycle(skb);
	skb_reserve(skb, HV_SKB_PAD);
	skb_put(skb, bytes);
	return skb;
}

/* A buffer of memory of its own, for a frame or its first bytes. */
struct sk_buff *hv_helper_skb_head(struct napi_struct *napi, unsigned int bytes)
{
	struct sk_buff *skb = napi_alloc_skb(napi, bytes);

	if (skb)
		skb_put(skb, bytes);
	return skb;
}

/*
 * A buffer for a frame of @bytes bytes, to be filled, of single pages; NULL: there is no memory, or
 * it is no frame. In a poll.
 */
struct sk_buff *hv_helper_skb_receive(struct hv_rx_queue *queue, struct napi_struct *napi,
				      unsigned int bytes)
{
	struct sk_buff *skb;
	unsigned int part;

	if (bytes < ETH_HLEN)
		return NULL;
	if (bytes <= HV_SKB_SHORT)
		return hv_helper_skb_head(napi, bytes);
	if (bytes <= HV_SKB_PAGE)
		return hv_skb_in_page(queue, bytes);
	skb = hv_helper_skb_head(napi, HV_SKB_HEAD);
	if (!skb)
		return NULL;
	skb_mark_for_recycle(skb);
	for (bytes -= HV_SKB_HEAD; bytes; bytes -= part) {
		unsigned int frags = skb_shinfo(skb)->nr_frags;
		struct page *page = NULL;

		part = min_t(unsigned int, bytes, PAGE_SIZE);
		if (frags < MAX_SKB_FRAGS)
			page = page_pool_dev_alloc_pages(queue->pool);
		if (!page) {
			kfree_skb(skb);
			return NULL;
		}
		skb_add_rx_frag(skb, frags, page, 0, part, PAGE_SIZE);
	}
	return skb;
}

/* A part of the frame that a buffer was made for, at @at; there is room for it. */
void hv_helper_skb_fill(struct sk_buff *skb, unsigned int at, const void *from,
			unsigned int bytes)
{
	unsigned int head = skb_headlen(skb), part;

	if (at < head) {
		part = min(bytes, head - at);
		memcpy(skb->data + at, from, part);
		at += part;
		from += part;
		bytes -= part;
	}
	/* All pages but the last are used whole. */
	for (at -= head; bytes; bytes -= part) {
		const skb_frag_t *frag = &skb_shinfo(skb)->frags[at / PAGE_SIZE];

		part = min_t(unsigned int, bytes, PAGE_SIZE - at % PAGE_SIZE);
		memcpy(skb_frag_address(frag) + at % PAGE_SIZE, from, part);
		at += part;
		from += part;
	}
}

/* More of the frame, in a page that the stack gets a reference to; false when there is no room. */
bool hv_helper_skb_lend(struct sk_buff *skb, struct page *page, unsigned int offset,
			unsigned int bytes)
{
	unsigned int frags = skb_shinfo(skb)->nr_frags;

	if (frags == MAX_SKB_FRAGS)
		return false;
	get_page(page);
	skb_add_rx_frag(skb, frags, page, offset, bytes, PAGE_SIZE);
	return true;
}

struct hv_skb_received {
	u32 hash;
	u16 queue;
	u16 vlan_tci;
	bool has_hash;
	bool has_vlan;
	bool checksum_good;
	bool coalesced;
};

/* Hands a frame to the stack. */
void hv_helper_skb_deliver(struct napi_struct *napi, struct sk_buff *skb,
			   const struct hv_skb_received *info)
{
	skb->protocol = eth_type_trans(skb, napi->dev);
	skb_record_rx_queue(skb, info->queue);
	skb->ip_summed = info->checksum_good ? CHECKSUM_UNNECESSARY : CHECKSUM_NONE;
	if (info->has_hash)
		skb_set_hash(skb, info->hash, PKT_HASH_TYPE_L4);
	if (info->has_vlan)
		__vlan_hwaccel_put_tag(skb, htons(ETH_P_8021Q), info->vlan_tci);
	if (info->coalesced) {
		/* The host doesn't say how long the segments were. As long as they may be, but for
		 * the headers of IPv6 and TCP with time stamps. No type: it isn't to be sent on so.
		 */
		unsigned int segment = max_t(int, READ_ONCE(napi->dev->mtu) - 72, 1);

		skb_shinfo(skb)->gso_size = min_t(unsigned int, segment, U16_MAX);
		skb_shinfo(skb)->gso_segs = DIV_ROUND_UP(skb->len, segment);
	}
	napi_gro_receive(napi, skb);
}
