//! Quantities as other people write them in claims. Pure. Our own resources take fewer spellings.

use crate::units::Bytes;

/// Reads a quantity: all suffixes of Kubernetes and exponents. What is no whole number of bytes is
/// rounded up. Nothing for what is no quantity of storage.
pub fn read(text: &str) -> Option<Bytes> {
    if let Ok(plain) = text.parse() {
        return Some(plain);
    }
    let (number, power) = split(text)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number || digits.len() > 30 || power.abs() > 30 {
        return None;
    }
    let value: u128 = digits.parse().ok()?;
    let power = power - i32::try_from(fraction.len()).ok()?;
    let scale = 10u128.checked_pow(power.unsigned_abs())?;
    let bytes = if power < 0 { value.div_ceil(scale) } else { value.checked_mul(scale)? };
    u64::try_from(bytes).ok().map(Bytes)
}

/// The number and the power of ten that its suffix means.
fn split(text: &str) -> Option<(&str, i32)> {
    for (suffix, power) in [("m", -3), ("u", -6), ("n", -9)] {
        if let Some(number) = text.strip_suffix(suffix) {
            return Some((number, power));
        }
    }
    let (number, power) = text.split_once(['e', 'E'])?;
    Some((number, power.strip_prefix('+').unwrap_or(power).parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_kubernetes_is_read() {
        for (text, bytes) in [
            ("1Gi", 1 << 30),
            ("1G", 1_000_000_000),
            ("1E", 1_000_000_000_000_000_000),
            ("1e9", 1_000_000_000),
            ("1E9", 1_000_000_000),
            ("1.5e3", 1500),
            ("15e-1", 2),
            ("2e+3", 2000),
            ("1500m", 2),
            ("123", 123),
        ] {
            assert_eq!(read(text), Some(Bytes(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "-1", "e9", "1e", "1e99", "1e-99", "-1m", "1.2.3e1", "ten", "1e40"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
