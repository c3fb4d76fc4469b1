//! Modules: upload, activate, roll back, look at.

use std::time::Duration;

use outcrop_wire::archive::{archive_value, decode_value};
use outcrop_wire::function::check_module_name;
use outcrop_wire::limits::MODULE_PART_BYTES_MAX;
use outcrop_wire::request::{ModuleOperation, ModuleRequest, RequestError};
use outcrop_wire::{MapKey, RequestBody, Value, Verb, typed};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::reports::{LogEntry, ModuleDescription, ModuleLimits, ModuleStats, ModuleSummary};
use crate::answer::Outgoing;
use crate::client::Client;
use crate::error::ClientError;

/// How long a change or a look may take unless the client's own deadline is longer.
const ADMIN_DEADLINE: Duration = Duration::from_secs(30);
/// How long one part of an upload may take: the last one's reply comes once the node has compiled the component.
const UPLOAD_DEADLINE: Duration = Duration::from_secs(600);

/// A detached ed25519 signature over the BLAKE3 hash of a component.
///
/// ```
/// use outcrop_client::Signature;
/// let signature = Signature { signature: [0; 64], public_key: [0; 32] };
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    /// The signature.
    pub signature: [u8; 64],
    /// Whose it is.
    pub public_key: [u8; 32],
}

/// What became of an upload.
///
/// ```no_run
/// # async fn example(client: outcrop_client::Client, component: Vec<u8>) -> Result<(), outcrop_client::ClientError> {
/// let uploaded = client.modules().upload("shop", "1.2.0", &component, None).await?;
/// println!("{} bytes", uploaded.bytes);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Uploaded {
    /// BLAKE3 of the component.
    pub hash: [u8; 32],
    /// Its bytes.
    pub bytes: u64,
}

/// The node's modules.
///
/// ```no_run
/// # async fn example(client: outcrop_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let modules = client.modules();
/// modules.upload("shop", "1.2.0", &std::fs::read("shop.wasm")?, None).await?;
/// modules.activate("shop", "1.2.0").await?;
/// // It was a mistake:
/// println!("back at {}", modules.rollback("shop").await?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Modules {
    client: Client,
}

impl Client {
    /// The node's modules: what functions come in.
    ///
    /// ```no_run
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// println!("{} modules", client.modules().list().await?.len());
    /// # Ok(())
    /// # }
    /// ```
    pub fn modules(&self) -> Modules {
        Modules { client: self.clone() }
    }
}

/// What the node says to a part.
#[derive(Deserialize)]
struct Received {
    done: bool,
}

impl Modules {
    /// Uploads a component as a version of a module, in parts; returns once the node has compiled it, looked at what it
    /// offers, and keeps it. It isn't active yet. Uploading the same content again changes nothing; other content for a
    /// version that is there is refused.
    ///
    /// ```no_run
    /// # async fn example(client: outcrop_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let component = std::fs::read("target/shop.component.wasm")?;
    /// client.modules().upload("shop", "1.2.0", &component, None).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn upload(
        &self,
        name: &str,
        version: &str,
        component: &[u8],
        signature: Option<&Signature>,
    ) -> Result<Uploaded, ClientError> {
        let hash = *blake3::hash(component).as_bytes();
        let total_bytes = component.len() as u64;
        let (mut offset, mut signed) = (0, false);
        for part in parts(component, signature.is_some()) {
            // A signature belongs to an upload under way, and is looked at when its last part is there.
            if let Some(signature) = signature.filter(|_| offset > 0 && !signed) {
                self.sign(name, version, signature).await?;
                signed = true;
            }
            let operation = ModuleOperation::UploadPart { total_bytes, offset: offset as u64, hash, bytes: part };
            let received: Received = self.typed(name, version, operation).await?;
            offset += part.len();
            if received.done {
                break;
            }
        }
        if let Some(signature) = signature.filter(|_| !signed) {
            self.sign(name, version, signature).await?;
        }
        Ok(Uploaded { hash, bytes: total_bytes })
    }

    /// Adds a signature to a version that is there, or whose upload is under way.
    ///
    /// ```no_run
    /// use outcrop_client::Signature;
    /// # async fn example(client: outcrop_client::Client, signature: Signature) -> Result<(), outcrop_client::ClientError> {
    /// client.modules().sign("shop", "1.2.0", &signature).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn sign(&self, name: &str, version: &str, signature: &Signature) -> Result<(), ClientError> {
        let Signature { signature, public_key } = *signature;
        self.ask(name, version, ModuleOperation::Sign { signature, public_key }).await.map(drop)
    }

    /// Makes a version the one that calls without a version get. Calls under way finish on theirs.
    ///
    /// ```no_run
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// client.modules().activate("shop", "1.2.0").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn activate(&self, name: &str, version: &str) -> Result<(), ClientError> {
        self.ask(name, version, ModuleOperation::Activate).await.map(drop)
    }

    /// Activates the version that was active before; which one that is.
    ///
    /// ```no_run
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// println!("back at {}", client.modules().rollback("shop").await?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn rollback(&self, name: &str) -> Result<String, ClientError> {
        #[derive(Deserialize)]
        struct RolledBack {
            active: String,
        }
        Ok(self.typed::<RolledBack>(name, "", ModuleOperation::Rollback).await?.active)
    }

    /// Leaves a module without an active version: calls that don't name one are refused.
    ///
    /// ```no_run
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// client.modules().deactivate("shop").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn deactivate(&self, name: &str) -> Result<(), ClientError> {
        self.ask(name, "", ModuleOperation::Deactivate).await.map(drop)
    }

    /// Removes a version that isn't active.
    ///
    /// ```no_run
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// client.modules().remove("shop", "1.1.0").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn remove(&self, name: &str, version: &str) -> Result<(), ClientError> {
        self.ask(name, version, ModuleOperation::Remove).await.map(drop)
    }

    /// All modules.
    ///
    /// ```no_run
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// for module in client.modules().list().await? {
    ///     println!("{}: {} versions", module.name, module.versions.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list(&self) -> Result<Vec<ModuleSummary>, ClientError> {
        self.typed("", "", ModuleOperation::List).await
    }

    /// What a version says of itself; the active one unless one is named.
    ///
    /// ```no_run
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// println!("{}", client.modules().describe("shop", None).await?.doc);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn describe(&self, name: &str, version: Option<&str>) -> Result<ModuleDescription, ClientError> {
        self.typed(name, version.unwrap_or(""), ModuleOperation::Describe).await
    }

    /// Numbers of a module since the node's start.
    ///
    /// ```no_run
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// let calls: u64 = client.modules().stats("shop").await?.functions.iter().map(|function| function.calls).sum();
    /// # Ok(())
    /// # }
    /// ```
    pub async fn stats(&self, name: &str) -> Result<ModuleStats, ClientError> {
        // An empty name would be answered with a list.
        check_module_name(name).map_err(RequestError::from)?;
        self.typed(name, "", ModuleOperation::Stats).await
    }

    /// Numbers of every module since the node's start.
    ///
    /// ```no_run
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// for module in client.modules().stats_of_all().await? {
    ///     println!("{}: {} functions were called", module.name, module.functions.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn stats_of_all(&self) -> Result<Vec<ModuleStats>, ClientError> {
        self.typed("", "", ModuleOperation::Stats).await
    }

    /// Up to `limit` lines that a module's functions logged: those behind the line of number `after`, or the latest.
    ///
    /// ```no_run
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// for line in client.modules().logs("shop", None, 20).await? {
    ///     println!("{} {}: {}", line.level, line.function, line.message);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn logs(&self, name: &str, after: Option<u64>, limit: u32) -> Result<Vec<LogEntry>, ClientError> {
        let mut options = vec![(MapKey::from("limit"), Value::Int(limit.into()))];
        let number = |number: u64| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
        options.extend(after.map(|after| (MapKey::from("after"), number(after))));
        let options = archive_value(&Value::Map(options))?;
        self.typed(name, "", ModuleOperation::Logs { options: &options }).await
    }

    /// Refuses a module's calls until [`Modules::resume`].
    ///
    /// ```no_run
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// client.modules().pause("shop").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn pause(&self, name: &str) -> Result<(), ClientError> {
        self.ask(name, "", ModuleOperation::Pause).await.map(drop)
    }

    /// Takes a module's calls again.
    ///
    /// ```no_run
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// client.modules().resume("shop").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn resume(&self, name: &str) -> Result<(), ClientError> {
        self.ask(name, "", ModuleOperation::Resume).await.map(drop)
    }

    /// Sets the limits of a module's calls, in place of those set before.
    ///
    /// ```no_run
    /// use outcrop_client::ModuleLimits;
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// client.modules().set_limits("shop", &ModuleLimits { wall_ms: Some(50), ..ModuleLimits::default() }).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn set_limits(&self, name: &str, limits: &ModuleLimits) -> Result<(), ClientError> {
        let mut limits = typed::to_value(limits)?;
        if let Value::Map(entries) = &mut limits {
            entries.retain(|(_, value)| *value != Value::Null);
        }
        let limits = archive_value(&limits)?;
        self.ask(name, "", ModuleOperation::SetLimits { limits: &limits }).await.map(drop)
    }

    /// Any operation on a module, with the node's answer as it is: what the other methods are made of.
    ///
    /// ```no_run
    /// use outcrop_wire::request::ModuleOperation;
    /// # async fn example(client: outcrop_client::Client) -> Result<(), outcrop_client::ClientError> {
    /// println!("{:?}", client.modules().ask("shop", "", ModuleOperation::Describe).await?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn ask(&self, name: &str, version: &str, operation: ModuleOperation<'_>) -> Result<Value, ClientError> {
        let request = ModuleRequest { name, version, operation };
        request.check().map_err(RequestError::from)?;
        let deadline = match operation {
            ModuleOperation::UploadPart { .. } => UPLOAD_DEADLINE,
            _ => ADMIN_DEADLINE.max(self.client.shared.deadline),
        };
        let bytes = if let ModuleOperation::UploadPart { bytes, .. } = operation { bytes.len() } else { 0 };
        let outgoing = Outgoing {
            writes: operation.writes(),
            // Two roll backs go back twice; everything else ends where one would.
            idempotent: !matches!(operation, ModuleOperation::Rollback),
            conditional: matches!(operation, ModuleOperation::Remove),
            deadline: Some(deadline),
            bytes,
            ..Outgoing::write(Verb::Module, "", "")
        };
        let body = RequestBody::Module(request);
        let answer = self.client.execute(&outgoing, |_| Ok(body.clone())).await?.ok()?;
        Ok(decode_value(answer.body_ref())?)
    }

    async fn typed<T: DeserializeOwned>(
        &self,
        name: &str,
        version: &str,
        operation: ModuleOperation<'_>,
    ) -> Result<T, ClientError> {
        Ok(typed::from_value(&self.ask(name, version, operation).await?)?)
    }
}

/// The parts of a component. Where a signature has to come between there are two at least.
fn parts(component: &[u8], signed: bool) -> impl Iterator<Item = &[u8]> {
    let half = component.len().div_ceil(2).max(1);
    let bytes = if signed { half.min(MODULE_PART_BYTES_MAX) } else { MODULE_PART_BYTES_MAX };
    component.chunks(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_the_whole_and_two_where_a_signature_comes_between() {
        for len in [1, 2, 3, MODULE_PART_BYTES_MAX, MODULE_PART_BYTES_MAX + 1, 3 * MODULE_PART_BYTES_MAX] {
            let component: Vec<u8> = (0..len).map(|place| place as u8).collect();
            for signed in [false, true] {
                let parts: Vec<&[u8]> = parts(&component, signed).collect();
                assert_eq!(parts.concat(), component);
                assert!(parts.iter().all(|part| part.len() <= MODULE_PART_BYTES_MAX));
                assert!(!signed || parts.len() > 1 || len == 1);
            }
        }
    }
}
