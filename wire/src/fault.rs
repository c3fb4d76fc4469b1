//! What rkyv says of an archive that it can't read: the same in every build (rancor's own error says nothing in release).

use std::fmt::{self, Debug, Display};

use rkyv::rancor::{Source, Trace};

/// Characters of a message that are kept: hostile bytes don't decide how much is logged.
const MESSAGE_CHARS_MAX: usize = 200;

/// Why an archive is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The innermost reason.
    pub(crate) message: String,
    /// The reason is the bound of nesting.
    pub(crate) too_deep: bool,
}

impl Fault {
    fn look(mut self, text: &str) -> Self {
        // rkyv's type for this is private, its text isn't; a test nests too deep and would notice another text.
        self.too_deep |= text.contains("maximum subtree depth");
        self
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl Source for Fault {
    fn new<T: std::error::Error + Send + Sync + 'static>(source: T) -> Self {
        let text = source.to_string();
        let message = text.lines().next().unwrap_or("unreadable").chars().take(MESSAGE_CHARS_MAX).collect();
        Fault { message, too_deep: false }.look(&text)
    }
}

impl Trace for Fault {
    fn trace<R: Debug + Display + Send + Sync + 'static>(self, trace: R) -> Self {
        // Past the first, a trace only says on which way the fault was found.
        if self.too_deep { self } else { self.look(&trace.to_string()) }
    }
}
