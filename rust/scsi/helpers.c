// SPDX-License-Identifier: GPL-2.0

#include <linux/blk-mq.h>
#include <linux/dma-mapping.h>
#include <linux/scatterlist.h>
#include <scsi/scsi_cmnd.h>
#include <scsi/scsi_device.h>
#include <scsi/scsi_host.h>

void **hv_helper_shost_priv(struct Scsi_Host *shost)
{
	return shost_priv(shost);
}

void hv_helper_scsi_host_get_device(struct Scsi_Host *shost)
{
	get_device(&shost->shost_gendev);
}

u32 hv_helper_scsi_unique_tag(struct scsi_cmnd *cmd)
{
	struct request *rq = scsi_cmd_to_rq(cmd);

	/* blk_mq_unique_tag(), without a call. */
	return rq->mq_hctx->queue_num << BLK_MQ_UNIQUE_TAG_BITS |
	       (rq->tag & BLK_MQ_UNIQUE_TAG_MASK);
}

/* An array since 7.3, a pointer into the INQUIRY data before. */
const char *hv_helper_scsi_vendor(struct scsi_device *sdev)
{
	return sdev->vendor;
}

/* A bit of the template that Rust's bindings can't set in a constant. */
void hv_helper_scsi_template_track_depth(struct scsi_host_template *template)
{
	template->track_queue_depth = 1;
}

void hv_helper_scsi_set_timeout(struct scsi_device *sdev, unsigned int ms)
{
	blk_queue_rq_timeout(sdev->request_queue, msecs_to_jiffies(ms));
}

void hv_helper_dma_set_min_align_mask(struct device *dev, unsigned int mask)
{
	dma_set_min_align_mask(dev, mask);
}

/*
 * Where a walk along the pages of a mapped scatter list is: the entries that
 * are left, and the pages left of the one before them. A page is 4 KiB here,
 * as hosts count. It begins with all entries and without pages.
 */
struct hv_sg_walk {
	struct scatterlist *next;
	unsigned int left;
	u64 pfn;
	u64 pfns;
};

/* Up to @room more pages; 0 when there are none. */
size_t hv_helper_sg_walk_pfns(struct hv_sg_walk *walk, u64 *pfns, size_t room)
{
	size_t n = 0;

	while (n < room) {
		if (!walk->pfns) {
			dma_addr_t start;

			if (!walk->left)
				break;
			start = sg_dma_address(walk->next);
			walk->pfn = start >> 12;
			walk->pfns = ((start + sg_dma_len(walk->next) + 4095) >> 12) - walk->pfn;
			walk->left--;
			if (walk->left)
				walk->next = sg_next(walk->next);
			continue;
		}
		pfns[n++] = walk->pfn++;
		walk->pfns--;
	}
	return n;
}

u32 hv_helper_sg_dma_offset(struct scatterlist *sgl)
{
	return sg_dma_address(sgl) & 4095;
}
