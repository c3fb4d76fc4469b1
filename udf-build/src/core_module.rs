//! What a core module is relieved of before it becomes a component: debug information, and what every instance would be
//! fitted out with though no call needs it.

use wasmparser::{BinaryReader, ExportSectionReader};

use crate::error::BuildError;

const HEADER_BYTES: usize = 8;
const CUSTOM_SECTION: u8 = 0;
const EXPORT_SECTION: u8 = 7;

/// How exports begin that free what another export returned.
const POST_RETURN: &str = "cabi_post_";
/// How the one ends that is called again and again in one instance and returns bytes each time: they have to be freed. Of
/// the others, those that are called often return nothing but their first failure.
const RETURNS_OFTEN: &str = "#row-batch";

/// Drops the debug information of a core module; names of functions stay, for backtraces.
pub fn strip_debug(core: &[u8]) -> Result<Vec<u8>, BuildError> {
    rewrite(core, |id, content| {
        (!(id == CUSTOM_SECTION && is_debug(content))).then(|| Ok(content.to_vec())).transpose()
    })
}

/// Drops the exports that free what a function returned, where the instance ends after it or is asked once in its life:
/// the node looks each of them up for each instance, and the memory goes with the instance anyway.
pub fn strip_post_returns(core: &[u8]) -> Result<Vec<u8>, BuildError> {
    rewrite(core, |id, content| match id {
        EXPORT_SECTION => without_post_returns(content).map(Some),
        _ => Ok(Some(content.to_vec())),
    })
}

/// Whether a custom section's name is one of DWARF.
fn is_debug(content: &[u8]) -> bool {
    let mut reader = BinaryReader::new(content, 0);
    reader.read_string().is_ok_and(|name| name.starts_with(".debug") || name.starts_with("reloc..debug"))
}

fn without_post_returns(content: &[u8]) -> Result<Vec<u8>, BuildError> {
    let section = ExportSectionReader::new(BinaryReader::new(content, 0)).map_err(not_wasm)?;
    let (mut kept, mut count) = (Vec::new(), 0);
    let exports: Vec<(usize, bool)> = section
        .into_iter_with_offsets()
        .map(|export| export.map(|(at, export)| (at, is_needed(export.name))))
        .collect::<Result<_, _>>()
        .map_err(not_wasm)?;
    let ends = exports.iter().skip(1).map(|(at, _)| *at).chain([content.len()]);
    for ((at, needed), end) in exports.iter().zip(ends) {
        if *needed {
            kept.extend_from_slice(content.get(*at..end).ok_or_else(cut_off)?);
            count += 1;
        }
    }
    let mut section = Vec::new();
    write_var_u32(count, &mut section);
    section.extend_from_slice(&kept);
    Ok(section)
}

fn is_needed(export: &str) -> bool {
    !export.starts_with(POST_RETURN) || export.ends_with(RETURNS_OFTEN)
}

/// Each section as `keep` leaves it: its content, or nothing of it.
fn rewrite(
    core: &[u8],
    keep: impl Fn(u8, &[u8]) -> Result<Option<Vec<u8>>, BuildError>,
) -> Result<Vec<u8>, BuildError> {
    let (header, mut rest) = core.split_at_checked(HEADER_BYTES).ok_or_else(cut_off)?;
    let mut kept = header.to_vec();
    while let Some((&id, after_id)) = rest.split_first() {
        let mut reader = BinaryReader::new(after_id, 0);
        let bytes = reader.read_var_u32().map_err(not_wasm)? as usize;
        let content_at = 1 + reader.current_position();
        let content = rest.get(content_at..content_at + bytes).ok_or_else(cut_off)?;
        if let Some(content) = keep(id, content)? {
            kept.push(id);
            write_var_u32(content.len() as u32, &mut kept);
            kept.extend_from_slice(&content);
        }
        rest = &rest[content_at + bytes..];
    }
    Ok(kept)
}

/// LEB128, as sections tell their lengths and counts.
fn write_var_u32(mut number: u32, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn cut_off() -> BuildError {
    BuildError::NotComponent("a section is cut off".to_owned())
}

fn not_wasm(error: wasmparser::BinaryReaderError) -> BuildError {
    BuildError::NotComponent(error.to_string())
}

#[cfg(test)]
mod tests {
    use wasmparser::{Parser, Payload, Validator};

    use super::*;

    fn exports(core: &[u8]) -> Vec<String> {
        let mut names = Vec::new();
        for payload in Parser::new(0).parse_all(core) {
            if let Payload::ExportSection(section) = payload.expect("well-formed") {
                names.extend(section.into_iter().map(|export| export.expect("well-formed").name.to_owned()));
            }
        }
        names
    }

    #[test]
    fn only_what_frees_in_a_lasting_instance_stays() {
        let many: String = (0..200).map(|number| format!(r#"(export "e{number}" (func 0))"#)).collect();
        let core = wat::parse_str(format!(
            r#"(module (func) (memory (export "memory") 1)
              (export "f#call-record" (func 0)) (export "cabi_post_f#call-record" (func 0))
              (export "cabi_post_f#row-batch" (func 0)) (export "cabi_post_f#describe" (func 0))
              (export "cabi_realloc" (func 0)) {many})"#
        ))
        .expect("well-formed");
        let stripped = strip_post_returns(&core).expect("well-formed");
        Validator::new().validate_all(&stripped).expect("a module as before");
        let wanted: Vec<String> = exports(&core)
            .into_iter()
            .filter(|name| !["cabi_post_f#call-record", "cabi_post_f#describe"].contains(&name.as_str()))
            .collect();
        assert_eq!(exports(&stripped), wanted);
        assert_eq!(strip_post_returns(&stripped).expect("well-formed"), stripped);
        for cut in 0..core.len() {
            let _ = strip_post_returns(&core[..cut]);
        }
    }
}
