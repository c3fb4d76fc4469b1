//! Opens a device and picks the engine that works: io_uring with O_DIRECT, else pread with O_DIRECT, else pread through
//! the page cache. Each choice is logged with its reason.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use crate::device::Device;
use crate::device::file::DeviceFile;
use crate::device::pread::{self, PreadDevice};
use crate::device::uring::{self, UringDevice};

pub use crate::device::file::OpenDeviceError;

/// Which engine to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EngineChoice {
    /// The best one that works.
    #[default]
    Auto,
    /// io_uring or an error.
    IoUring,
    /// pread and pwrite.
    Pread,
}

impl fmt::Display for EngineChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EngineChoice::Auto => "auto",
            EngineChoice::IoUring => "io_uring",
            EngineChoice::Pread => "pread",
        })
    }
}

impl FromStr for EngineChoice {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "auto" => Ok(EngineChoice::Auto),
            "io_uring" => Ok(EngineChoice::IoUring),
            "pread" => Ok(EngineChoice::Pread),
            _ => Err(format!("no engine is called {name:?}: auto, io_uring or pread")),
        }
    }
}

/// How to open a device.
#[derive(Debug, Clone)]
pub struct DeviceOptions {
    /// Length of the file to be made if `path` is absent or empty (rounded down to whole blocks); `None`: don't make one.
    pub create_bytes: Option<u64>,
    /// Which engine.
    pub engine: EngineChoice,
    /// io_uring: operations at once in the device's own ring, for threads that have none.
    pub queue_depth: u32,
    /// pread: blocking threads at once.
    pub pread_concurrency: usize,
}

impl Default for DeviceOptions {
    fn default() -> Self {
        DeviceOptions {
            create_bytes: None,
            engine: EngineChoice::Auto,
            queue_depth: uring::QUEUE_DEPTH_DEFAULT,
            pread_concurrency: pread::CONCURRENCY_DEFAULT,
        }
    }
}

/// What was found and chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeReport {
    /// `io_uring` or `pread`.
    pub engine: &'static str,
    /// Whether O_DIRECT is on; without it the page cache stands between node and device.
    pub direct: bool,
    /// Why this engine and not a faster one; the set-up of the ring, for io_uring.
    pub reason: String,
    /// A block device, not a file.
    pub is_block_device: bool,
    /// The file was made just now.
    pub was_created: bool,
    /// Length of the device, whole blocks.
    pub byte_len: u64,
}

/// Opens `path` (see the module's page), takes its lock, and says what was chosen.
pub fn open_device(
    path: impl AsRef<Path>,
    options: &DeviceOptions,
) -> Result<(Arc<dyn Device>, ProbeReport), OpenDeviceError> {
    let file = DeviceFile::open(path.as_ref(), options.create_bytes)?;
    let direct = file.direct().map_err(str::to_owned);
    let io_uring = match options.engine {
        EngineChoice::Pread => Err("the configuration says so".to_owned()),
        EngineChoice::Auto | EngineChoice::IoUring => UringDevice::works_on(&file),
    };
    let (engine, mut reason) = match (io_uring, options.engine) {
        (Ok(mode), _) => ("io_uring", mode.to_owned()),
        (Err(reason), EngineChoice::IoUring) => {
            let path = file.name().to_owned();
            return Err(OpenDeviceError::EngineRefused { path, engine: "io_uring", reason });
        }
        (Err(reason), _) => ("pread", reason),
    };
    if let Err(refused) = &direct
        && !reason.contains(refused)
    {
        reason = format!("{reason}; {refused}");
    }
    let report = ProbeReport {
        engine,
        direct: direct.is_ok(),
        reason,
        is_block_device: file.is_block_device(),
        was_created: file.was_created(),
        byte_len: file.byte_len(),
    };
    log_choice(file.name(), options, &report);
    let device: Arc<dyn Device> = match engine {
        "io_uring" => UringDevice::new(file, options.queue_depth),
        _ => PreadDevice::new(file, options.pread_concurrency),
    };
    Ok((device, report))
}

fn log_choice(path: &str, options: &DeviceOptions, report: &ProbeReport) {
    let ProbeReport { engine, direct, reason, is_block_device, was_created, byte_len } = report;
    if *engine == "io_uring" || options.engine == EngineChoice::Pread {
        tracing::info!(path, engine, direct, reason, is_block_device, was_created, byte_len, "device opened");
    } else {
        tracing::warn!(
            path,
            engine,
            direct,
            reason,
            is_block_device,
            was_created,
            byte_len,
            "device opened, slower than it could be"
        );
    }
    if let Some(wanted) = options
        .create_bytes
        .filter(|wanted| !was_created && wanted.abs_diff(*byte_len) >= crate::buffer::BLOCK_BYTES as u64)
    {
        tracing::warn!(
            path,
            byte_len,
            wanted,
            "the device has another length than the configuration says; its own is used"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::BLOCK_BYTES;

    fn options(create_bytes: u64) -> DeviceOptions {
        DeviceOptions { create_bytes: Some(create_bytes), ..DeviceOptions::default() }
    }

    fn refused(path: impl AsRef<Path>, options: &DeviceOptions) -> OpenDeviceError {
        open_device(path, options).map(|(_, report)| report).expect_err("it must not open")
    }

    #[tokio::test]
    async fn makes_the_file_once_and_keeps_its_length() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("device");
        let (device, report) = open_device(&path, &options(1_000_000)).expect("opened");
        assert!(report.was_created && !report.is_block_device);
        assert_eq!((device.byte_len(), report.byte_len), (999_424, 999_424), "whole blocks");
        assert_eq!(std::fs::metadata(&path).expect("there").len(), 999_424);
        let zeros = device.read(0, BLOCK_BYTES).await.expect("read");
        assert!(zeros.get(0..BLOCK_BYTES).expect("whole").iter().all(|byte| *byte == 0));
        drop(device);
        let (device, report) = open_device(&path, &options(2_000_000)).expect("opened");
        assert!(!report.was_created);
        assert_eq!(device.byte_len(), 999_424, "its own length counts");
    }

    #[tokio::test]
    async fn a_second_opener_is_kept_out_until_the_first_lets_go() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("device");
        for engine in [EngineChoice::Auto, EngineChoice::Pread] {
            let options = DeviceOptions { engine, ..options(1 << 20) };
            let (device, _) = open_device(&path, &options).expect("opened");
            assert_eq!(refused(&path, &options), OpenDeviceError::InUse { path: path.display().to_string() });
            device.read(0, BLOCK_BYTES).await.expect("read");
            drop(device);
            open_device(&path, &options).expect("free again, whatever the I/O thread still holds");
        }
    }

    #[test]
    fn what_is_no_device_is_refused_by_name() {
        let directory = tempfile::tempdir().expect("a directory");
        let inside = |name: &str| directory.path().join(name);
        let absent = refused(inside("absent"), &DeviceOptions::default());
        assert!(matches!(absent, OpenDeviceError::NotFound { .. }), "{absent}");
        assert!(!inside("absent").exists());
        let kinds = [refused(directory.path(), &options(1 << 20)), refused("/dev/null", &options(1 << 20))];
        let whats = kinds.map(|error| match error {
            OpenDeviceError::WrongKind { what, .. } => what,
            other => panic!("{other}"),
        });
        assert_eq!(whats, ["a directory", "a character device"]);
        std::fs::write(inside("short"), [1; 100]).expect("written");
        let short = refused(inside("short"), &options(1 << 20));
        assert!(matches!(short, OpenDeviceError::TooSmall { byte_len: 100, .. }), "{short}");
        let nothing = refused(inside("nothing"), &options(100));
        assert!(matches!(nothing, OpenDeviceError::TooSmall { .. }), "{nothing}");
        assert!(!inside("nothing").exists());
        let no_parent = refused(inside("no/parent"), &options(1 << 20));
        assert!(matches!(no_parent, OpenDeviceError::Io { .. }), "{no_parent}");
        let missing_disk = refused("/dev/outcrop-no-such-disk", &options(1 << 20));
        assert!(
            matches!(missing_disk, OpenDeviceError::NotFound { .. }),
            "a file there would lie in RAM: {missing_disk}"
        );
    }

    #[test]
    fn a_file_that_may_not_be_written_says_so() {
        // This one refuses even root.
        let error = refused("/proc/sys/kernel/ostype", &DeviceOptions::default());
        assert!(matches!(error, OpenDeviceError::ReadOnly { .. }), "{error}");
    }

    #[test]
    fn more_than_the_filesystem_holds_is_refused_and_leaves_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("device");
        let error = refused(&path, &options(1 << 60));
        assert!(matches!(error, OpenDeviceError::NoSpace { needed_bytes, .. } if needed_bytes == 1 << 60), "{error}");
        assert!(!path.exists());
    }

    #[test]
    fn engines_have_names() {
        for choice in [EngineChoice::Auto, EngineChoice::IoUring, EngineChoice::Pread] {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        assert!("spdk".parse::<EngineChoice>().is_err());
    }
}
