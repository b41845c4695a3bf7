//! Values in PostgreSQL's binary format as JSON. Formats: each type's send function in the server's
//! sources.

use std::fmt::Write;

use gk_hostapi::HostError;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, Kind, Type};

use crate::db::value::{Json, fraction};

/// Days from 1970-01-01 to 2000-01-01, from which the server counts.
const EPOCH_DAYS: i64 = 10_957;

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Deepest array; the server's own limit.
const DIMENSIONS_MAX: i32 = 6;

/// A value as it came.
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// Returns whether values of a type can be written as JSON.
pub(super) fn is_supported(ty: &Type) -> bool {
    match ty.kind() {
        Kind::Array(element) => is_supported(element) && !matches!(element.kind(), Kind::Array(_)),
        Kind::Domain(inner) => is_supported(inner),
        Kind::Enum(_) => true,
        _ => matches!(
            *ty,
            Type::BOOL
                | Type::INT2
                | Type::INT4
                | Type::INT8
                | Type::OID
                | Type::FLOAT4
                | Type::FLOAT8
                | Type::NUMERIC
                | Type::TEXT
                | Type::VARCHAR
                | Type::BPCHAR
                | Type::NAME
                | Type::UNKNOWN
                | Type::XML
                | Type::JSON
                | Type::JSONB
                | Type::UUID
                | Type::BYTEA
                | Type::DATE
                | Type::TIME
                | Type::TIMETZ
                | Type::TIMESTAMP
                | Type::TIMESTAMPTZ
                | Type::INTERVAL
                | Type::INET
                | Type::CIDR
        ),
    }
}

/// Writes a cell.
pub(super) fn cell(row: &Row, index: usize, json: &mut Json<'_>) -> Result<(), HostError> {
    let garbled = || HostError::failed("a value of the database cannot be read");
    let raw: Option<Raw<'_>> = row.try_get(index).map_err(|_| garbled())?;
    let column = row.columns().get(index).ok_or_else(garbled)?;
    match raw {
        None => {
            json.null();
            Ok(())
        }
        Some(Raw(bytes)) => value(column.type_(), bytes, json).ok_or_else(garbled),
    }
}

fn value(ty: &Type, bytes: &[u8], json: &mut Json<'_>) -> Option<()> {
    match ty.kind() {
        Kind::Array(element) => return array(element, bytes, json),
        Kind::Domain(inner) => return value(inner, bytes, json),
        _ => {}
    }
    match *ty {
        Type::BOOL => json.bool(*bytes.first()? != 0),
        Type::INT2 => json.int(i16::from_be_bytes(bytes.try_into().ok()?).into()),
        Type::INT4 => json.int(i32::from_be_bytes(bytes.try_into().ok()?).into()),
        Type::INT8 => json.int(i64::from_be_bytes(bytes.try_into().ok()?)),
        Type::OID => json.int(u32::from_be_bytes(bytes.try_into().ok()?).into()),
        Type::FLOAT4 => json.single(f32::from_be_bytes(bytes.try_into().ok()?)),
        Type::FLOAT8 => json.float(f64::from_be_bytes(bytes.try_into().ok()?)),
        Type::NUMERIC => json.plain(numeric(bytes)?),
        Type::BYTEA => json.blob(bytes),
        Type::JSONB => match bytes.split_first()? {
            (1, text) => json.text(std::str::from_utf8(text).ok()?),
            _ => return None,
        },
        Type::UUID => json.plain(uuid(bytes)?),
        Type::DATE => json.plain(date(i32::from_be_bytes(bytes.try_into().ok()?))?),
        Type::TIME => json.plain(time(i64::from_be_bytes(bytes.try_into().ok()?))?),
        Type::TIMETZ => {
            let (micros, west) = bytes.split_at_checked(8)?;
            let west = i32::from_be_bytes(west.try_into().ok()?);
            let time = time(i64::from_be_bytes(micros.try_into().ok()?))?;
            let sign = if west > 0 { '-' } else { '+' };
            let minutes = west.unsigned_abs() / 60;
            json.plain(format!(
                "{time}{sign}{:02}:{:02}",
                minutes / 60,
                minutes % 60
            ));
        }
        Type::TIMESTAMP | Type::TIMESTAMPTZ => {
            json.plain(timestamp(i64::from_be_bytes(bytes.try_into().ok()?))?);
        }
        Type::INTERVAL => json.plain(interval(bytes)?),
        Type::INET | Type::CIDR => json.plain(network(ty, bytes)?),
        // Text in all its forms, and names of enums.
        _ => json.text(std::str::from_utf8(bytes).ok()?),
    }
    Some(())
}

/// Takes big-endian numbers from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn i16(&mut self) -> Option<i16> {
        Some(i16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn i32(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn i64(&mut self) -> Option<i64> {
        Some(i64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }
}

fn array(element: &Type, bytes: &[u8], json: &mut Json<'_>) -> Option<()> {
    let mut reader = Reader(bytes);
    let dimensions = reader.i32()?;
    let _has_nulls = reader.i32()?;
    let _element = reader.i32()?;
    if !(0..=DIMENSIONS_MAX).contains(&dimensions) {
        return None;
    }
    let mut lengths = Vec::new();
    for _ in 0..dimensions {
        lengths.push(reader.i32()?);
        let _lower_bound = reader.i32()?;
    }
    if lengths.is_empty() {
        json.raw("[]");
        return Some(());
    }
    elements(element, &lengths, &mut reader, json)
}

fn elements(
    element: &Type,
    lengths: &[i32],
    reader: &mut Reader<'_>,
    json: &mut Json<'_>,
) -> Option<()> {
    let Some((length, inner)) = lengths.split_first() else {
        return match reader.i32()? {
            -1 => {
                json.null();
                Some(())
            }
            length => value(element, reader.take(usize::try_from(length).ok()?)?, json),
        };
    };
    json.raw("[");
    for index in 0..*length {
        if index > 0 {
            json.raw(",");
        }
        elements(element, inner, reader, json)?;
    }
    json.raw("]");
    Some(())
}

/// Groups of four decimal digits: count, weight of the first one, sign, digits behind the point.
fn numeric(bytes: &[u8]) -> Option<String> {
    let mut reader = Reader(bytes);
    let count = reader.i16()?;
    let weight = reader.i16()?;
    let sign = reader.i16()?.cast_unsigned();
    let scale = usize::try_from(reader.i16()?).ok()?;
    match sign {
        0xc000 => return Some("NaN".to_owned()),
        0xd000 => return Some("Infinity".to_owned()),
        0xf000 => return Some("-Infinity".to_owned()),
        _ => {}
    }
    let mut groups = Vec::new();
    for _ in 0..count {
        groups.push(reader.i16()?);
    }
    let group = |place: i32| -> i16 {
        let index = usize::try_from(i32::from(weight) - place).ok();
        index
            .and_then(|index| groups.get(index))
            .copied()
            .unwrap_or(0)
    };
    let mut text = String::new();
    if sign == 0x4000 {
        text.push('-');
    }
    if weight < 0 {
        text.push('0');
    }
    for place in (0..=i32::from(weight)).rev() {
        if place == i32::from(weight) {
            write!(text, "{}", group(place)).ok()?;
        } else {
            write!(text, "{:04}", group(place)).ok()?;
        }
    }
    if scale > 0 {
        let mut digits = String::new();
        let mut place = -1;
        while digits.len() < scale {
            write!(digits, "{:04}", group(place)).ok()?;
            place -= 1;
        }
        digits.truncate(scale);
        text.push('.');
        text.push_str(&digits);
    }
    Some(text)
}

fn uuid(bytes: &[u8]) -> Option<String> {
    let bytes: [u8; 16] = bytes.try_into().ok()?;
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        write!(text, "{byte:02x}").ok()?;
    }
    Some(text)
}

fn date(days: i32) -> Option<String> {
    match days {
        i32::MAX => Some("infinity".to_owned()),
        i32::MIN => Some("-infinity".to_owned()),
        days => Some(civil(i64::from(days) + EPOCH_DAYS)),
    }
}

fn timestamp(micros: i64) -> Option<String> {
    match micros {
        i64::MAX => return Some("infinity".to_owned()),
        i64::MIN => return Some("-infinity".to_owned()),
        _ => {}
    }
    let day = civil(micros.div_euclid(MICROS_PER_DAY) + EPOCH_DAYS);
    let time = time(micros.rem_euclid(MICROS_PER_DAY))?;
    Some(format!("{day}T{time}Z"))
}

fn time(micros: i64) -> Option<String> {
    let (seconds, micros) = (micros / 1_000_000, u32::try_from(micros % 1_000_000).ok()?);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let fraction = fraction(micros);
    Some(format!(
        "{hours:02}:{minutes:02}:{:02}{fraction}",
        seconds % 60
    ))
}

/// The day of the proleptic Gregorian calendar, from days since 1970-01-01. Years before 1 are
/// counted from 0 downwards, as ISO 8601 does.
fn civil(days: i64) -> String {
    // Years that begin in March have their leap day at the end; eras of 400 years are all alike.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    if year < 0 {
        format!("-{:04}-{month:02}-{day:02}", -year)
    } else {
        format!("{year:04}-{month:02}-{day:02}")
    }
}

fn interval(bytes: &[u8]) -> Option<String> {
    let mut reader = Reader(bytes);
    let (micros, days, months) = (reader.i64()?, reader.i32()?, reader.i32()?);
    if !reader.0.is_empty() {
        return None;
    }
    let mut text = "P".to_owned();
    for (count, unit) in [(months / 12, 'Y'), (months % 12, 'M'), (days, 'D')] {
        if count != 0 {
            write!(text, "{count}{unit}").ok()?;
        }
    }
    if micros != 0 {
        let sign = if micros < 0 { "-" } else { "" };
        let all = micros.unsigned_abs();
        let (seconds, micros) = (all / 1_000_000, u32::try_from(all % 1_000_000).ok()?);
        text.push('T');
        for (count, unit) in [(seconds / 3600, 'H'), (seconds / 60 % 60, 'M')] {
            if count != 0 {
                write!(text, "{sign}{count}{unit}").ok()?;
            }
        }
        if seconds % 60 != 0 || micros != 0 {
            write!(text, "{sign}{}{}S", seconds % 60, fraction(micros)).ok()?;
        }
    }
    if text.len() == 1 {
        text.push_str("T0S");
    }
    Some(text)
}

/// Family, bits of the mask, whether it is a CIDR, length, address.
fn network(ty: &Type, bytes: &[u8]) -> Option<String> {
    let (header, address) = bytes.split_at_checked(4)?;
    let address = match address.len() {
        4 => std::net::IpAddr::from(<[u8; 4]>::try_from(address).ok()?),
        16 => std::net::IpAddr::from(<[u8; 16]>::try_from(address).ok()?),
        _ => return None,
    };
    let whole = if address.is_ipv4() { 32 } else { 128 };
    let bits = *header.get(1)?;
    if bits == whole && *ty == Type::INET {
        return Some(address.to_string());
    }
    Some(format!("{address}/{bits}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (days, expected) in [
            (0, "2000-01-01"),
            (59, "2000-02-29"),
            (60, "2000-03-01"),
            (-1, "1999-12-31"),
            (9_527, "2026-01-31"),
            (2_921_939, "9999-12-31"),
            (2_921_940, "10000-01-01"),
            (-730_119, "0001-01-01"),
            (-730_120, "0000-12-31"),
        ] {
            assert_eq!(date(days).unwrap(), expected);
        }
        assert_eq!(timestamp(-1).unwrap(), "1999-12-31T23:59:59.999999Z");
        assert_eq!(date(i32::MAX).unwrap(), "infinity");
    }

    #[test]
    fn what_is_cut_off_is_refused() {
        for (ty, whole) in [
            (Type::INT4, Some(4)),
            (Type::NUMERIC, None),
            (Type::UUID, Some(16)),
            (Type::INTERVAL, Some(16)),
            (Type::INET, None),
            (Type::TIMETZ, Some(12)),
            (Type::INT4_ARRAY, None),
            (Type::JSONB, None),
        ] {
            for length in 0..24 {
                for byte in [0, 1, 0x7f, 0xff] {
                    let mut out = Vec::new();
                    let read = value(&ty, &vec![byte; length], &mut Json(&mut out));
                    // The others have their length in them, or, as JSON, anywhere.
                    if length == 0 || whole.is_some_and(|whole| whole != length) {
                        assert_eq!(read, None, "{ty}: {length} bytes of {byte}");
                    }
                }
            }
        }
    }
}
