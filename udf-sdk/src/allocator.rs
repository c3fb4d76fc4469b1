//! The module's heap: dlmalloc, which begins with the memory that the instance was made with.
//!
//! The standard library's own copy asks for more memory at its first allocation, whatever is there already. Each call has
//! a fresh instance, so each would make the node map memory and unmap it again: a fifth of a small call's time. The
//! builder links a first heap into each module (`outcrop udf build`); this allocator uses it up before it asks.

use dlmalloc::GlobalDlmalloc;

#[global_allocator]
static HEAP: GlobalDlmalloc = GlobalDlmalloc;
