// SPDX-License-Identifier: GPL-2.0

#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/string.h>
#include <linux/vmalloc.h>

/* A zeroed order-0 page, from any node if @nid is NUMA_NO_NODE. */
struct page *hv_helper_alloc_zeroed_page(int nid)
{
	return alloc_pages_node(nid, GFP_KERNEL | __GFP_ZERO, 0);
}

void *hv_helper_page_address(struct page *page)
{
	return page_address(page);
}

unsigned long hv_helper_page_to_pfn(struct page *page)
{
	return page_to_pfn(page);
}

/* PAGE_KERNEL is an expression that bindgen can't see. */
void *hv_helper_vmap_kernel(struct page **pages, unsigned int count)
{
	return vmap(pages, count, VM_MAP, PAGE_KERNEL);
}

/*
 * A copy that no compiler looks into: one side may be written by the host
 * while it runs.
 */
void hv_helper_copy_shared(void *to, const void *from, size_t len)
{
	memcpy(to, from, len);
}

/*
 * Always locked, also on a guest with one CPU, since the other side is the
 * host. A 32-bit access, because that's the alignment a shared page promises.
 */
bool hv_helper_sync_set_bit32(u32 *word, u32 bit)
{
	bool old;

	asm volatile("lock btsl %2, %1"
		     : "=@ccc" (old), "+m" (*word)
		     : "Ir" (bit)
		     : "memory");
	return old;
}

bool hv_helper_sync_clear_bit32(u32 *word, u32 bit)
{
	bool old;

	asm volatile("lock btrl %2, %1"
		     : "=@ccc" (old), "+m" (*word)
		     : "Ir" (bit)
		     : "memory");
	return old;
}

/* Whether somebody else has a reference. */
bool hv_helper_page_is_lent(struct page *page)
{
	if (page_ref_count(page) > 1)
		return true;
	/* Pairs with put_page(): what others read of it, they have read before. */
	smp_rmb();
	return false;
}
