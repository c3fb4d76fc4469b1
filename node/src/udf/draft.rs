//! What a guest wants of the record at hand: a few changes over what is stored, put together once at the end.
//!
//! The stored bins are neither decoded nor copied until then: most functions look at some bins and set one or two.

use outcrop_wire::archive::{ArchiveError, archive_bins, decode_bins};
use outcrop_wire::peek::{BinsWriter, PeekBins, patched};
use outcrop_wire::{Bins, Value};

use super::view::{BinView, ViewError};

/// Changes that are looked through one by one; with more of them the record is decoded.
const CHANGES_MAX: usize = 16;

/// What the guest wants. Each method takes the archive of the bins as stored, if the record exists.
#[derive(Debug, Default)]
pub(super) enum Draft {
    /// Nothing.
    #[default]
    Untouched,
    /// Changes over what is stored.
    Changes(Changes),
    /// These bins.
    Bins(Bins),
    /// No record.
    Deleted,
}

/// Bins set and removed. What is set lies where it lay before, or behind all others in the order of setting.
#[derive(Debug, Default)]
pub(super) struct Changes {
    set: Vec<(String, Value)>,
    /// Stored bins that don't lie where they lay any more; one that was set again lies at the end.
    removed: Vec<String>,
}

impl Changes {
    fn get(&self, name: &str) -> Option<&Value> {
        self.set.iter().find(|(set, _)| set == name).map(|(_, value)| value)
    }

    fn is_removed(&self, name: &str) -> bool {
        self.removed.iter().any(|removed| removed == name)
    }

    /// Whether a bin lies where it is stored.
    fn in_place(&self, stored: &PeekBins<'_>, name: &str) -> Result<bool, ViewError> {
        Ok(!self.is_removed(name) && stored.get(name)?.is_some())
    }

    fn len(&self, stored: &PeekBins<'_>) -> Result<usize, ViewError> {
        let mut len = stored.len().saturating_sub(self.removed.len());
        for (name, _) in &self.set {
            len += usize::from(!self.in_place(stored, name)?);
        }
        Ok(len)
    }

    /// Hands all bins over in their order.
    fn each<'a, E: From<ViewError>>(
        &'a self,
        stored: &PeekBins<'a>,
        mut to: impl FnMut(&'a str, BinView<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        for bin in stored.iter() {
            let (name, value) = bin?;
            if self.is_removed(name) {
                continue;
            }
            match self.get(name) {
                Some(value) => to(name, BinView::Staged(value))?,
                None => to(name, BinView::Stored(value))?,
            }
        }
        for (name, value) in &self.set {
            if !self.in_place(stored, name)? {
                to(name, BinView::Staged(value))?;
            }
        }
        Ok(())
    }

    fn archive(&self, stored: &[u8]) -> Result<Vec<u8>, ArchiveError> {
        // A counter that counts, the commonest change of all.
        if self.removed.is_empty()
            && let Some(archive) = patched(stored, self.set.iter().map(|(name, value)| (name.as_str(), value)))?
        {
            return Ok(archive);
        }
        // Room for a few scalars and short texts besides; more makes it grow.
        let mut writer = BinsWriter::with_capacity(stored.len() + 256);
        self.each(&PeekBins::new(stored)?, |name, value| match value {
            BinView::Stored(value) => writer.push_peeked(name, value),
            BinView::Staged(value) => writer.push(name, value),
        })?;
        writer.finish()
    }
}

impl Draft {
    /// A bin as the guest sees it.
    pub fn bin<'a>(&'a self, stored: Option<&'a [u8]>, name: &str) -> Result<Option<BinView<'a>>, ViewError> {
        let changes = match (self, stored) {
            (Draft::Bins(bins), _) => return Ok(bins.get(name).map(BinView::Staged)),
            (Draft::Deleted, _) | (_, None) => return Ok(None),
            (Draft::Untouched, Some(_)) => None,
            (Draft::Changes(changes), Some(_)) => Some(changes),
        };
        if let Some(value) = changes.and_then(|changes| changes.get(name)) {
            return Ok(Some(BinView::Staged(value)));
        }
        if changes.is_some_and(|changes| changes.is_removed(name)) {
            return Ok(None);
        }
        stored.map_or(Ok(None), |stored| PeekBins::new(stored)?.get(name)).map(|bin| bin.map(BinView::Stored))
    }

    /// Names of all bins.
    pub fn names(&self, stored: Option<&[u8]>) -> Result<Vec<String>, ViewError> {
        let mut names = Vec::new();
        match (self, stored) {
            (Draft::Bins(bins), _) => names.extend(bins.bins.iter().map(|bin| bin.name.clone())),
            (Draft::Deleted, _) | (_, None) => {}
            (Draft::Untouched, Some(stored)) => {
                for bin in PeekBins::new(stored)?.iter() {
                    names.push(bin?.0.to_owned());
                }
            }
            (Draft::Changes(changes), Some(stored)) => {
                changes.each(&PeekBins::new(stored)?, |name, _| {
                    names.push(name.to_owned());
                    Ok::<(), ViewError>(())
                })?;
            }
        }
        Ok(names)
    }

    /// Sets a bin of an open draft, if the record has room for one more; false: it has not.
    pub fn set(
        &mut self,
        stored: Option<&[u8]>,
        name: String,
        value: Value,
        bins_max: usize,
    ) -> Result<bool, ArchiveError> {
        match (self, stored) {
            (Draft::Changes(changes), Some(stored)) => {
                if let Some((_, old)) = changes.set.iter_mut().find(|(set, _)| *set == name) {
                    *old = value;
                    return Ok(true);
                }
                let stored = PeekBins::new(stored)?;
                if !changes.in_place(&stored, &name)? && changes.len(&stored)? >= bins_max {
                    return Ok(false);
                }
                changes.set.push((name, value));
            }
            (Draft::Bins(bins), _) => {
                if bins.bins.len() >= bins_max && bins.get(&name).is_none() {
                    return Ok(false);
                }
                bins.set(name, value);
            }
            _ => unreachable!("the draft was opened first"),
        }
        Ok(true)
    }

    /// Removes a bin of an open draft.
    pub fn remove(&mut self, stored: Option<&[u8]>, name: &str) -> Result<(), ArchiveError> {
        match (self, stored) {
            (Draft::Changes(changes), Some(stored)) => {
                let in_place = changes.in_place(&PeekBins::new(stored)?, name)?;
                changes.set.retain(|(set, _)| set != name);
                if in_place {
                    changes.removed.push(name.to_owned());
                }
            }
            (Draft::Bins(bins), _) => drop(bins.remove(name)),
            _ => unreachable!("the draft was opened first"),
        }
        Ok(())
    }

    /// Bytes of what was set to a bin, name included, nearly: never more than they have in an archive.
    pub fn bytes_of(&self, name: &str) -> usize {
        let set = match self {
            Draft::Changes(changes) => changes.get(name),
            Draft::Bins(bins) => bins.get(name),
            Draft::Untouched | Draft::Deleted => None,
        };
        set.map_or(0, |value| bytes_of(name, value))
    }

    /// The same of all of them.
    pub fn bytes(&self) -> usize {
        match self {
            Draft::Changes(changes) => changes.set.iter().map(|(name, value)| bytes_of(name, value)).sum(),
            Draft::Bins(bins) => bins.bins.iter().map(|bin| bytes_of(&bin.name, &bin.value)).sum(),
            Draft::Untouched | Draft::Deleted => 0,
        }
    }

    /// All bins as they are to be stored; `None`: as they are.
    pub fn archive(&self, stored: Option<&[u8]>) -> Result<Option<Vec<u8>>, ArchiveError> {
        match self {
            Draft::Untouched | Draft::Deleted => Ok(None),
            Draft::Bins(bins) => archive_bins(bins).map(Some),
            Draft::Changes(changes) => stored.map(|stored| changes.archive(stored)).transpose(),
        }
    }

    /// Makes it one that can be written to; whether it holds other bytes than before.
    pub fn open(&mut self, stored: Option<&[u8]>) -> Result<bool, ArchiveError> {
        *self = match (&*self, stored) {
            (Draft::Untouched, Some(_)) => Draft::Changes(Changes::default()),
            (Draft::Untouched | Draft::Deleted, _) => Draft::Bins(Bins::new()),
            (Draft::Changes(changes), Some(stored)) if changes.set.len() + changes.removed.len() >= CHANGES_MAX => {
                Draft::Bins(decode_bins(&changes.archive(stored)?)?)
            }
            (Draft::Changes(_) | Draft::Bins(_), _) => return Ok(false),
        };
        Ok(true)
    }
}

/// Bytes of what a guest set, name included, as [`Draft::bytes`] counts them.
pub(super) fn bytes_of(name: &str, value: &Value) -> usize {
    name.len() + held_bytes(value)
}

/// Bytes of a value, never more than those of its archive.
fn held_bytes(value: &Value) -> usize {
    /// Of an item in a list or map, besides what it points at.
    const ITEM_BYTES: usize = 16;
    match value {
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => 0,
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::List(items) => items.iter().map(|item| ITEM_BYTES + held_bytes(item)).sum(),
        Value::Map(entries) => entries.iter().map(|(_, item)| ITEM_BYTES + held_bytes(item)).sum(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bins() -> impl Strategy<Value = Bins> {
        proptest::collection::vec((name(), any::<i64>()), 0..12)
            .prop_map(|bins| bins.into_iter().fold(Bins::new(), |bins, (name, value)| bins.with(name, value)))
    }

    /// Few enough names that bins meet, long ones among them, and enough for a record to be decoded.
    fn name() -> impl Strategy<Value = String> {
        (0..30_u8).prop_map(|n| if n % 3 == 0 { format!("a longer name {n}") } else { format!("b{n}") })
    }

    /// Texts, and numbers, which may be patched into what is stored.
    fn value() -> impl Strategy<Value = Value> {
        prop_oneof!["[a-z]{0,12}".prop_map(Value::from), any::<i64>().prop_map(Value::Int)]
    }

    proptest! {
        #[test]
        fn changes_come_to_what_they_make_of_decoded_bins(
            stored in proptest::option::of(bins()),
            steps in proptest::collection::vec((name(), proptest::option::weighted(0.7, value())), 1..60),
        ) {
            let archive = stored.as_ref().map(|bins| archive_bins(bins).expect("what is stored is valid"));
            let archive = archive.as_deref();
            let (mut model, mut draft) = (stored.clone().unwrap_or_default(), Draft::default());
            for (name, value) in steps {
                draft.open(archive).expect("what is stored is valid");
                match value {
                    Some(value) => {
                        let room = model.get(&name).is_some() || model.bins.len() < 20;
                        prop_assert_eq!(draft.set(archive, name.clone(), value.clone(), 20), Ok(room));
                        if room {
                            model.set(name.clone(), value);
                        }
                    }
                    None => {
                        draft.remove(archive, &name).expect("what is stored is valid");
                        model.remove(&name);
                    }
                }
                let bin = draft.bin(archive, &name).expect("what is stored is valid").map(|bin| bin.to_value().expect("what is stored is valid").into_owned());
                prop_assert_eq!(bin.as_ref(), model.get(&name));
                let names: Vec<&str> = model.bins.iter().map(|bin| bin.name.as_str()).collect();
                prop_assert_eq!(draft.names(archive).expect("what is stored is valid"), names);
                prop_assert_eq!(draft.archive(archive).expect("what is stored is valid"), Some(archive_bins(&model).expect("what is stored is valid")));
            }
        }
    }

    #[test]
    fn what_a_guest_set_counts_until_it_is_set_anew_or_removed() {
        let archive = archive_bins(&Bins::new().with("stored", "x".repeat(1_000))).expect("what is stored is valid");
        let (archive, mut draft) = (Some(archive.as_slice()), Draft::default());
        assert!(draft.open(archive).expect("what is stored is valid"));
        assert!(draft.set(archive, "stored".to_owned(), "yy".into(), 8).expect("what is stored is valid"));
        assert!(draft.set(archive, "new".to_owned(), "zzz".into(), 8).expect("what is stored is valid"));
        assert_eq!((draft.bytes_of("stored"), draft.bytes_of("other"), draft.bytes()), (8, 0, 14));
        assert!(!draft.open(archive).expect("what is stored is valid"), "it is open");
        draft.remove(archive, "new").expect("what is stored is valid");
        assert_eq!(draft.bytes(), 8);
    }
}
