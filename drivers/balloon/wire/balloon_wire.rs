//! x
#![allow(missing_docs)]
pub fn x() -> u32 { 2 }
