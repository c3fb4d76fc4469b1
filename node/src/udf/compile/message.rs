//! What node and compiler process say to each other through the child's standard input and output.
//!
//! ```text
//! to the child    magic "OCCOMP02", twelve u64 (bounds, stack, priority, length), then the component
//! from the child  u8 0, u64 length, artifact   or   u8 1, u16 code, message to the end
//! ```

use std::time::Duration;

use outcrop_wire::Code;

use crate::udf::options::CompileOptions;
use crate::udf::outcome::Refusal;

const MAGIC: u64 = u64::from_le_bytes(*b"OCCOMP02");
const FIELDS: usize = 13;

/// Bytes in front of the component.
pub const HEADER_BYTES: usize = FIELDS * 8;
/// Bytes of a refusal's message.
const MESSAGE_BYTES_MAX: usize = 8 << 10;

/// What a child is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Bounds.
    pub options: CompileOptions,
    /// Stack of a guest.
    pub stack_bytes: u32,
    /// Whether it works only while nobody else wants the processor.
    pub in_background: bool,
    /// Bytes of the component that follows.
    pub component_bytes: u64,
}

impl Order {
    /// As bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let o = &self.options;
        let fields: [u64; FIELDS] = [
            MAGIC,
            o.module_bytes_max,
            o.functions_max.into(),
            o.function_body_bytes_max.into(),
            o.data_bytes_max,
            o.core_modules_max.into(),
            o.memory_bytes_max,
            o.cpu.as_secs(),
            o.wall.as_secs(),
            o.queue_max as u64,
            self.stack_bytes.into(),
            self.in_background.into(),
            self.component_bytes,
        ];
        let mut bytes = [0; HEADER_BYTES];
        for (place, field) in bytes.chunks_exact_mut(8).zip(fields) {
            place.copy_from_slice(&field.to_le_bytes());
        }
        bytes
    }

    /// From bytes; `None` if they are no order.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Option<Order> {
        let mut fields = bytes.as_chunks::<8>().0.iter().map(|field| u64::from_le_bytes(*field));
        let mut next = || fields.next();
        if next()? != MAGIC {
            return None;
        }
        let options = CompileOptions {
            module_bytes_max: next()?,
            functions_max: next()?.try_into().ok()?,
            function_body_bytes_max: next()?.try_into().ok()?,
            data_bytes_max: next()?,
            core_modules_max: next()?.try_into().ok()?,
            memory_bytes_max: next()?,
            cpu: Duration::from_secs(next()?),
            wall: Duration::from_secs(next()?),
            queue_max: next()?.try_into().ok()?,
        };
        let (stack_bytes, in_background) = (next()?.try_into().ok()?, next()? != 0);
        Some(Order { options, stack_bytes, in_background, component_bytes: next()? })
    }
}

/// What a child answers.
pub fn encode_answer(answer: &Result<Vec<u8>, Refusal>) -> Vec<u8> {
    let mut bytes = Vec::new();
    match answer {
        Ok(artifact) => {
            bytes.reserve(9 + artifact.len());
            bytes.push(0);
            bytes.extend_from_slice(&(artifact.len() as u64).to_le_bytes());
            bytes.extend_from_slice(artifact);
        }
        Err(refusal) => {
            bytes.push(1);
            bytes.extend_from_slice(&(refusal.code as u16).to_le_bytes());
            let end = refusal.message.floor_char_boundary(MESSAGE_BYTES_MAX);
            bytes.extend_from_slice(&refusal.message.as_bytes()[..end]);
        }
    }
    bytes
}

/// A child's answer; `None` if it is cut short or none at all.
pub fn decode_answer(bytes: Vec<u8>) -> Option<Result<Vec<u8>, Refusal>> {
    match bytes.split_first()? {
        (0, rest) => {
            let (length, artifact) = rest.split_first_chunk::<8>()?;
            if u64::from_le_bytes(*length) != artifact.len() as u64 {
                return None;
            }
            let mut bytes = bytes;
            bytes.drain(..9);
            Some(Ok(bytes))
        }
        (1, rest) => {
            let (code, message) = rest.split_first_chunk::<2>()?;
            let code = Code::from_number(u16::from_le_bytes(*code))?;
            Some(Err(Refusal::new(code, String::from_utf8_lossy(message))))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_and_answers_come_back_as_they_were() {
        let options = CompileOptions { queue_max: 3, functions_max: 7, ..CompileOptions::default() };
        let order = Order { options, stack_bytes: 5, in_background: true, component_bytes: 9 };
        assert_eq!(Order::decode(&order.encode()), Some(order.clone()));
        let mut wrong = order.encode();
        wrong[0] ^= 1;
        assert_eq!(Order::decode(&wrong), None);
        for answer in [Ok(vec![1, 2, 3]), Ok(Vec::new()), Err(Refusal::new(Code::ModuleInvalid, "why"))] {
            let bytes = encode_answer(&answer);
            assert_eq!(decode_answer(bytes.clone()), Some(answer.clone()));
            if answer.is_ok() {
                assert_eq!(decode_answer(bytes[..bytes.len() - 1].to_vec()), None, "cut short");
            }
        }
        assert_eq!(decode_answer(Vec::new()), None);
    }
}
