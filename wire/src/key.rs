//! Keys: namespace, set and user key; an integer key and the text of the same digits are different keys.

use std::fmt;

use thiserror::Error;

use crate::limits::{KEY_BYTES_MAX, NAMESPACE_NAME_BYTES_MAX, SET_NAME_BYTES_MAX};
use crate::reader::{ReadError, Reader};

/// Why a key can't be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    /// A text or bytes key of no bytes.
    #[error("a key has at least 1 byte")]
    Empty,
    /// A key over the limit.
    #[error("a key has at most {KEY_BYTES_MAX} bytes, this one has {0}")]
    TooLong(usize),
    /// A set name that is empty, too long or has a control character.
    #[error("a set name has 1 to {SET_NAME_BYTES_MAX} bytes and no control characters or slashes, not {0:?}")]
    Set(String),
    /// A namespace name that is empty, too long or has other characters than letters, digits, `-` and `_`.
    #[error("a namespace name has 1 to {NAMESPACE_NAME_BYTES_MAX} letters, digits, `-` or `_`, not {0:?}")]
    Namespace(String),
    /// The type byte of a key is none of the three.
    #[error("key type {0} is unknown (0 integer, 1 text, 2 bytes)")]
    Type(u8),
    /// The bytes of a key end too early.
    #[error("malformed key: {0}")]
    Malformed(#[from] ReadError),
}

/// The user's part of a key. Order and equality are by type first: `Int(42)` is not `Text("42")`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UserKey {
    /// A 64-bit signed integer.
    Int(i64),
    /// UTF-8 text of 1 to 1,024 bytes.
    Text(String),
    /// Any 1 to 1,024 bytes.
    Bytes(Vec<u8>),
}

/// A borrowed [`UserKey`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UserKeyRef<'a> {
    /// A 64-bit signed integer.
    Int(i64),
    /// UTF-8 text.
    Text(&'a str),
    /// Any bytes.
    Bytes(&'a [u8]),
}

impl UserKey {
    /// Borrows the key.
    pub fn borrow(&self) -> UserKeyRef<'_> {
        match self {
            UserKey::Int(number) => UserKeyRef::Int(*number),
            UserKey::Text(text) => UserKeyRef::Text(text),
            UserKey::Bytes(bytes) => UserKeyRef::Bytes(bytes),
        }
    }
}

impl UserKeyRef<'_> {
    /// An owned copy.
    pub fn to_owned(self) -> UserKey {
        match self {
            UserKeyRef::Int(number) => UserKey::Int(number),
            UserKeyRef::Text(text) => UserKey::Text(text.to_owned()),
            UserKeyRef::Bytes(bytes) => UserKey::Bytes(bytes.to_vec()),
        }
    }

    /// The type byte: 0 integer, 1 text, 2 bytes.
    pub fn type_byte(self) -> u8 {
        match self {
            UserKeyRef::Int(_) => 0,
            UserKeyRef::Text(_) => 1,
            UserKeyRef::Bytes(_) => 2,
        }
    }

    /// Bytes of the key on the wire and on flash.
    pub fn byte_len(self) -> usize {
        match self {
            UserKeyRef::Int(_) => 8,
            UserKeyRef::Text(text) => text.len(),
            UserKeyRef::Bytes(bytes) => bytes.len(),
        }
    }

    /// Checks the limits.
    pub fn check(self) -> Result<(), KeyError> {
        match self.byte_len() {
            0 => Err(KeyError::Empty),
            len if len > KEY_BYTES_MAX => Err(KeyError::TooLong(len)),
            _ => Ok(()),
        }
    }

    /// Calls `with` with the key's bytes (an integer as eight little-endian bytes).
    pub fn with_bytes<T>(self, with: impl FnOnce(&[u8]) -> T) -> T {
        match self {
            UserKeyRef::Int(number) => with(&number.to_le_bytes()),
            UserKeyRef::Text(text) => with(text.as_bytes()),
            UserKeyRef::Bytes(bytes) => with(bytes),
        }
    }
}

impl fmt::Display for UserKeyRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UserKeyRef::Int(number) => write!(f, "{number}"),
            UserKeyRef::Text(text) => write!(f, "{text:?}"),
            UserKeyRef::Bytes(bytes) => {
                f.write_str("0x")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

impl fmt::Display for UserKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.borrow().fmt(f)
    }
}

impl From<UserKeyRef<'_>> for crate::Value {
    fn from(key: UserKeyRef<'_>) -> Self {
        match key {
            UserKeyRef::Int(number) => number.into(),
            UserKeyRef::Text(text) => text.into(),
            UserKeyRef::Bytes(bytes) => bytes.into(),
        }
    }
}

impl From<i64> for UserKey {
    fn from(number: i64) -> Self {
        UserKey::Int(number)
    }
}

impl From<&str> for UserKey {
    fn from(text: &str) -> Self {
        UserKey::Text(text.to_owned())
    }
}

impl From<String> for UserKey {
    fn from(text: String) -> Self {
        UserKey::Text(text)
    }
}

impl From<Vec<u8>> for UserKey {
    fn from(bytes: Vec<u8>) -> Self {
        UserKey::Bytes(bytes)
    }
}

impl From<&[u8]> for UserKey {
    fn from(bytes: &[u8]) -> Self {
        UserKey::Bytes(bytes.to_vec())
    }
}

/// A record's full name.
///
/// ```
/// use outcrop_wire::Key;
/// let key = Key::new("shop", "products", 42);
/// assert_ne!(key.digest(), Key::new("shop", "products", "42").digest());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The namespace: a policy.
    pub namespace: String,
    /// The set: a named collection.
    pub set: String,
    /// The user's part.
    pub user_key: UserKey,
}

impl Key {
    /// Puts a key together; [`Key::check`] tells whether it is within the limits (every use checks it).
    pub fn new(namespace: impl Into<String>, set: impl Into<String>, user_key: impl Into<UserKey>) -> Self {
        Key { namespace: namespace.into(), set: set.into(), user_key: user_key.into() }
    }

    /// Checks names and lengths.
    pub fn check(&self) -> Result<(), KeyError> {
        check_namespace_name(&self.namespace)?;
        check_set_name(&self.set)?;
        self.user_key.borrow().check()
    }

    /// The set and user key, borrowed.
    pub fn borrow(&self) -> KeyRef<'_> {
        KeyRef { set: &self.set, user_key: self.user_key.borrow() }
    }

    /// The digest of set and user key.
    pub fn digest(&self) -> crate::Digest {
        self.borrow().digest()
    }
}

/// Set and user key of a record, borrowed from a frame or a stored record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyRef<'a> {
    /// The set's name.
    pub set: &'a str,
    /// The user's part.
    pub user_key: UserKeyRef<'a>,
}

impl<'a> KeyRef<'a> {
    /// Checks set name and key length.
    pub fn check(self) -> Result<(), KeyError> {
        check_set_name(self.set)?;
        self.user_key.check()
    }

    /// The digest of set and user key.
    pub fn digest(self) -> crate::Digest {
        crate::Digest::of(self)
    }

    /// Appends type, lengths, set and key: `u8 type, u8 set_len, u16 key_len, set, key`.
    pub fn encode(self, out: &mut Vec<u8>) {
        out.push(self.user_key.type_byte());
        out.push(self.set.len() as u8);
        out.extend_from_slice(&(self.user_key.byte_len() as u16).to_le_bytes());
        out.extend_from_slice(self.set.as_bytes());
        self.user_key.with_bytes(|bytes| out.extend_from_slice(bytes));
    }

    /// Reads what [`KeyRef::encode`] wrote and checks it.
    pub fn decode(reader: &mut Reader<'a>) -> Result<Self, KeyError> {
        let type_byte = reader.u8("key type")?;
        let set_len = reader.u8("set length")?;
        let key_len = reader.u16("key length")?;
        if usize::from(key_len) > KEY_BYTES_MAX {
            return Err(KeyError::TooLong(key_len.into()));
        }
        let set = reader.text(set_len.into(), "set")?;
        let user_key = decode_user_key(type_byte, key_len.into(), reader)?;
        let key = KeyRef { set, user_key };
        key.check()?;
        Ok(key)
    }
}

/// Reads a user key of a known type and length.
pub(crate) fn decode_user_key<'a>(
    type_byte: u8,
    key_len: usize,
    reader: &mut Reader<'a>,
) -> Result<UserKeyRef<'a>, KeyError> {
    match type_byte {
        0 if key_len == 8 => Ok(UserKeyRef::Int(i64::from_le_bytes(reader.array("integer key")?))),
        0 => Err(ReadError::Truncated { field: "integer key", needed: 8, left: key_len }.into()),
        1 => Ok(UserKeyRef::Text(reader.text(key_len, "text key")?)),
        2 => Ok(UserKeyRef::Bytes(reader.bytes(key_len, "bytes key")?)),
        other => Err(KeyError::Type(other)),
    }
}

/// Checks a set's name: 1 to 63 bytes, no control characters, no slash (it separates the parts of a key as text).
pub fn check_set_name(name: &str) -> Result<(), KeyError> {
    let fits = !name.is_empty() && name.len() <= SET_NAME_BYTES_MAX;
    if fits && !name.chars().any(|c| c.is_control() || c == '/') {
        Ok(())
    } else {
        Err(KeyError::Set(name.chars().take(80).collect()))
    }
}

/// Checks a namespace's name: 1 to 31 letters, digits, `-` or `_`.
pub fn check_namespace_name(name: &str) -> Result<(), KeyError> {
    let fits = !name.is_empty() && name.len() <= NAMESPACE_NAME_BYTES_MAX;
    if fits && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
        Ok(())
    } else {
        Err(KeyError::Namespace(name.chars().take(80).collect()))
    }
}
