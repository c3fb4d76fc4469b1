//! Frames: a length (u32, little-endian, not counting itself) and that many bytes; taken out of a stream's chunks.
//!
//! A stream gives chunks that end anywhere. Most frames lie whole in one chunk and are handed out without a copy; one
//! that straddles chunks is gathered, never beyond its stated length, which is checked against the stream's limit first.

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

/// Bytes of the length in front of a frame.
pub const LENGTH_BYTES: usize = 4;

/// A frame that can't be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameError {
    /// It says that it is longer than its stream allows.
    #[error("a frame of {len} bytes is over this stream's limit of {limit}")]
    TooLarge {
        /// What it says.
        len: usize,
        /// The limit.
        limit: usize,
    },
    /// The stream ended inside a frame.
    #[error("the stream ended {missing} bytes before the end of a frame")]
    Truncated {
        /// How much is missing.
        missing: usize,
    },
}

/// Takes frames out of chunks, one stream each.
#[derive(Debug)]
pub struct FrameSplitter {
    limit: usize,
    chunk: Bytes,
    /// A frame (or its length) that began in an earlier chunk.
    gathered: BytesMut,
}

impl FrameSplitter {
    /// For a stream whose frames have at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        FrameSplitter { limit, chunk: Bytes::new(), gathered: BytesMut::new() }
    }

    /// Gives the stream's next chunk; every frame of the one before must have been taken.
    pub fn feed(&mut self, chunk: Bytes) {
        if self.chunk.is_empty() {
            self.chunk = chunk;
        } else {
            // Only if the caller fed twice without taking: keep the order rather than lose bytes.
            let mut joined = BytesMut::with_capacity(self.chunk.len() + chunk.len());
            joined.extend_from_slice(&self.chunk);
            joined.extend_from_slice(&chunk);
            self.chunk = joined.freeze();
        }
    }

    /// The next whole frame without its length; `None`: feed more.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        if self.gathered.is_empty() {
            let Some(len) = self.stated_len(&self.chunk)? else {
                self.stash_chunk();
                return Ok(None);
            };
            if self.chunk.len() >= LENGTH_BYTES + len {
                self.chunk.advance(LENGTH_BYTES);
                return Ok(Some(self.chunk.split_to(len)));
            }
            self.gathered.reserve(LENGTH_BYTES + len);
            self.stash_chunk();
            return Ok(None);
        }
        self.gather_to(LENGTH_BYTES);
        let Some(len) = self.stated_len(&self.gathered)? else { return Ok(None) };
        self.gather_to(LENGTH_BYTES + len);
        if self.gathered.len() < LENGTH_BYTES + len {
            return Ok(None);
        }
        let mut frame = std::mem::take(&mut self.gathered).freeze();
        frame.advance(LENGTH_BYTES);
        Ok(Some(frame))
    }

    /// Tells a clean end of the stream from one inside a frame.
    pub fn finish(&self) -> Result<(), FrameError> {
        let have = self.gathered.len() + self.chunk.len();
        if have == 0 {
            return Ok(());
        }
        let len = self.stated_len(&self.gathered).ok().flatten().unwrap_or(0);
        Err(FrameError::Truncated { missing: (LENGTH_BYTES + len).saturating_sub(have).max(1) })
    }

    fn stated_len(&self, bytes: &[u8]) -> Result<Option<usize>, FrameError> {
        let Some(prefix) = bytes.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let len = u32::from_le_bytes(*prefix) as usize;
        if len > self.limit { Err(FrameError::TooLarge { len, limit: self.limit }) } else { Ok(Some(len)) }
    }

    fn stash_chunk(&mut self) {
        self.gathered.extend_from_slice(&self.chunk);
        self.chunk.clear();
    }

    fn gather_to(&mut self, total: usize) {
        let take = total.saturating_sub(self.gathered.len()).min(self.chunk.len());
        self.gathered.extend_from_slice(&self.chunk[..take]);
        self.chunk.advance(take);
    }
}

/// Starts a frame at the end of `out`; [`end_frame`] fills its length in.
pub fn begin_frame(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    start
}

/// Fills in the length of the frame that began at `start`.
pub fn end_frame(out: &mut [u8], start: usize) {
    let len = (out.len() - start - LENGTH_BYTES) as u32;
    out[start..start + LENGTH_BYTES].copy_from_slice(&len.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn frames_come_out_whole_wherever_chunks_end(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20),
            cuts in prop::collection::vec(1_usize..50, 1..100),
        ) {
            let mut stream = Vec::new();
            for frame in &frames {
                let start = begin_frame(&mut stream);
                stream.extend_from_slice(frame);
                end_frame(&mut stream, start);
            }
            let mut splitter = FrameSplitter::new(200);
            let (mut got, mut rest, mut cuts) = (Vec::new(), &stream[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (chunk, tail) = rest.split_at((*cuts.next().expect("cycle")).min(rest.len()));
                splitter.feed(Bytes::copy_from_slice(chunk));
                rest = tail;
                while let Some(frame) = splitter.next_frame().expect("within the limit") {
                    got.push(frame.to_vec());
                }
            }
            prop_assert_eq!(splitter.finish(), Ok(()));
            prop_assert_eq!(got, frames);
        }
    }

    #[test]
    fn a_frame_that_lies_about_its_length_is_refused_before_memory_is_taken() {
        let mut splitter = FrameSplitter::new(1_000);
        splitter.feed(Bytes::from_static(&[255, 255, 255, 255, 1]));
        assert_eq!(splitter.next_frame(), Err(FrameError::TooLarge { len: u32::MAX as usize, limit: 1_000 }));
    }

    #[test]
    fn an_end_inside_a_frame_is_told_from_a_clean_one() {
        let mut splitter = FrameSplitter::new(1_000);
        splitter.feed(Bytes::from_static(&[4, 0, 0, 0, 1]));
        assert_eq!(splitter.next_frame(), Ok(None));
        assert_eq!(splitter.finish(), Err(FrameError::Truncated { missing: 3 }));
    }
}
