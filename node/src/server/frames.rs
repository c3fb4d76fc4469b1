//! Frames of one stream, taken out of its chunks in the order in which they came.

use std::collections::VecDeque;

use bytes::Bytes;
use outcrop_wire::frame::{FrameError, FrameSplitter};

use super::io::{CHUNKS_MAX, Receive, StreamClosed};

/// A stream's frames.
pub struct Frames<R> {
    receive: R,
    splitter: FrameSplitter,
    /// Chunks that came and haven't been split yet; at most [`CHUNKS_MAX`].
    chunks: VecDeque<Bytes>,
    ended: bool,
}

impl<R: Receive> Frames<R> {
    /// Frames of at most `frame_bytes_max` bytes.
    pub fn new(receive: R, frame_bytes_max: usize) -> Self {
        let splitter = FrameSplitter::new(frame_bytes_max);
        Frames { receive, splitter, chunks: VecDeque::with_capacity(CHUNKS_MAX), ended: false }
    }

    /// The next frame that is here whole, without waiting.
    pub fn next_here(&mut self) -> Result<Option<Bytes>, FrameError> {
        loop {
            if let Some(frame) = self.splitter.next_frame()? {
                return Ok(Some(frame));
            }
            match self.chunks.pop_front() {
                Some(chunk) => self.splitter.feed(chunk),
                None => return Ok(None),
            }
        }
    }

    /// Waits for more of the stream; false: it is over. Dropping the future loses nothing.
    pub async fn more(&mut self) -> Result<bool, StreamClosed> {
        if self.ended {
            return Ok(false);
        }
        let mut chunks: [Bytes; CHUNKS_MAX] = std::array::from_fn(|_| Bytes::new());
        match self.receive.receive(&mut chunks).await? {
            Some(count) => {
                self.chunks.extend(chunks.into_iter().take(count));
                Ok(true)
            }
            None => {
                self.ended = true;
                Ok(false)
            }
        }
    }

    /// Tells a clean end from one inside a frame.
    pub fn finish(&self) -> Result<(), FrameError> {
        self.splitter.finish()
    }

    /// Tells the peer to stop sending.
    pub fn stop(&mut self) {
        self.receive.stop();
    }
}
