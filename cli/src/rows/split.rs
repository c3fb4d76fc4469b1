//! Where one JSON value ends and the next begins, without reading the file whole and without trusting what is inside.
//!
//! A value's extent is known from its brackets and quotes alone; what is wrong inside it is found by whoever parses it,
//! and the next value still begins where it begins. Of values one after another a broken one must not swallow the rest of
//! the file: a line that begins with `{` begins a value, whatever was left open before it.

use std::io::{BufReader, Read};

use super::{ROW_BYTES_MAX, RowsError};

/// Bytes read at a time.
const BUFFER_BYTES: usize = 64 << 10;

/// The values of an array, or of a file that has one after another.
pub(super) struct Values<R: Read> {
    bytes: std::iter::Peekable<std::io::Bytes<BufReader<R>>>,
    line: u64,
    row: u64,
    array: bool,
}

/// What the splitter found.
pub(super) struct Piece {
    /// Its number, from 1.
    pub(super) row: u64,
    /// The line where it begins.
    pub(super) line: u64,
    /// Whether it was longer than a row may be, so that only its beginning is there.
    pub(super) cut: bool,
}

impl<R: Read> Values<R> {
    /// Begins to read; `array`: the file is one array.
    pub(super) fn new(input: R, array: bool) -> Result<Self, RowsError> {
        let bytes = BufReader::with_capacity(BUFFER_BYTES, input).bytes().peekable();
        let mut values = Values { bytes, line: 1, row: 1, array };
        values.skip_byte_order_mark()?;
        if array && values.next_solid()? != Some(b'[') {
            return Err(
                values.form("a JSON file is one array, `[…]`; for documents one after another say --format ndjson")
            );
        }
        Ok(values)
    }

    /// Puts the next value's bytes into `out` (emptied first); `None` at the end.
    pub(super) fn next_into(&mut self, out: &mut Vec<u8>) -> Result<Option<Piece>, RowsError> {
        out.clear();
        let Some(first) = self.next_solid()? else {
            return if self.array { Err(self.form("the file ends before the array does")) } else { Ok(None) };
        };
        let first = match (self.array, first, self.row) {
            (true, b']', 1) => return self.finish(),
            (false, _, _) | (true, _, 1) => first,
            (true, b']', _) => return self.finish(),
            (true, b',', _) => match self.next_solid()? {
                Some(b']') => return Err(self.form("a comma before the array's end")),
                Some(first) => first,
                None => return Err(self.form("the file ends before the array does")),
            },
            _ => return Err(self.form("expected a comma or the array's end")),
        };
        let mut piece = Piece { row: self.row, line: self.line, cut: false };
        piece.cut = self.value(first, out)?;
        self.row += 1;
        Ok(Some(piece))
    }

    /// Whether nothing follows the array.
    fn finish(&mut self) -> Result<Option<Piece>, RowsError> {
        match self.next_solid()? {
            None => Ok(None),
            Some(_) => Err(self.form("something follows the array's end")),
        }
    }

    /// Reads a value to its end; whether it was too long to be kept.
    fn value(&mut self, first: u8, out: &mut Vec<u8>) -> Result<bool, RowsError> {
        let (mut depth, mut quoted, mut escaped) = (0_u64, false, false);
        let mut byte = first;
        let mut cut = false;
        loop {
            if out.len() < ROW_BYTES_MAX {
                out.push(byte);
            } else {
                cut = true;
            }
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b'[' | b'{' if !quoted => depth += 1,
                b']' | b'}' if !quoted => depth = depth.saturating_sub(1),
                _ => {}
            }
            let closed = depth == 0 && !quoted;
            if closed && matches!(byte, b']' | b'}' | b'"') {
                return Ok(cut);
            }
            // A scalar ends before what separates it from the next value.
            match self.peek()? {
                // What is left open is found by whoever parses it.
                None if closed || !self.array => return Ok(cut),
                None => return Err(self.form("the file ends inside a value")),
                Some(b'{') if !self.array && byte == b'\n' => return Ok(cut),
                Some(b' ' | b'\t' | b'\n' | b'\r' | b',' | b']' | b'}' | b'[' | b'{' | b'"') if closed => {
                    if !self.array && !is_scalar(out) {
                        self.rest_of_line(out)?;
                    }
                    return Ok(cut);
                }
                Some(next) => byte = next,
            }
            self.advance()?;
        }
    }

    /// Reads up to the line's end: a line that begins with what is no value is one bad row, not as many as it has words.
    fn rest_of_line(&mut self, out: &mut Vec<u8>) -> Result<(), RowsError> {
        while let Some(byte) = self.peek()?.filter(|byte| *byte != b'\n') {
            if out.len() < ROW_BYTES_MAX {
                out.push(byte);
            }
            self.advance()?;
        }
        Ok(())
    }

    /// The next byte that isn't white space.
    fn next_solid(&mut self) -> Result<Option<u8>, RowsError> {
        loop {
            match self.advance()? {
                Some(b' ' | b'\t' | b'\n' | b'\r') => {}
                other => return Ok(other),
            }
        }
    }

    fn peek(&mut self) -> Result<Option<u8>, RowsError> {
        match self.bytes.peek() {
            Some(Ok(byte)) => Ok(Some(*byte)),
            Some(Err(_)) | None => self.advance(),
        }
    }

    fn advance(&mut self) -> Result<Option<u8>, RowsError> {
        match self.bytes.next().transpose() {
            Ok(byte) => {
                self.line += u64::from(byte == Some(b'\n'));
                Ok(byte)
            }
            Err(source) => Err(RowsError::Read { row: self.row, source }),
        }
    }

    fn skip_byte_order_mark(&mut self) -> Result<(), RowsError> {
        if self.peek()? == Some(0xEF) {
            self.advance()?;
            if self.advance()? != Some(0xBB) || self.advance()? != Some(0xBF) {
                return Err(self.form("the file isn't UTF-8 text"));
            }
        }
        Ok(())
    }

    fn form(&self, message: &str) -> RowsError {
        RowsError::Form { line: self.line, row: self.row, message: message.to_owned() }
    }
}

/// Whether these bytes are a number, a boolean or null.
fn is_scalar(bytes: &[u8]) -> bool {
    matches!(bytes, b"true" | b"false" | b"null") || matches!(bytes.first(), Some(b'-' | b'0'..=b'9'))
}
