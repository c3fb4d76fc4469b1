//! Times to live as text: `60s`, `15m`, `12h`, `30d`, `never`, `keep`, `default`.

use outcrop_wire::Ttl;
use outcrop_wire::limits::TTL_SECS_MAX;
use thiserror::Error;

/// Why a text is no time to live.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TtlSyntaxError {
    /// Neither a number with a unit nor a word.
    #[error("{0:?} is no time to live: write 60s, 15m, 12h, 30d, never, keep or default")]
    Form(String),
    /// A number without a unit.
    #[error("{0} of what? write {0}s for seconds (or m, h, d)")]
    Unit(String),
    /// Out of bounds.
    #[error("a time to live is 1 second to ten years ({TTL_SECS_MAX}s), not {0}; write never for no end")]
    Range(String),
}

/// Parses a time to live.
pub fn parse_ttl(text: &str) -> Result<Ttl, TtlSyntaxError> {
    let shown = || text.chars().take(40).collect::<String>();
    match text {
        "never" => return Ok(Ttl::Never),
        "keep" => return Ok(Ttl::Keep),
        "default" => return Ok(Ttl::Default),
        _ => {}
    }
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(text.len());
    let (digits, unit) = text.split_at(unit_at);
    if !digits.bytes().any(|byte| byte.is_ascii_digit()) {
        return Err(TtlSyntaxError::Form(shown()));
    }
    let unit_secs = match unit {
        "s" => 1_u64,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "" => return Err(TtlSyntaxError::Unit(shown())),
        _ => return Err(TtlSyntaxError::Form(shown())),
    };
    let secs = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(unit_secs));
    match secs.and_then(|secs| u32::try_from(secs).ok()) {
        Some(secs) if (1..=TTL_SECS_MAX).contains(&secs) => Ok(Ttl::Secs(secs)),
        _ => Err(TtlSyntaxError::Range(shown())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_and_words() {
        assert_eq!(parse_ttl("60s"), Ok(Ttl::Secs(60)));
        assert_eq!(parse_ttl("15m"), Ok(Ttl::Secs(900)));
        assert_eq!(parse_ttl("30d"), Ok(Ttl::Secs(2_592_000)));
        assert_eq!(parse_ttl("3650d"), Ok(Ttl::Secs(TTL_SECS_MAX)));
        assert_eq!(parse_ttl("never"), Ok(Ttl::Never));
        assert_eq!(parse_ttl("keep"), Ok(Ttl::Keep));
    }

    #[test]
    fn out_of_range_and_out_of_form() {
        for text in ["-1s", "0s", "3651d", "9223372036854775808s", "99999999999999999999999999999999999999999999d"] {
            assert_eq!(parse_ttl(text), Err(TtlSyntaxError::Range(text.chars().take(40).collect())));
        }
        assert_eq!(parse_ttl("-1"), Err(TtlSyntaxError::Unit("-1".to_owned())));
        assert_eq!(parse_ttl("60"), Err(TtlSyntaxError::Unit("60".to_owned())));
        for text in ["", "s", "-", "-s", "60 s", "1.5h", "1w", "ever"] {
            assert_eq!(parse_ttl(text), Err(TtlSyntaxError::Form(text.to_owned())));
        }
    }
}
