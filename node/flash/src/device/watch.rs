//! A device whose writes and syncs are timed while they are under way, so that one that stands still can be told.
//!
//! A kernel may keep an operation for as long as it likes (a frozen file system, an array that fails over): nothing
//! fails then, and no counter moves. What tells is the age of the oldest operation without an answer. Reads aren't
//! timed: whoever gives one up at its deadline forgets it, and its end is never seen here.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::buffer::SegmentBuffer;
use crate::device::{Device, IoFuture};

/// Operations without an answer. As many as the log has under way: its flusher and its checkpoints bound them.
#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    /// In the order of their beginning.
    begun: VecDeque<(u64, Instant)>,
}

/// A device, and what it hasn't answered yet.
pub(crate) struct Watched {
    device: Arc<dyn Device>,
    waiting: Arc<Mutex<Waiting>>,
}

/// One operation under way; it ends with this.
struct Ticket {
    id: u64,
    waiting: Arc<Mutex<Waiting>>,
}

impl Watched {
    pub fn new(device: Arc<dyn Device>) -> Self {
        Watched { device, waiting: Arc::default() }
    }

    /// How long the oldest write or sync has had no answer; none if nothing is under way.
    pub fn oldest(&self) -> Option<Duration> {
        let began = self.waiting.lock().begun.front().map(|(_, began)| *began)?;
        Some(began.elapsed())
    }

    fn watch(&self, begin: impl FnOnce(&dyn Device) -> IoFuture<()>) -> IoFuture<()> {
        let ticket = {
            let mut waiting = self.waiting.lock();
            let id = waiting.next;
            waiting.next += 1;
            waiting.begun.push_back((id, Instant::now()));
            Ticket { id, waiting: self.waiting.clone() }
        };
        let operation = begin(&*self.device);
        Box::pin(async move {
            let _ticket = ticket;
            operation.await
        })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock();
        // They are few, and the one that ends is near the front.
        if let Some(place) = waiting.begun.iter().position(|(id, _)| *id == self.id) {
            waiting.begun.remove(place);
        }
    }
}

impl Device for Watched {
    fn name(&self) -> &str {
        self.device.name()
    }

    fn engine(&self) -> &'static str {
        self.device.engine()
    }

    fn byte_len(&self) -> u64 {
        self.device.byte_len()
    }

    fn read(&self, offset: u64, len: usize) -> IoFuture<Arc<SegmentBuffer>> {
        self.device.read(offset, len)
    }

    fn write(&self, offset: u64, buffer: Arc<SegmentBuffer>, start: usize, len: usize) -> IoFuture<()> {
        self.watch(|device| device.write(offset, buffer, start, len))
    }

    fn sync(&self) -> IoFuture<()> {
        self.watch(Device::sync)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;
    use tokio::time::advance;

    use super::*;
    use crate::buffer::BLOCK_BYTES;
    use crate::device::DeviceError;

    /// Answers a write or sync for each permit.
    struct Slow(Arc<Semaphore>);

    impl Slow {
        fn answer(&self) -> IoFuture<()> {
            let permits = self.0.clone();
            Box::pin(async move {
                permits.acquire().await.expect("never closed").forget();
                Ok(())
            })
        }
    }

    impl Device for Slow {
        fn name(&self) -> &str {
            "slow"
        }

        fn engine(&self) -> &'static str {
            "test"
        }

        fn byte_len(&self) -> u64 {
            1 << 20
        }

        fn read(&self, _: u64, _: usize) -> IoFuture<Arc<SegmentBuffer>> {
            let unavailable = DeviceError::Unavailable { device: "slow".to_owned(), message: "no reads".to_owned() };
            Box::pin(std::future::ready(Err(unavailable)))
        }

        fn write(&self, _: u64, _: Arc<SegmentBuffer>, _: usize, _: usize) -> IoFuture<()> {
            self.answer()
        }

        fn sync(&self) -> IoFuture<()> {
            self.answer()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_operation_without_an_answer_counts() {
        let permits = Arc::new(Semaphore::new(0));
        let watched = Watched::new(Arc::new(Slow(permits.clone())));
        let second = Duration::from_secs(1);
        assert_eq!(watched.oldest(), None, "nothing is under way");
        let buffer = SegmentBuffer::with_writer(BLOCK_BYTES).finish();
        let write = watched.write(0, buffer, 0, BLOCK_BYTES);
        advance(second).await;
        let sync = watched.sync();
        advance(second).await;
        assert_eq!(watched.oldest(), Some(2 * second), "the write began first");
        permits.add_permits(1);
        assert_eq!(write.await, Ok(()));
        assert_eq!(watched.oldest(), Some(second), "the sync is left");
        drop(sync);
        assert_eq!(watched.oldest(), None, "what nobody waits for doesn't count");
    }
}
