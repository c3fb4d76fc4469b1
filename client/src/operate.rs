//! What `operate` gives back.

use outcrop_wire::{ReplyHeader, Value, archive};

use crate::error::ClientError;

/// The results of a list of operations on one record.
///
/// ```no_run
/// use outcrop_client::{OperateOptions, Operation, Value};
/// # async fn example(client: outcrop_client::Client, key: outcrop_client::Key) -> Result<(), outcrop_client::ClientError> {
/// let add = Operation::Add { bin: "visits".into(), amount: Value::Int(1) };
/// let result = client.operate(&key, vec![add], OperateOptions::default()).await?;
/// assert_eq!(result.values.len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperateResult {
    /// One value for each operation, in their order.
    pub values: Vec<Value>,
    /// The record's generation afterwards; 0 if there is no record.
    pub generation: u32,
    /// Whether there is a record afterwards.
    pub exists: bool,
    /// The epoch of its partition.
    pub epoch: u64,
    /// Its place among its partition's writes.
    pub sequence: u64,
}

impl OperateResult {
    pub(crate) fn parse(header: &ReplyHeader, body: &[u8]) -> Result<Self, ClientError> {
        let ReplyHeader { generation, epoch, sequence, .. } = *header;
        Ok(OperateResult { values: archive::decode_values(body)?, generation, exists: generation > 0, epoch, sequence })
    }
}
