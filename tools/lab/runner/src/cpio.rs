// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Writes initial RAM disks: cpio archives in the "newc" form of the kernel's
//! Documentation/driver-api/early-userspace/buffer-format.rst, without any staging directory,
//! without privileges, the same bytes for the same content.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};
use clap::Args;
use sha2::{Digest, Sha256};

/// How many images of one name stay in the directory.
const KEEP: usize = 4;

/// What an image is made of.
#[derive(Args)]
pub(crate) struct ImageArgs {
    /// The list of entries, one a line: `dir PATH MODE`, `file PATH SOURCE MODE`,
    /// `slink PATH TARGET`, `nod PATH MODE MAJOR MINOR` (character device). Modes are octal;
    /// `#` starts a comment. No name may hold white space.
    #[arg(long)]
    list: PathBuf,
    /// Directory of the images; made if needed.
    #[arg(long)]
    dir: PathBuf,
    /// First part of the image's file name; the rest is a hash of its content.
    #[arg(long)]
    name: String,
}

/// One entry of a list.
#[derive(Debug, PartialEq, Eq)]
enum Entry {
    Dir { mode: u32 },
    File { source: PathBuf, mode: u32 },
    Link { target: String },
    Node { mode: u32, major: u32, minor: u32 },
}

/// Reads a list; later lines win over earlier ones with the same path.
fn parse_list(text: &str) -> Result<BTreeMap<String, Entry>> {
    let octal = |text: &str| u32::from_str_radix(text, 8).context("mode is not octal");
    let mut entries = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or("").trim();
        let words: Vec<&str> = line.split_whitespace().collect();
        let parsed = (|| {
            Ok(match words.as_slice() {
                [] => return Ok(None),
                ["dir", path, mode] => (*path, Entry::Dir { mode: octal(mode)? }),
                ["file", path, source, mode] => {
                    let source = PathBuf::from(source);
                    (
                        *path,
                        Entry::File {
                            source,
                            mode: octal(mode)?,
                        },
                    )
                }
                ["slink", path, target] => (
                    *path,
                    Entry::Link {
                        target: (*target).to_owned(),
                    },
                ),
                ["nod", path, mode, major, minor] => {
                    let (major, minor) = (major.parse()?, minor.parse()?);
                    (
                        *path,
                        Entry::Node {
                            mode: octal(mode)?,
                            major,
                            minor,
                        },
                    )
                }
                _ => bail!("not an entry: {line}"),
            }
            .into())
        })();
        let Some((path, entry)) = parsed.with_context(|| format!("line {}", number + 1))? else {
            continue;
        };
        let path = path.trim_start_matches('/');
        if path.is_empty() {
            bail!("line {}: the root directory needs no entry", number + 1);
        }
        entries.insert(path.to_owned(), entry);
    }
    add_parents(&mut entries);
    Ok(entries)
}

/// Every directory on the way to an entry has to be in the archive.
fn add_parents(entries: &mut BTreeMap<String, Entry>) {
    let paths: Vec<String> = entries.keys().cloned().collect();
    for path in paths {
        for (at, _) in path.match_indices('/') {
            if let Some(parent) = path.get(..at) {
                entries
                    .entry(parent.to_owned())
                    .or_insert(Entry::Dir { mode: 0o755 });
            }
        }
    }
}

/// Builds the image unless one of the same content is there already; returns its path.
///
/// # Errors
///
/// When the list or a source can't be read or the image can't be written.
pub(crate) fn build(args: &ImageArgs) -> Result<PathBuf> {
    let text = fs::read_to_string(&args.list)
        .with_context(|| format!("cannot read {}", args.list.display()))?;
    let entries = parse_list(&text).with_context(|| format!("in {}", args.list.display()))?;
    fs::create_dir_all(&args.dir).with_context(|| format!("cannot make {}", args.dir.display()))?;
    let partial = args
        .dir
        .join(format!(".{}.{}", args.name, std::process::id()));
    let made = write_image(&entries, &partial);
    let hash = match made {
        Ok(hash) => hash,
        Err(error) => {
            let _ = fs::remove_file(&partial);
            return Err(error);
        }
    };
    let path = args.dir.join(format!("{}-{hash}.cpio", args.name));
    fs::rename(&partial, &path).with_context(|| format!("cannot make {}", path.display()))?;
    prune(&args.dir, &args.name);
    Ok(path)
}

fn write_image(entries: &BTreeMap<String, Entry>, path: &Path) -> Result<String> {
    let file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    let mut cpio = Writer::new(Hashing {
        out: BufWriter::with_capacity(1 << 20, file),
        hash: Sha256::new(),
    });
    for (name, entry) in entries {
        match entry {
            Entry::Dir { mode } => cpio.directory(name, *mode)?,
            Entry::File { source, mode } => cpio.file_from(name, source, *mode)?,
            Entry::Link { target } => cpio.entry(name, 0o120_777, target.as_bytes(), (0, 0))?,
            Entry::Node { mode, major, minor } => {
                cpio.entry(name, 0o020_000 | mode, &[], (*major, *minor))?;
            }
        }
    }
    let mut out = cpio.finish()?;
    out.flush().context("write the image")?;
    let digest = out.hash.finalize();
    let first: [u8; 8] = std::array::from_fn(|at| digest[at]);
    Ok(format!("{:016x}", u64::from_be_bytes(first)))
}

/// Removes all but the newest images of this name; a run that still boots an older one has it
/// open or copied.
fn prune(dir: &Path, name: &str) {
    let prefix = format!("{name}-");
    let Ok(listing) = fs::read_dir(dir) else {
        return;
    };
    let mut images: Vec<_> = listing
        .flatten()
        .filter(|entry| {
            let file = entry.file_name();
            let file = file.to_string_lossy();
            file.strip_prefix(&prefix)
                .and_then(|rest| rest.strip_suffix(".cpio"))
                .is_some_and(|hash| hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()))
        })
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    images.sort();
    let surplus = images.len().saturating_sub(KEEP);
    for (_, path) in images.into_iter().take(surplus) {
        // An image that can't be removed only takes room.
        let _ = fs::remove_file(path);
    }
}

/// Hashes what passes through.
struct Hashing<W> {
    out: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hash.update(bytes.get(..written).unwrap_or(bytes));
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

/// Writes one archive.
pub(crate) struct Writer<W> {
    out: W,
    inode: u32,
}

impl<W: Write> Writer<W> {
    /// An archive that goes to `out`.
    pub(crate) fn new(out: W) -> Self {
        Self { out, inode: 0 }
    }

    /// A directory.
    ///
    /// # Errors
    ///
    /// When it can't be written.
    pub(crate) fn directory(&mut self, name: &str, mode: u32) -> Result<()> {
        self.entry(name, 0o040_000 | mode, &[], (0, 0))
    }

    /// A file with this content.
    ///
    /// # Errors
    ///
    /// When it can't be written.
    pub(crate) fn file(&mut self, name: &str, content: &[u8], mode: u32) -> Result<()> {
        self.entry(name, 0o100_000 | mode, content, (0, 0))
    }

    /// A file with the content of another.
    ///
    /// # Errors
    ///
    /// When that can't be read or this not be written.
    pub(crate) fn file_from(&mut self, name: &str, source: &Path, mode: u32) -> Result<()> {
        let content =
            fs::read(source).with_context(|| format!("cannot read {}", source.display()))?;
        self.file(name, &content, mode)
    }

    /// One entry: type and permissions in `mode`, `device` only for nodes.
    fn entry(&mut self, name: &str, mode: u32, content: &[u8], device: (u32, u32)) -> Result<()> {
        self.inode += 1;
        let name = name.trim_start_matches('/');
        let length = u32::try_from(content.len()).context("a file of 4 GiB or more")?;
        let name_length = u32::try_from(name.len() + 1).context("an absurd name")?;
        // magic, ino, mode, uid, gid, nlink, mtime, filesize, dev (2), rdev (2), namesize, check
        let fields = [
            self.inode,
            mode,
            0,
            0,
            1,
            0,
            length,
            0,
            0,
            device.0,
            device.1,
            name_length,
            0,
        ];
        let mut header = String::from("070701");
        for field in fields {
            header.push_str(&format!("{field:08x}"));
        }
        self.out.write_all(header.as_bytes())?;
        self.out.write_all(name.as_bytes())?;
        self.out.write_all(&[0])?;
        self.pad(header.len() + name.len() + 1)?;
        self.out.write_all(content)?;
        self.pad(content.len())
    }

    /// Each part starts on a four-byte boundary.
    fn pad(&mut self, written: usize) -> Result<()> {
        let zeroes = [0u8; 4];
        let missing = written.wrapping_neg() & 3;
        self.out
            .write_all(zeroes.get(..missing).unwrap_or(&[]))
            .context("write an image")
    }

    /// Writes the mark at the end and gives the output back.
    ///
    /// # Errors
    ///
    /// When it can't be written.
    pub(crate) fn finish(mut self) -> Result<W> {
        self.inode = 0;
        self.entry("TRAILER!!!", 0, &[], (0, 0))?;
        Ok(self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_has_the_documented_form() {
        let mut cpio = Writer::new(Vec::new());
        cpio.file("/a", b"hello", 0o644).unwrap();
        let bytes = cpio.finish().unwrap();
        assert!(bytes.starts_with(b"070701000000010000"));
        assert_eq!(bytes.len() % 4, 0);
        // Header 110, name "a\0", together 112; then five bytes of content.
        assert_eq!(&bytes[110..112], b"a\0");
        assert_eq!(&bytes[112..117], b"hello");
        assert_eq!(&bytes[120..126], b"070701");
    }

    #[test]
    fn parents_come_before_their_children() {
        let entries = parse_list("file /usr/bin/x /dev/null 755 # a comment\n").unwrap();
        let names: Vec<_> = entries.keys().map(String::as_str).collect();
        assert_eq!(names, ["usr", "usr/bin", "usr/bin/x"]);
    }

    #[test]
    fn a_bad_line_is_named() {
        let error = parse_list("dir /a 755\nfoo bar\n").unwrap_err();
        assert!(format!("{error:#}").contains("line 2"));
        assert!(parse_list("dir / 755\n").is_err());
        assert!(parse_list("dir /a 789\n").is_err());
    }
}
