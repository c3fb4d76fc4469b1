//! Protobuf by hand, as far as OTLP needs it: spans are written straight from the numbers that a request left behind.
//!
//! Generated types would want a string of its own for every key of every attribute. What is written here is canonical:
//! tests read it back with OpenTelemetry's generated types.

use bytes::{BufMut, BytesMut};

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const LENGTH: u32 = 2;
const FIXED32: u32 = 5;

/// Appends fields to a message.
#[derive(Debug)]
pub(in crate::telemetry) struct Writer {
    out: BytesMut,
}

impl Writer {
    /// A message whose bytes begin behind `headroom` zeros.
    pub fn new(headroom: usize, capacity: usize) -> Self {
        let mut out = BytesMut::with_capacity(headroom + capacity);
        out.resize(headroom, 0);
        Writer { out }
    }

    /// Bytes so far, the headroom among them.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// The bytes.
    pub fn into_bytes(self) -> BytesMut {
        self.out
    }

    fn raw_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.out.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.put_u8(value as u8);
    }

    fn tag(&mut self, field: u32, wire: u32) {
        self.raw_varint(u64::from(field << 3 | wire));
    }

    /// An unsigned number or an enum.
    pub fn varint(&mut self, field: u32, value: u64) {
        self.tag(field, VARINT);
        self.raw_varint(value);
    }

    /// An `int64`: negative numbers take ten bytes.
    pub fn int(&mut self, field: u32, value: i64) {
        self.varint(field, value as u64);
    }

    /// A `double`.
    pub fn double(&mut self, field: u32, value: f64) {
        self.fixed64(field, value.to_bits());
    }

    /// A `fixed64`.
    pub fn fixed64(&mut self, field: u32, value: u64) {
        self.tag(field, FIXED64);
        self.out.put_u64_le(value);
    }

    /// A `fixed32`.
    pub fn fixed32(&mut self, field: u32, value: u32) {
        self.tag(field, FIXED32);
        self.out.put_u32_le(value);
    }

    /// Bytes or a string.
    pub fn bytes(&mut self, field: u32, value: &[u8]) {
        self.prefix(field, value.len());
        self.out.put_slice(value);
    }

    /// The beginning of a field whose `length` bytes follow from elsewhere.
    pub fn prefix(&mut self, field: u32, length: usize) {
        self.tag(field, LENGTH);
        self.raw_varint(length as u64);
    }

    /// A message inside of this one. Its length stands before it in as few bytes as possible, so a message of 128 bytes
    /// or more is moved a little once it is written.
    pub fn message(&mut self, field: u32, write: impl FnOnce(&mut Writer)) {
        self.tag(field, LENGTH);
        let place = self.out.len();
        self.out.put_u8(0);
        write(self);
        let start = place + 1;
        let mut length = self.out.len() - start;
        let more = varint_len(length as u64) - 1;
        if more > 0 {
            let end = self.out.len();
            self.out.put_bytes(0, more);
            self.out.copy_within(start..end, start + more);
        }
        for byte in &mut self.out[place..place + more] {
            *byte = length as u8 | 0x80;
            length >>= 7;
        }
        self.out[place + more] = length as u8;
    }
}

fn varint_len(value: u64) -> usize {
    (70 - (value | 1).leading_zeros() as usize) / 7
}

/// One field of a message that was received.
#[derive(Debug, PartialEq, Eq)]
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(bytes: &mut &'a [u8], length: u64) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some(taken)
}

fn read_field<'a>(bytes: &mut &'a [u8]) -> Option<(u64, Field<'a>)> {
    let tag = read_varint(bytes)?;
    let field = match tag as u32 & 7 {
        VARINT => Field::Number(read_varint(bytes)?),
        FIXED64 => Field::Number(u64::from_le_bytes(take(bytes, 8)?.try_into().ok()?)),
        FIXED32 => Field::Number(u32::from_le_bytes(take(bytes, 4)?.try_into().ok()?).into()),
        LENGTH => {
            let length = read_varint(bytes)?;
            Field::Bytes(take(bytes, length)?)
        }
        _ => return None,
    };
    Some((tag >> 3, field))
}

/// Spans that the receiver says it refused, in its `ExportTraceServiceResponse`; 0 if it says nothing that can be read.
pub(super) fn rejected_spans(mut response: &[u8]) -> u64 {
    let mut rejected = 0;
    while let Some((number, field)) = read_field(&mut response) {
        let (1, Field::Bytes(mut partial)) = (number, field) else { continue };
        while let Some((number, field)) = read_field(&mut partial) {
            if let (1, Field::Number(count)) = (number, field) {
                rejected = count;
            }
        }
    }
    rejected
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nested(length: usize) -> Vec<u8> {
        let mut writer = Writer::new(0, 0);
        writer.message(3, |inner| inner.bytes(1, &vec![7; length]));
        writer.into_bytes().to_vec()
    }

    #[test]
    fn lengths_around_their_borders_are_canonical() {
        for length in [0, 1, 124, 125, 126, 127, 128, 16_379, 16_380, 16_381, 16_384, 2_097_150, 2_097_160] {
            let bytes = nested(length);
            let mut rest = bytes.as_slice();
            let Some((3, Field::Bytes(mut inner))) = read_field(&mut rest) else { panic!("{length}") };
            let told = inner.len();
            assert!(rest.is_empty(), "{length}");
            assert_eq!(read_field(&mut inner), Some((1, Field::Bytes(vec![7; length].as_slice()))));
            assert_eq!(bytes.len(), 1 + varint_len(told as u64) + told, "{length}");
        }
    }

    #[test]
    fn what_a_receiver_rejected_is_read() {
        let mut writer = Writer::new(0, 0);
        writer.message(1, |partial| {
            partial.varint(1, 300);
            partial.bytes(2, b"too old");
        });
        let response = writer.into_bytes();
        assert_eq!(rejected_spans(&response), 300);
        assert_eq!(rejected_spans(&[]), 0);
        assert_eq!(rejected_spans(&response[..response.len() - 3]), 0, "a response that was cut off");
    }

    proptest! {
        #[test]
        fn numbers_come_back(value: u64, field in 1_u32..2_000) {
            let mut writer = Writer::new(0, 0);
            writer.varint(field, value);
            writer.fixed64(field, value);
            let bytes = writer.into_bytes();
            let mut rest = bytes.as_ref();
            prop_assert_eq!(read_field(&mut rest), Some((field.into(), Field::Number(value))));
            prop_assert_eq!(read_field(&mut rest), Some((field.into(), Field::Number(value))));
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn nothing_that_a_receiver_says_hurts(bytes: Vec<u8>) {
            rejected_spans(&bytes);
        }
    }
}
