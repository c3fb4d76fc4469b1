//! The device of a namespace that lives in RAM only: it takes every write, keeps none, and can't be read.

use std::future::ready;
use std::sync::Arc;

use crate::buffer::SegmentBuffer;
use crate::device::{Device, DeviceError, IoFuture, check};

/// Writes and syncs succeed at once; reads fail and say why.
#[derive(Debug, Clone)]
pub struct VoidDevice {
    name: String,
    byte_len: u64,
}

impl VoidDevice {
    /// A device that says it has `byte_len` bytes.
    pub fn new(name: impl Into<String>, byte_len: u64) -> Self {
        VoidDevice { name: name.into(), byte_len }
    }
}

impl Device for VoidDevice {
    fn name(&self) -> &str {
        &self.name
    }

    fn engine(&self) -> &'static str {
        "void"
    }

    fn byte_len(&self) -> u64 {
        self.byte_len
    }

    fn read(&self, offset: u64, len: usize) -> IoFuture<Arc<SegmentBuffer>> {
        let refused = check::blocks(&self.name, offset, len).err().unwrap_or_else(|| DeviceError::Io {
            device: self.name.clone(),
            operation: "read",
            offset,
            len,
            message: "this namespace lives in RAM only, nothing lies on a device".to_owned(),
        });
        Box::pin(ready(Err(refused)))
    }

    fn write(&self, offset: u64, buffer: Arc<SegmentBuffer>, start: usize, len: usize) -> IoFuture<()> {
        Box::pin(ready(check::write(&self.name, self.byte_len, offset, &buffer, start, len)))
    }

    fn sync(&self) -> IoFuture<()> {
        Box::pin(ready(Ok(())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn takes_writes_and_refuses_reads_and_writes_past_the_end() {
        let device = VoidDevice::new("ram", 8_192);
        let mut writer = SegmentBuffer::with_writer(4_096);
        assert!(writer.append(&[&[1; 4_096]]));
        let buffer = writer.finish();
        assert_eq!(device.write(4_096, buffer.clone(), 0, 4_096).await, Ok(()));
        assert_eq!(device.sync().await, Ok(()));
        assert_eq!(device.write(8_192, buffer, 0, 4_096).await, Err(DeviceError::NoSpace { device: "ram".to_owned() }));
        let error = device.read(4_096, 4_096).await.expect_err("nothing to read");
        assert!(error.to_string().contains("RAM only"), "{error}");
    }
}
