//! Values that are spread over many messages.

use super::*;

/// `[]interface{}` of this many values, each behind the definition of a slice type of its own: as
/// Go does, each definition ends a message.
pub(super) fn spread(definitions: usize) -> Vec<u8> {
    let mut stream = framed(slice(64, 8));
    let mut content = [int(64), vec![0], uint(definitions)].concat();
    for number in 0..definitions {
        let id = 65 + number as i64;
        content.extend([1, b'x']);
        content.extend(slice(id, 2));
        stream.extend(framed(std::mem::take(&mut content)));
        content.extend(int(id));
        // Its length, the mark of a value that stands by itself, one element.
        content.extend([3, 0, 1, 2]);
    }
    stream.extend(framed(content));
    stream
}

#[test]
fn a_value_may_be_spread_over_as_many_messages_as_the_limit_says() {
    let expected: Vec<Vec<i64>> = vec![vec![1]; 1000];
    let message = decoded(&spread(1000)).unwrap();
    assert_eq!(message.decode::<Vec<Vec<i64>>>(), Ok(expected));
    let held: Vec<Interface> = message.decode().unwrap();
    assert_eq!(held[999].decode::<Vec<i64>>(), Ok(vec![1]));
    // Sent on, each definition goes with it.
    let again = decoded(&encode(&held)).unwrap();
    assert_eq!(again.value(), message.value());

    let limits = Limits {
        max_messages_per_value: 10,
        ..Limits::default()
    };
    let next = |definitions| {
        Decoder::new(limits)
            .next(&mut Bytes::from(spread(definitions)))
            .map(|message| message.is_some())
    };
    assert_eq!(next(9), Ok(true));
    assert_eq!(next(10), Err(Error::TooManyMessages(10)));
    assert!(Error::TooManyMessages(10).poisons_stream());
    // The other limits hold over all messages together.
    let limits = Limits {
        max_elements: 1500,
        ..Limits::default()
    };
    let next = Decoder::new(limits).next(&mut Bytes::from(spread(1000)));
    let too_many = Error::LostPlace(Box::new(Error::TooManyElements(1500)));
    assert_eq!(next.map(drop), Err(too_many));
    let limits = Limits {
        max_message_bytes: 8000,
        ..Limits::default()
    };
    let next = Decoder::new(limits).next(&mut Bytes::from(spread(1000)));
    assert!(matches!(next, Err(Error::MessageTooLong { .. })));
}

/// Wherever a stream is cut, nothing comes of it until the rest is there.
#[test]
fn a_spread_value_is_whole_or_not_there() {
    let stream = spread(5);
    for cut in 0..stream.len() {
        let mut decoder = Decoder::new(Limits::default());
        let mut start = Bytes::copy_from_slice(&stream[..cut]);
        assert!(decoder.next(&mut start).unwrap().is_none(), "{cut}");
        let mut rest = Bytes::from([&start, &stream[cut..]].concat());
        let message = decoder.next(&mut rest).unwrap().unwrap();
        assert_eq!(message.decode(), Ok(vec![vec![1_i64]; 5]), "{cut}");
    }
}
