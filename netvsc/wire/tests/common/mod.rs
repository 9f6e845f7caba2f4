// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the tests share.

/// The bytes of hexadecimal digits; white space is left out.
pub(crate) fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).expect("a digit") as u8)
        .collect();
    assert!(digits.len() % 2 == 0);
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}
