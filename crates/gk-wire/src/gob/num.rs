//! Gob's integers: an unsigned up to 127 is one byte, else a byte with the negated byte count and
//! then the number in big-endian order; signed is zig-zag; a float is its bits in reversed byte
//! order.

use super::Error;

/// Appends an unsigned integer.
pub(crate) fn put_uint(out: &mut Vec<u8>, value: u64) {
    if value <= 0x7f {
        #[expect(clippy::cast_possible_truncation, reason = "at most 0x7f")]
        out.push(value as u8);
        return;
    }
    let skip = (value.leading_zeros() / 8) as usize;
    #[expect(clippy::cast_possible_truncation, reason = "skip is at most 7")]
    out.push(!(8 - skip as u8) + 1);
    out.extend_from_slice(&value.to_be_bytes()[skip..]);
}

/// Appends a signed integer.
pub(crate) fn put_int(out: &mut Vec<u8>, value: i64) {
    put_uint(out, zigzag(value));
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Bytes that [`put_uint`] writes.
pub(crate) fn uint_len(value: u64) -> usize {
    if value <= 0x7f {
        1
    } else {
        9 - (value.leading_zeros() / 8) as usize
    }
}

/// The unsigned integer at the start of `data` and its length; `None` if `data` is too short.
pub(crate) fn take_uint(data: &[u8]) -> Result<Option<(u64, usize)>, Error> {
    let Some(&first) = data.first() else {
        return Ok(None);
    };
    if first <= 0x7f {
        return Ok(Some((u64::from(first), 1)));
    }
    let count = usize::from(!first) + 1;
    if count > 8 {
        return Err(Error::BadUint(first));
    }
    let Some(bytes) = data.get(1..=count) else {
        return Ok(None);
    };
    let value = bytes
        .iter()
        .fold(0, |value, &byte| value << 8 | u64::from(byte));
    Ok(Some((value, count + 1)))
}

pub(crate) fn unzigzag(value: u64) -> i64 {
    ((value >> 1) as i64) ^ -((value & 1) as i64)
}

pub(crate) fn float_bits(value: f64) -> u64 {
    value.to_bits().swap_bytes()
}

pub(crate) fn float_from_bits(bits: u64) -> f64 {
    f64::from_bits(bits.swap_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(value: u64) -> Vec<u8> {
        let mut out = Vec::new();
        put_uint(&mut out, value);
        out
    }

    #[test]
    fn edges_are_those_of_go() {
        assert_eq!(encoded(0), [0]);
        assert_eq!(encoded(127), [0x7f]);
        assert_eq!(encoded(128), [0xff, 0x80]);
        assert_eq!(encoded(256), [0xfe, 0x01, 0x00]);
        assert_eq!(
            encoded(u64::MAX),
            [0xf8, 255, 255, 255, 255, 255, 255, 255, 255]
        );
        assert_eq!(
            take_uint(&[0xff, 0x05]).unwrap(),
            Some((5, 2)),
            "over-long is accepted"
        );
        assert_eq!(take_uint(&[0xf7, 0, 0]), Err(Error::BadUint(0xf7)));
        assert_eq!(take_uint(&[0x80]), Err(Error::BadUint(0x80)));
        assert_eq!(take_uint(&[0xfe, 0x01]).unwrap(), None);
    }

    proptest! {
        #[test]
        fn uint_round_trip(value: u64) {
            let bytes = encoded(value);
            prop_assert_eq!(bytes.len(), uint_len(value));
            prop_assert_eq!(take_uint(&bytes).unwrap(), Some((value, bytes.len())));
        }

        #[test]
        fn int_round_trip(value: i64) {
            prop_assert_eq!(unzigzag(zigzag(value)), value);
        }

        #[test]
        fn float_round_trip(bits: u64) {
            prop_assert_eq!(float_bits(float_from_bits(bits)), bits);
        }
    }
}
