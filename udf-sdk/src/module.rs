//! What a module is made of: entries that the attributes write, and `module!`, which exports them.

use crate::error::Error;
use crate::guest::{RunningAggregate, RunningRows};
use crate::record::Record;

/// What begins an aggregate or a row query: archived arguments to one under way.
type Start<T> = fn(&[u8]) -> Result<Box<T>, Error>;

/// How a function is run. Made by the attributes.
#[derive(Clone, Copy)]
pub enum Run {
    /// A record function: the record and the archived arguments to the archived result.
    Record(fn(&mut Record, &[u8]) -> Result<Vec<u8>, Error>),
    /// An aggregate: archived arguments to one under way.
    Aggregate(Start<dyn RunningAggregate>),
    /// A row function, likewise.
    Rows(Start<dyn RunningRows>),
}

/// One function of a module. Made by the attributes.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// What it does; the first line is the summary.
    pub doc: &'static str,
    /// The shape of its arguments.
    pub arguments: fn() -> String,
    /// The shape of its result.
    pub returns: fn() -> String,
    /// Whether it never writes.
    pub read_only: bool,
    /// How it is run.
    pub run: Run,
}

/// Something that a module can list. Implemented by the attributes, for a type of the function's own name.
pub trait Function {
    /// Its entry.
    const ENTRY: Entry;
}

/// A module: what `module!` makes.
#[derive(Clone, Copy)]
pub struct Module {
    /// What it is for.
    pub doc: &'static str,
    /// Its functions; a function's place is its number.
    pub functions: &'static [Entry],
}

impl Module {
    /// Functions of one module, at most.
    pub const FUNCTIONS_MAX: usize = 256;

    /// A module; fails at compile time if there are too many functions, or two of one name.
    pub const fn new(doc: &'static str, functions: &'static [Entry]) -> Self {
        assert!(functions.len() <= Module::FUNCTIONS_MAX, "a module has at most 256 functions");
        let mut place = 0;
        while place < functions.len() {
            let mut earlier = 0;
            while earlier < place {
                let same = is_same(functions[earlier].name.as_bytes(), functions[place].name.as_bytes());
                assert!(!same, "two functions of the module have the same name");
                earlier += 1;
            }
            place += 1;
        }
        Module { doc, functions }
    }

    /// A function by its number.
    pub fn function(&self, number: u32) -> Result<&'static Entry, Error> {
        let missing = || Error::new("no-function", format!("the module has {} functions", self.functions.len()));
        self.functions.get(number as usize).ok_or_else(missing)
    }

    /// A function by its name.
    pub fn find(&self, name: &str) -> Option<&'static Entry> {
        self.functions.iter().find(|entry| entry.name == name)
    }
}

const fn is_same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut place = 0;
    while place < a.len() {
        if a[place] != b[place] {
            return false;
        }
        place += 1;
    }
    true
}

/// Makes a module of functions: once in a crate, in `lib.rs`.
///
/// ```
/// use outcrop_udf::prelude::*;
///
/// /// How often the record was written.
/// #[record_fn]
/// fn writes(record: &Record) -> i64 {
///     record.generation().into()
/// }
///
/// outcrop_udf::module! {
///     doc: "Small things.",
///     functions: [writes],
/// }
/// # fn main() {
/// assert_eq!(MODULE.functions[0].name, "writes");
/// assert!(MODULE.functions[0].read_only);
/// # }
/// ```
///
/// It gives the crate a constant `MODULE` of type [`Module`], and in a build for WebAssembly the exports that the node
/// calls.
#[macro_export]
macro_rules! module {
    (doc: $doc:expr, functions: [$($function:path),+ $(,)?] $(,)?) => {
        /// The functions that this crate gives to a node.
        pub const MODULE: $crate::Module =
            $crate::Module::new($doc, &[$(<$function as $crate::Function>::ENTRY),+]);

        $crate::__export_module!();
    };
}

/// The exports of a module. What they expand to is the generated code of `bindings`.
#[cfg(target_arch = "wasm32")]
#[macro_export]
#[doc(hidden)]
macro_rules! __export_module {
    () => {
        #[allow(unsafe_code)]
        const _: () = {
            struct Exports;
            impl $crate::guest::exports::Listed for Exports {
                const MODULE: $crate::Module = MODULE;
            }
            type Exported = $crate::guest::exports::Of<Exports>;
    $crate::bindings::export!(Exported with_types_in $crate::bindings);
        };
    };
}

/// Nothing is exported from a build that isn't for WebAssembly.
#[cfg(not(target_arch = "wasm32"))]
#[macro_export]
#[doc(hidden)]
macro_rules! __export_module {
    () => {};
}
