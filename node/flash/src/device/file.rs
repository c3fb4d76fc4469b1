//! The file or block device under an engine: found or created, checked, locked, measured.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, FlockOperation, Mode, OFlags, SeekFrom};
use rustix::io::Errno;
use thiserror::Error;

use crate::buffer::{BLOCK_BYTES, BufferPool};

/// Why a device can't be opened.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OpenDeviceError {
    /// It isn't there, and the caller didn't say how long it should be made.
    #[error("{path}: no such file or device")]
    NotFound {
        /// Which path.
        path: String,
    },
    /// A directory, socket, terminal or the like.
    #[error("{path}: is {what}, not a regular file or a block device")]
    WrongKind {
        /// Which path.
        path: String,
        /// What it is.
        what: &'static str,
    },
    /// Another node (or another program, for a block device) holds it.
    #[error("{path}: is in use by another process")]
    InUse {
        /// Which path.
        path: String,
    },
    /// It, or the filesystem it lies on, can't be written.
    #[error("{path}: can't be opened for writing: {message}")]
    ReadOnly {
        /// Which path.
        path: String,
        /// What the kernel said.
        message: String,
    },
    /// The filesystem hasn't room for a file of this length.
    #[error("{path}: needs {needed_bytes} bytes, the filesystem has {available_bytes} left")]
    NoSpace {
        /// Which path.
        path: String,
        /// Length to be created.
        needed_bytes: u64,
        /// What is free.
        available_bytes: u64,
    },
    /// Shorter than one block.
    #[error("{path}: {byte_len} bytes are less than one block of {BLOCK_BYTES}")]
    TooSmall {
        /// Which path.
        path: String,
        /// Its length.
        byte_len: u64,
    },
    /// The engine that was asked for can't work here.
    #[error("{path}: the {engine} engine can't be used: {reason}")]
    EngineRefused {
        /// Which path.
        path: String,
        /// `io_uring` or `pread`.
        engine: &'static str,
        /// Why.
        reason: String,
    },
    /// Anything else that the kernel refused.
    #[error("{path}: can't {action}: {message}")]
    Io {
        /// Which path.
        path: String,
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        message: String,
    },
}

/// An open, locked file or block device.
#[derive(Debug)]
pub(crate) struct DeviceFile {
    name: Arc<str>,
    file: OwnedFd,
    /// The lock lies on an open file of its own: a ring may hold `file` registered for a while after everyone else let
    /// go of it, and that must not keep the next node out.
    _lock: OwnedFd,
    byte_len: u64,
    direct: Result<(), String>,
    is_block_device: bool,
    was_created: bool,
}

impl DeviceFile {
    /// Opens `path`, creating a file of `create_bytes` (rounded down to whole blocks) if it is absent or empty.
    pub(crate) fn open(path: &Path, create_bytes: Option<u64>) -> Result<Self, OpenDeviceError> {
        let name: Arc<str> = path.display().to_string().into();
        let found = look(path, &name)?;
        let is_block_device = found == Some(Kind::BlockDevice);
        // A file under /dev would lie in RAM and hide the missing disk.
        let may_create = create_bytes.is_some() && (!path.starts_with("/dev") || path.starts_with("/dev/shm"));
        if found.is_none() && !may_create {
            return Err(OpenDeviceError::NotFound { path: name.to_string() });
        }
        let lock_flags = match found {
            None => OFlags::CREATE,
            // Without O_CREAT, O_EXCL asks of a block device that nobody has it mounted or holds it the same way.
            Some(Kind::BlockDevice) => OFlags::EXCL,
            Some(Kind::File) => OFlags::empty(),
        };
        let lock = open_for_writing(path, &name, lock_flags)?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(OpenDeviceError::InUse { path: name.to_string() }),
            Err(error) => return Err(io_error(&name, "lock it", error)),
        }
        let length =
            |of: &OwnedFd| rustix::fs::seek(of, SeekFrom::End(0)).map_err(|error| io_error(&name, "measure it", error));
        let empty = !is_block_device && length(&lock)? == 0;
        let was_created = match create_bytes {
            Some(bytes) if empty => {
                let created = allocate(&lock, path, &name, bytes);
                if created.is_err() && found.is_none() {
                    // Best effort: an empty file left behind would be filled at the next start anyway.
                    let _ = fs::remove_file(path);
                }
                created.map(|()| true)?
            }
            _ => false,
        };
        let byte_len = length(&lock)? / BLOCK_BYTES as u64 * BLOCK_BYTES as u64;
        if byte_len == 0 {
            return Err(OpenDeviceError::TooSmall { path: name.to_string(), byte_len: length(&lock)? });
        }
        let (file, direct) = match open_direct(path, &name)? {
            Ok(file) => (file, Ok(())),
            Err(reason) => (open_for_writing(path, &name, OFlags::empty())?, Err(reason)),
        };
        Ok(DeviceFile { name, file, _lock: lock, byte_len, direct, is_block_device, was_created })
    }

    /// Path, for messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whole blocks.
    pub(crate) fn byte_len(&self) -> u64 {
        self.byte_len
    }

    /// Whether O_DIRECT is on; else why not.
    pub(crate) fn direct(&self) -> Result<(), &str> {
        self.direct.as_ref().copied().map_err(String::as_str)
    }

    pub(crate) fn is_block_device(&self) -> bool {
        self.is_block_device
    }

    /// Whether `open` made (or filled) the file.
    pub(crate) fn was_created(&self) -> bool {
        self.was_created
    }
}

impl AsFd for DeviceFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[derive(PartialEq, Eq)]
enum Kind {
    File,
    BlockDevice,
}

fn io_error(name: &str, action: &'static str, error: impl Into<io::Error>) -> OpenDeviceError {
    OpenDeviceError::Io { path: name.to_owned(), action, message: error.into().to_string() }
}

/// What lies at the path; `None`: nothing.
fn look(path: &Path, name: &str) -> Result<Option<Kind>, OpenDeviceError> {
    let kind = match fs::metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(name, "look at it", error)),
    };
    let what = match kind {
        kind if kind.is_file() => return Ok(Some(Kind::File)),
        kind if kind.is_block_device() => return Ok(Some(Kind::BlockDevice)),
        kind if kind.is_dir() => "a directory",
        kind if kind.is_char_device() => "a character device",
        kind if kind.is_fifo() => "a pipe",
        kind if kind.is_socket() => "a socket",
        _ => "something else",
    };
    Err(OpenDeviceError::WrongKind { path: name.to_owned(), what })
}

fn open_for_writing(path: &Path, name: &str, flags: OFlags) -> Result<OwnedFd, OpenDeviceError> {
    let opened = rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC | flags, Mode::RUSR | Mode::WUSR);
    opened.map_err(|error| match error {
        Errno::ROFS | Errno::ACCESS | Errno::PERM => {
            OpenDeviceError::ReadOnly { path: name.to_owned(), message: io::Error::from(error).to_string() }
        }
        Errno::BUSY => OpenDeviceError::InUse { path: name.to_owned() },
        Errno::NOSPC => {
            OpenDeviceError::NoSpace { path: name.to_owned(), needed_bytes: BLOCK_BYTES as u64, available_bytes: 0 }
        }
        error => io_error(name, "open it", error),
    })
}

/// With O_DIRECT, tried with a real read: some filesystems take the flag and refuse the I/O, some disks have blocks
/// longer than ours. The inner error says why not.
fn open_direct(path: &Path, name: &str) -> Result<Result<OwnedFd, String>, OpenDeviceError> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::DIRECT;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Err("the filesystem refuses O_DIRECT".to_owned())),
        Err(error) => return Err(io_error(name, "open it", error)),
    };
    let mut block = BufferPool::new(0).writer(BLOCK_BYTES);
    match rustix::io::pread(&file, block.spare(), 0) {
        Ok(_) => Ok(Ok(file)),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => {
            Ok(Err(format!("O_DIRECT reads of {BLOCK_BYTES} bytes are refused (longer disk blocks?)")))
        }
        Err(error) => Err(io_error(name, "read its first block", error)),
    }
}

/// Makes the empty file `byte_len` long, with its blocks reserved where the filesystem can, and durable under its name.
fn allocate(file: &OwnedFd, path: &Path, name: &str, byte_len: u64) -> Result<(), OpenDeviceError> {
    let byte_len = byte_len / BLOCK_BYTES as u64 * BLOCK_BYTES as u64;
    if byte_len == 0 {
        return Err(OpenDeviceError::TooSmall { path: name.to_owned(), byte_len });
    }
    let available_bytes = || rustix::fs::fstatvfs(file).map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize));
    let no_space = || OpenDeviceError::NoSpace {
        path: name.to_owned(),
        needed_bytes: byte_len,
        available_bytes: available_bytes(),
    };
    // The length is set last: a crash in between leaves an empty file, not a short one that looks complete.
    match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, 0, byte_len) {
        Ok(()) => {}
        Err(Errno::NOSPC | Errno::DQUOT) => return Err(no_space()),
        Err(Errno::FBIG) if available_bytes() < byte_len => return Err(no_space()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
            if available_bytes() < byte_len {
                return Err(no_space());
            }
            tracing::warn!(device = name, byte_len, "the filesystem can't reserve space: a write may find none left");
        }
        Err(error) => return Err(io_error(name, "reserve its space", error)),
    }
    rustix::fs::ftruncate(file, byte_len).map_err(|error| io_error(name, "set its length", error))?;
    rustix::fs::fsync(file).map_err(|error| io_error(name, "sync it", error))?;
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let parent = fs::File::open(parent).map_err(|error| io_error(name, "open its directory", error))?;
    parent.sync_all().map_err(|error| io_error(name, "sync its directory", error))
}
