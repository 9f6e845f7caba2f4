// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Units in raw files and block devices.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::{bail, Context};
use nix::fcntl::{fallocate, FallocateFlags, Flock, FlockArg};
use nix::sys::statfs::{fstatfs, TMPFS_MAGIC};

use super::super::work::{Job, Step};

/// `RAMFS_MAGIC` of <linux/magic.h>.
const RAMFS_MAGIC: i64 = 0x8584_58f6;

/// How a hole is made: the file stays as long as it is.
pub(crate) const PUNCH: FallocateFlags =
    FallocateFlags::FALLOC_FL_PUNCH_HOLE.union(FallocateFlags::FALLOC_FL_KEEP_SIZE);

/// A raw file or block device.
#[derive(Debug)]
pub(crate) struct FileDisk {
    path: PathBuf,
    file: Flock<File>,
    regular: bool,
    discards: bool,
    in_memory: bool,
    writes: AtomicU8,
}

/// How writes that needn't be on the medium are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writes {
    /// The first write will tell.
    Unknown = 0,
    /// At once, on this thread: they only copy to the page cache, and the file system can't say
    /// beforehand that they won't wait, so that io_uring would hand each to another thread.
    Here = 1,
    /// With io_uring, which makes them at once where that is possible.
    Ring = 2,
}

impl FileDisk {
    /// Opens it and keeps others from using it the same time.
    ///
    /// # Errors
    ///
    /// A sentence that names the file.
    pub(crate) fn open(path: &Path, read_only: bool) -> anyhow::Result<Self> {
        let name = path.display();
        // Looked at first: opening a pipe would wait for its other end.
        let kind = std::fs::metadata(path)
            .with_context(|| format!("disk image {name} can't be opened"))?
            .file_type();
        if !kind.is_file() && !kind.is_block_device() {
            bail!("disk image {name} is neither a file nor a block device");
        }
        let file = OpenOptions::new()
            .read(true)
            .write(!read_only)
            .open(path)
            .with_context(|| format!("disk image {name} can't be opened"))?;
        let lock = if read_only {
            FlockArg::LockSharedNonblock
        } else {
            FlockArg::LockExclusiveNonblock
        };
        let file = Flock::lock(file, lock).map_err(|(_, error)| match error {
            nix::Error::EWOULDBLOCK => anyhow::anyhow!("disk image {name} is in use"),
            error => anyhow::anyhow!("disk image {name} can't be locked: {error}"),
        })?;
        let in_memory = fstatfs(&*file).is_ok_and(|system| {
            let magic = system.filesystem_type();
            magic == TMPFS_MAGIC || magic.0 == RAMFS_MAGIC
        });
        let mut disk = Self {
            path: path.to_owned(),
            file,
            regular: kind.is_file(),
            discards: false,
            in_memory,
            writes: AtomicU8::new(Writes::Unknown as u8),
        };
        disk.discards = !read_only && disk.probe_discard();
        Ok(disk)
    }

    /// A hole behind the end changes nothing, and tells whether the file system makes any.
    fn probe_discard(&self) -> bool {
        // A block device refuses it outright; whether it discards shows when it is asked to.
        if !self.regular {
            return true;
        }
        self.bytes()
            .ok()
            .and_then(|bytes| i64::try_from(bytes).ok())
            .is_some_and(|end| fallocate(&*self.file, PUNCH, end, 4096).is_ok())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// For calls to the system.
    pub(crate) fn fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// The file system keeps it in memory: calls copy and never wait, so that nothing is won by
    /// having them made elsewhere.
    pub(crate) fn in_memory(&self) -> bool {
        self.in_memory
    }

    /// How writes are made that needn't be on the medium.
    pub(crate) fn writes(&self) -> Writes {
        match self.writes.load(Ordering::Relaxed) {
            1 => Writes::Here,
            2 => Writes::Ring,
            _ => Writes::Unknown,
        }
    }

    /// Makes the first call of a writing job, if that needs no waiting, and learns from it how
    /// others are best made. Answers as the kernel does; the job is to be told.
    pub(crate) fn probe_write(&self, step: &Step<'_>) -> i32 {
        let answer = self.call(step, libc::RWF_NOWAIT);
        let writes = match -answer {
            libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL => Writes::Here,
            _ => Writes::Ring,
        };
        self.writes.store(writes as u8, Ordering::Relaxed);
        match writes {
            Writes::Here => self.call(step, 0),
            _ => answer,
        }
    }

    pub(crate) fn discards(&self) -> bool {
        self.discards
    }

    pub(crate) fn bytes(&self) -> anyhow::Result<u64> {
        // Also right for block devices, whose metadata say 0.
        let mut file: &File = &self.file;
        file.seek(SeekFrom::End(0))
            .with_context(|| format!("disk image {}", self.path.display()))
    }

    pub(crate) fn resize(&self, bytes: u64) -> anyhow::Result<()> {
        let now = self.bytes()?;
        if now == bytes {
            return Ok(());
        }
        if !self.regular {
            bail!(
                "{} is a block device of {now} bytes and can't be resized from here",
                self.path.display()
            );
        }
        self.file
            .set_len(bytes)
            .with_context(|| format!("disk image {} can't be resized", self.path.display()))
    }

    /// Does a job from beginning to end, on this thread.
    ///
    /// # Errors
    ///
    /// The number of the error that ended it.
    pub(crate) fn run(&self, job: &mut Job) -> Result<(), i32> {
        // Every turn moves bytes, ends a part of the job, or counts a retry, which are limited.
        while let Some(step) = job.step() {
            let answer = self.call(&step, 0);
            job.advance(answer)?;
        }
        Ok(())
    }

    /// Makes one call, a write with these flags; answers as the kernel does.
    fn call(&self, step: &Step<'_>, flags: i32) -> i32 {
        let place = |offset: u64| libc::off_t::try_from(offset).unwrap_or(libc::off_t::MAX);
        let fd = self.fd();
        let answer: i64 = match *step {
            Step::Read { pieces, offset } => {
                // SAFETY: an IoVec has the layout of an iovec and, by its invariant, names memory
                // that is mapped as long as the job's buffer lives, which outlives this call.
                unsafe {
                    libc::preadv(
                        fd,
                        pieces.as_ptr().cast(),
                        pieces.len() as i32,
                        place(offset),
                    ) as i64
                }
            }
            Step::Write {
                pieces,
                offset,
                durable,
            } => {
                let flags = flags | if durable { libc::RWF_DSYNC } else { 0 };
                // SAFETY: as above.
                unsafe {
                    libc::pwritev2(
                        fd,
                        pieces.as_ptr().cast(),
                        pieces.len() as i32,
                        place(offset),
                        flags,
                    ) as i64
                }
            }
            // SAFETY: the call takes no memory.
            Step::Flush => unsafe { libc::fdatasync(fd) }.into(),
            // SAFETY: the call takes no memory.
            Step::Punch { offset, bytes } => {
                unsafe { libc::fallocate(fd, PUNCH.bits(), place(offset), place(bytes)) }.into()
            }
        };
        if answer < 0 {
            let errno = std::io::Error::last_os_error()
                .raw_os_error()
                .unwrap_or(libc::EIO);
            return -errno;
        }
        // At most `MAX_RW_COUNT`, which is less than 2 GiB.
        i32::try_from(answer).unwrap_or(i32::MAX)
    }
}
