// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A ring in ordinary memory that wraps by itself, with every word open to the test: what the
//! other side may scribble into, a test scribbles into.

#![allow(dead_code, unreachable_pub)] // Each test and fuzz target uses a part of it.

use std::cell::{Cell, RefCell};
use vmbus_wire::ring::RingMemory;

/// See the module.
#[derive(Debug, Default)]
pub struct HeapRing {
    pub data: RefCell<Vec<u8>>,
    pub read_index: Cell<u32>,
    pub write_index: Cell<u32>,
    pub interrupt_mask: Cell<u32>,
    pub pending_send_size: Cell<u32>,
    pub feature_bits: Cell<u32>,
    /// Bytes that were copied out of the ring.
    pub bytes_in: Cell<usize>,
    /// How often the ring was written into without its content having been published.
    pub copies_out: Cell<usize>,
    pub barriers: Cell<usize>,
}

impl HeapRing {
    /// A ring with a data area of so many bytes, filled with a pattern that isn't zero.
    pub fn new(bytes: u32) -> Self {
        Self {
            data: RefCell::new(vec![0xa5; bytes as usize]),
            ..Self::default()
        }
    }

    fn check(&self, offset: u32, length: usize) -> usize {
        let size = self.data.borrow().len();
        let offset = offset as usize;
        assert!(offset < size, "offset {offset} in {size} bytes");
        assert!(length <= size, "{length} bytes in {size} bytes");
        offset
    }
}

impl RingMemory for HeapRing {
    fn len(&self) -> u32 {
        self.data.borrow().len() as u32
    }

    fn copy_in(&self, offset: u32, to: &mut [u8]) {
        let offset = self.check(offset, to.len());
        let data = self.data.borrow();
        let first = to.len().min(data.len() - offset);
        let (head, tail) = to.split_at_mut(first);
        head.copy_from_slice(&data[offset..offset + first]);
        tail.copy_from_slice(&data[..tail.len()]);
        self.bytes_in.set(self.bytes_in.get() + to.len());
    }

    fn copy_out(&self, offset: u32, from: &[u8]) {
        let offset = self.check(offset, from.len());
        let mut data = self.data.borrow_mut();
        let first = from.len().min(data.len() - offset);
        let (head, tail) = from.split_at(first);
        data[offset..offset + first].copy_from_slice(head);
        data[..tail.len()].copy_from_slice(tail);
        self.copies_out.set(self.copies_out.get() + 1);
    }

    fn load_read_index(&self) -> u32 {
        self.read_index.get()
    }
    fn store_read_index(&self, index: u32) {
        self.read_index.set(index);
    }
    fn load_write_index(&self) -> u32 {
        self.write_index.get()
    }
    fn store_write_index(&self, index: u32) {
        self.write_index.set(index);
    }
    fn load_interrupt_mask(&self) -> u32 {
        self.interrupt_mask.get()
    }
    fn store_interrupt_mask(&self, mask: u32) {
        self.interrupt_mask.set(mask);
    }
    fn load_pending_send_size(&self) -> u32 {
        self.pending_send_size.get()
    }
    fn store_pending_send_size(&self, bytes: u32) {
        self.pending_send_size.set(bytes);
    }
    fn load_feature_bits(&self) -> u32 {
        self.feature_bits.get()
    }
    fn store_feature_bits(&self, bits: u32) {
        self.feature_bits.set(bits);
    }
    fn full_barrier(&self) {
        self.barriers.set(self.barriers.get() + 1);
    }
}
