//! Numbers as text, as servers write and read them.

use crate::version::Version;

/// A number that may have a fraction.
pub(crate) fn format(version: Version, number: f64) -> String {
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    if version.is_old() { format_general(number) } else { format_shortest(number) }
}

/// `%.17g` in C.
fn format_general(number: f64) -> String {
    const DIGITS: i32 = 17;
    let text = format!("{number:.16e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..DIGITS).contains(&exponent) {
        let decimals = usize::try_from(DIGITS - 1 - exponent).unwrap_or_default();
        return without_zeros(&format!("{number:.decimals$}")).to_owned();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", without_zeros(mantissa), exponent.abs())
}

fn without_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// The fewest digits that say the number, as `fpconv_dtoa` writes them.
fn format_shortest(number: f64) -> String {
    // Whole numbers of this size are exact.
    if number.fract() == 0.0 && number.abs() < 4.6e18 {
        return format!("{number:.0}");
    }
    let text = format!("{:e}", number.abs());
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let digits = mantissa.replace('.', "");
    let count = i32::try_from(digits.len()).unwrap_or_default();
    let sign = if number < 0.0 { "-" } else { "" };
    sign.to_owned() + &place_point(&digits, count, exponent)
}

fn place_point(digits: &str, count: i32, exponent: i32) -> String {
    let power = exponent - count + 1;
    if power >= 0 && exponent < count + 7 {
        return digits.to_owned() + &"0".repeat(usize::try_from(power).unwrap_or_default());
    }
    if power < 0 && (power > -7 || exponent.abs() < 4) {
        return match usize::try_from(count + power) {
            Ok(whole) if whole > 0 => format!("{}.{}", &digits[..whole], &digits[whole..]),
            _ => format!("0.{}{digits}", "0".repeat(usize::try_from(-power - count).unwrap_or_default())),
        };
    }
    let (first, rest) = digits.split_at(1);
    let point = if rest.is_empty() { "" } else { "." };
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{first}{point}{rest}e{sign}{}", exponent.abs())
}

/// A whole number, written as servers accept it.
pub(crate) fn parse_integer(text: &[u8]) -> Result<i64, String> {
    let error = || "ERR value is not an integer or out of range".to_owned();
    let text = std::str::from_utf8(text).map_err(|_| error())?;
    let number: i64 = text.parse().map_err(|_| error())?;
    // Neither a sign in front, nor zeros.
    if number.to_string() == text { Ok(number) } else { Err(error()) }
}

pub(crate) fn parse_score(text: &[u8]) -> Result<f64, String> {
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok());
    number.filter(|number| !number.is_nan()).ok_or_else(|| "ERR value is not a valid float".to_owned())
}

/// A Lua number as an integer: what a C cast makes of it.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
pub(crate) fn truncate(number: f64) -> i64 {
    if number.abs() < 9.2e18 { number as i64 } else { i64::MIN }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_writes_numbers_as_its_server_does() {
        for (number, old, new) in [
            (0.1, "0.10000000000000001", "0.1"),
            (1e20, "1e+20", "1e+20"),
            (123_456_789_012_345_678.0, "1.2345678901234568e+17", "123456789012345680"),
            (1e15, "1000000000000000", "1000000000000000"),
            (-1.5, "-1.5", "-1.5"),
            (0.0, "0", "0"),
        ] {
            assert_eq!(format(Version::Redis7, number), old);
            assert_eq!(format(Version::Redis8, number), new);
        }
    }
}
