//! W3C trace context as it travels in a frame: 16 bytes of trace, 8 of parent span, one of flags.

/// The caller's trace context; present in a frame only when the caller samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace's id, never all zero.
    pub trace_id: [u8; 16],
    /// The caller's span, never all zero.
    pub span_id: [u8; 8],
    /// W3C trace flags; bit 0: sampled.
    pub flags: u8,
}

impl TraceContext {
    /// Bytes on the wire.
    pub const BYTES: usize = 25;
}
