// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Lines out of bytes as they come, none longer than allowed.

/// Bytes of a line that isn't whole yet.
#[derive(Debug)]
pub struct Lines {
    bytes: Vec<u8>,
    limit: usize,
    /// The line that comes is too long: skip to its end.
    skipping: bool,
}

/// A line that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// Whole, without its end.
    Whole(Vec<u8>),
    /// Longer than allowed; what it was is forgotten.
    TooLong,
}

impl Lines {
    /// Lines of up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            bytes: Vec::new(),
            limit,
            skipping: false,
        }
    }

    /// Takes more bytes and calls `each` for every line that ends in them.
    pub fn take(&mut self, mut bytes: &[u8], mut each: impl FnMut(Line)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = bytes.split_at(end);
            self.append(line);
            bytes = rest.get(1..).unwrap_or_default();
            if std::mem::take(&mut self.skipping) {
                each(Line::TooLong);
            } else {
                let mut line = std::mem::take(&mut self.bytes);
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                each(Line::Whole(line));
            }
        }
        self.append(bytes);
    }

    fn append(&mut self, bytes: &[u8]) {
        if self.skipping {
            return;
        }
        if self.bytes.len().saturating_add(bytes.len()) > self.limit {
            self.skipping = true;
            self.bytes = Vec::new();
        } else {
            self.bytes.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn all(limit: usize, pieces: &[&[u8]]) -> Vec<Line> {
        let mut lines = Lines::new(limit);
        let mut out = Vec::new();
        for piece in pieces {
            lines.take(piece, |line| out.push(line));
        }
        out
    }

    #[test]
    fn lines_end_where_they_end() {
        let whole = |text: &str| Line::Whole(text.as_bytes().to_vec());
        assert_eq!(
            all(9, &[b"on", b"e\ntwo\r\n\nth", b"ree"]),
            [whole("one"), whole("two"), whole("")]
        );
        assert_eq!(
            all(4, &[b"four\nfive5\n6", b"\n"]),
            [whole("four"), Line::TooLong, whole("6")]
        );
        assert_eq!(
            all(4, &[b"aaaa", b"a", b"aaaaaaaa", b"\nb\n"]),
            [Line::TooLong, whole("b")]
        );
    }

    proptest! {
        #[test]
        fn how_bytes_come_does_not_matter(bytes in vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..200), cut in 0usize..200) {
            let cut = cut.min(bytes.len());
            prop_assert_eq!(all(20, &[&bytes]), all(20, &[&bytes[..cut], &bytes[cut..]]));
        }
    }
}
