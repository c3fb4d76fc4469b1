//! Routing: whose request is it? One node owns every partition; with a cluster, this is where "not mine" is said.

use std::sync::Arc;

use outcrop_wire::{Code, NamespaceId};

use super::context::Context;
use super::error::CommandError;
use crate::store::Namespace;

/// The namespace of a number, if this node has it.
pub fn namespace(context: &Context, id: NamespaceId) -> Result<&Arc<Namespace>, CommandError> {
    context.namespaces.get(usize::from(id.0)).ok_or_else(|| {
        let message = format!("this node has {} namespaces, none of number {}", context.namespaces.len(), id.0);
        CommandError::new(Code::NamespaceUnknown, message)
    })
}
