/* SPDX-License-Identifier: GPL-2.0 */
#ifndef VMBUS_RS_NET_RECEIVE_H
#define VMBUS_RS_NET_RECEIVE_H

#include <net/page_pool/helpers.h>
#include <net/xdp.h>

/* What a queue has for the frames that it receives. */
struct hv_rx_queue {
	struct xdp_rxq_info info;
	struct page_pool *pool;
};

#endif
