// SPDX-License-Identifier: GPL-2.0

#include <linux/gfp.h>
#include <linux/jiffies.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/vmstat.h>

/*
 * Pages for a balloon: single ones in the end, whatever the order. The kernel
 * isn't to try hard, since the host asks for what the guest can spare.
 */
struct page *hv_helper_alloc_balloon_pages(unsigned int order)
{
	struct page *page;

	page = alloc_pages(GFP_HIGHUSER | __GFP_NORETRY | __GFP_NOMEMALLOC | __GFP_NOWARN,
			   order);
	if (page && order)
		split_page(page, order);
	return page;
}

/* Offline: neither hibernation nor a crash dump may read the page. */
void hv_helper_balloon_page_out(struct page *page)
{
	__SetPageOffline(page);
	adjust_managed_page_count(page, -1);
	mod_node_page_state(page_pgdat(page), NR_BALLOON_PAGES, 1);
}

void hv_helper_balloon_page_in(struct page *page)
{
	mod_node_page_state(page_pgdat(page), NR_BALLOON_PAGES, -1);
	__ClearPageOffline(page);
	adjust_managed_page_count(page, 1);
	__free_page(page);
}

struct page *hv_helper_pfn_to_page(unsigned long pfn)
{
	return pfn_to_page(pfn);
}

unsigned long hv_helper_totalram_pages(void)
{
	return totalram_pages();
}

u64 hv_helper_jiffies_64(void)
{
	return get_jiffies_64();
}

unsigned int hv_helper_memalloc_noio_save(void)
{
	return memalloc_noio_save();
}

void hv_helper_memalloc_noio_restore(unsigned int flags)
{
	memalloc_noio_restore(flags);
}
