//! The `scan` module: a small query language over the records of a set or namespace, worked out beside them.
//!
//! `select` filters and projects, `top` orders, `aggregate` groups. Expressions are parsed once a query and worked out
//! on each record in place; docs/functions.md has the language.

mod accumulate;
mod columns;
mod distinct;
mod evaluate;
mod expression;
mod fault;
mod functions;
mod grammar;
mod groups;
mod literal;
mod node;
mod operand;
mod spread;
mod top;

pub use groups::{AggregateArgs, Groups, Table};
pub use top::{Select, SelectArgs, Top, TopArgs, TopRows};

outcrop_udf::module! {
    doc: "Queries: where, project, order and limit, groups with count, sum, min, max, avg, distinct, percentile, top.",
    functions: [Select, Top, Groups],
}

#[cfg(test)]
mod tests;
