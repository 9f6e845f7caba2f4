// SPDX-License-Identifier: GPL-2.0
/*
 * XDP: programs that see received frames before the stack does. A program is
 * the device's; the frames that one sees are in pages of the queue's pool.
 */

#include <linux/bpf_trace.h>
#include <linux/etherdevice.h>
#include <linux/filter.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>

#include "receive.h"

/* What a device's private memory is. */
struct hv_net_private {
	/* The driver's. */
	void *driver;
	struct bpf_prog __rcu *program;
};

size_t hv_helper_net_private_bytes(void)
{
	return sizeof(struct hv_net_private);
}

void **hv_helper_net_private(struct net_device *dev)
{
	return &((struct hv_net_private *)netdev_priv(dev))->driver;
}

/* Bytes of the longest frame that a program can see, with Ethernet header. */
static unsigned int hv_xdp_room(void)
{
	return PAGE_SIZE - XDP_PACKET_HEADROOM - SKB_DATA_ALIGN(sizeof(struct skb_shared_info));
}

void hv_helper_xdp_announce(struct net_device *dev)
{
	dev->xdp_features = NETDEV_XDP_ACT_BASIC | NETDEV_XDP_ACT_REDIRECT |
			    NETDEV_XDP_ACT_NDO_XMIT;
}

bool hv_helper_xdp_is_on(struct net_device *dev)
{
	struct hv_net_private *private = netdev_priv(dev);

	return rcu_access_pointer(private->program);
}

/* Whether frames of that MTU are short enough for programs. */
bool hv_helper_xdp_takes_mtu(unsigned int mtu)
{
	return mtu + ETH_HLEN + VLAN_HLEN <= hv_xdp_room();
}

/* Under RTNL. */
int hv_helper_xdp_setup(struct net_device *dev, struct netdev_bpf *bpf)
{
	struct hv_net_private *private = netdev_priv(dev);
	struct bpf_prog *old;

	if (bpf->command != XDP_SETUP_PROG)
		return -EINVAL;
	if (bpf->prog && !hv_helper_xdp_takes_mtu(dev->mtu)) {
		NL_SET_ERR_MSG_MOD(bpf->extack, "the MTU is too large for XDP");
		return -EOPNOTSUPP;
	}
	if (bpf->prog && dev->features & NETIF_F_LRO) {
		NL_SET_ERR_MSG_MOD(bpf->extack, "XDP needs large-receive-offload off");
		return -EOPNOTSUPP;
	}
	old = rtnl_dereference(private->program);
	rcu_assign_pointer(private->program, bpf->prog);
	if (old)
		bpf_prog_put(old);
	return 0;
}

/* A page for a frame of @bytes bytes; NULL: there is none, or it is too long. */
struct page *hv_helper_xdp_page(struct hv_rx_queue *queue, unsigned int bytes)
{
	if (bytes > hv_xdp_room() || bytes < ETH_HLEN)
		return NULL;
	return page_pool_dev_alloc_pages(queue->pool);
}

void hv_helper_xdp_fill(struct page *page, const void *from, unsigned int bytes)
{
	memcpy(page_address(page) + XDP_PACKET_HEADROOM, from, bytes);
}

void hv_helper_xdp_page_free(struct hv_rx_queue *queue, struct page *page)
{
	page_pool_put_full_page(queue->pool, page, true);
}

/* What became of a frame. */
enum hv_xdp_verdict {
	/* A buffer for the stack, at its Ethernet header. */
	HV_XDP_PASS,
	/* A buffer to be sent. */
	HV_XDP_TX,
	HV_XDP_REDIRECTED,
	HV_XDP_DROPPED,
	/* There was no memory for a buffer. */
	HV_XDP_NO_MEMORY,
};

/* Has the program see a frame; the page is given away. In a poll. */
u32 hv_helper_xdp_run(struct hv_rx_queue *queue, struct net_device *dev, struct page *page,
		      unsigned int bytes, struct sk_buff **out)
{
	struct hv_net_private *private = netdev_priv(dev);
	u32 act = XDP_PASS, verdict = HV_XDP_DROPPED;
	struct bpf_prog *program;
	struct xdp_buff xdp;

	xdp_init_buff(&xdp, PAGE_SIZE, &queue->info);
	xdp_prepare_buff(&xdp, page_address(page), XDP_PACKET_HEADROOM, bytes, true);
	rcu_read_lock();
	program = rcu_dereference(private->program);
	if (program)
		act = bpf_prog_run_xdp(program, &xdp);
	switch (act) {
	case XDP_PASS:
	case XDP_TX:
		*out = xdp_build_skb_from_buff(&xdp);
		if (!*out) {
			verdict = HV_XDP_NO_MEMORY;
			break;
		}
		__skb_push(*out, ETH_HLEN);
		page = NULL;
		verdict = act == XDP_PASS ? HV_XDP_PASS : HV_XDP_TX;
		break;
	case XDP_REDIRECT:
		if (xdp_do_redirect(dev, &xdp, program)) {
			trace_xdp_exception(dev, program, act);
			break;
		}
		page = NULL;
		verdict = HV_XDP_REDIRECTED;
		break;
	default:
		bpf_warn_invalid_xdp_action(dev, program, act);
		fallthrough;
	case XDP_ABORTED:
		trace_xdp_exception(dev, program, act);
		fallthrough;
	case XDP_DROP:
		break;
	}
	rcu_read_unlock();
	if (page)
		hv_helper_xdp_page_free(queue, page);
	return verdict;
}

/* What was redirected since the last call goes on now. */
void hv_helper_xdp_flush(void)
{
	xdp_do_flush();
}

/* A buffer of a frame that was redirected here, which is used up; NULL: it isn't. */
struct sk_buff *hv_helper_xdp_buffer(struct net_device *dev, struct xdp_frame *frame)
{
	struct sk_buff *skb = xdp_build_skb_from_frame(frame, dev);

	if (skb)
		__skb_push(skb, ETH_HLEN);
	return skb;
}

/* Sending without the stack: the queue's lock, as the stack holds it. True: frames may be sent. */
bool hv_helper_tx_lock(struct net_device *dev, u16 queue)
{
	struct netdev_queue *txq = netdev_get_tx_queue(dev, queue);

	__netif_tx_lock(txq, smp_processor_id());
	/* Or the watchdog counts from the last frame of the stack. */
	txq_trans_cond_update(txq);
	return !netif_xmit_frozen_or_drv_stopped(txq);
}

void hv_helper_tx_unlock(struct net_device *dev, u16 queue)
{
	__netif_tx_unlock(netdev_get_tx_queue(dev, queue));
}

u16 hv_helper_tx_queue_here(const struct net_device *dev)
{
	return smp_processor_id() % READ_ONCE(dev->real_num_tx_queues);
}
