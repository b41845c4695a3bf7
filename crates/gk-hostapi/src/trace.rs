//! Traces over several programs: the headers `traceparent` and `tracestate` of W3C Trace Context,
//! level 1.

use std::cell::RefCell;
use std::fmt;
use std::str;
use std::sync::Arc;

/// Length of a `traceparent` of version 00, in bytes.
pub const TRACEPARENT_BYTES: usize = 55;

/// Maximum length of a `tracestate` that is passed on, in bytes. Of a longer one whole members are
/// dropped: those of more than 128 bytes first, then the last ones.
pub const TRACESTATE_BYTES_MAX: usize = 512;

/// Maximum number of members of a `tracestate`. One with more is dropped whole.
pub const TRACESTATE_MEMBERS_MAX: usize = 32;

/// Length of a member of a `tracestate` above which it is dropped first, in bytes.
const LONG_MEMBER_BYTES: usize = 128;

/// Maximum length of the key and of the value of a member, in bytes.
const PART_BYTES_MAX: usize = 256;

/// A place in a trace: the trace, and the span within which something happens. A cheap clone, and
/// as small as a pointer, so that calls that belong to no trace need not carry more.
#[derive(Clone, PartialEq, Eq)]
pub struct TraceContext(Arc<Place>);

#[derive(Clone, PartialEq, Eq)]
struct Place {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    sampled: bool,
    state: Option<Arc<str>>,
}

impl TraceContext {
    /// Begins a trace, with a span of its own.
    pub fn begin(sampled: bool) -> Self {
        let [high, low, span] = [random(), random(), random()];
        let mut trace_id = [0; 16];
        trace_id[..8].copy_from_slice(&high.to_be_bytes());
        trace_id[8..].copy_from_slice(&low.to_be_bytes());
        TraceContext::at(trace_id, span.to_be_bytes(), sampled)
    }

    /// Begins a trace without a span: the first [child](Self::child) is its root.
    pub(crate) fn root() -> Self {
        let trace = Self::begin(false);
        Self::at(trace.0.trace_id, [0; 8], false)
    }

    /// Reads the id of a trace: 32 lower-case hexadecimal digits.
    pub fn read_id(text: &str) -> Option<HexId<16>> {
        let digits = text.as_bytes();
        (digits.len() == 32)
            .then(|| hex(digits))
            .flatten()
            .map(HexId)
    }

    /// Reads a `traceparent`. Returns `None` for one that is not valid: of another form, with upper
    /// case, of version `ff`, or with an id of zeros. What a version after 00 adds is dropped, and
    /// of the flags only `sampled` is kept.
    pub fn parse(traceparent: &[u8]) -> Option<Self> {
        let (known, rest) = traceparent.split_at_checked(TRACEPARENT_BYTES)?;
        let [version] = hex(&known[..2])?;
        match version {
            0xff => return None,
            0 if !rest.is_empty() => return None,
            _ if !matches!(rest.first(), None | Some(b'-')) => return None,
            _ => {}
        }
        if [2, 35, 52].iter().any(|at| known[*at] != b'-') {
            return None;
        }
        let trace_id: [u8; 16] = hex(&known[3..35])?;
        let span_id: [u8; 8] = hex(&known[36..52])?;
        let [flags] = hex(&known[53..])?;
        if trace_id == [0; 16] || span_id == [0; 8] {
            return None;
        }
        Some(TraceContext::at(trace_id, span_id, flags & 1 == 1))
    }

    fn at(trace_id: [u8; 16], span_id: [u8; 8], sampled: bool) -> Self {
        TraceContext(Arc::new(Place {
            trace_id,
            span_id,
            sampled,
            state: None,
        }))
    }

    /// Adds the values of the `tracestate` headers that came along. A state that is not valid is
    /// dropped whole.
    #[must_use]
    pub fn with_state<'a>(mut self, values: impl Iterator<Item = &'a [u8]>) -> Self {
        if let Some(state) = state(values).filter(|state| !state.is_empty()) {
            Arc::make_mut(&mut self.0).state = Some(state.into());
        }
        self
    }

    /// Returns a new span of the same trace, within this one.
    #[must_use]
    pub fn child(&self) -> Self {
        TraceContext(Arc::new(Place {
            span_id: random().to_be_bytes(),
            ..Place::clone(&self.0)
        }))
    }

    /// Returns the same place, with another `sampled`.
    #[must_use]
    pub(crate) fn with_sampled(mut self, sampled: bool) -> Self {
        if sampled != self.0.sampled {
            Arc::make_mut(&mut self.0).sampled = sampled;
        }
        self
    }

    /// Returns the span, unless the trace has none yet.
    pub(crate) fn span(&self) -> Option<HexId<8>> {
        Some(self.span_id()).filter(|id| id.0 != [0; 8])
    }

    /// Returns the id of the trace: 32 hexadecimal digits.
    pub fn trace_id(&self) -> HexId<16> {
        HexId(self.0.trace_id)
    }

    /// Returns the id of the span: 16 hexadecimal digits.
    pub fn span_id(&self) -> HexId<8> {
        HexId(self.0.span_id)
    }

    /// Returns whether whoever came before has, or may have, recorded the trace.
    pub fn is_sampled(&self) -> bool {
        self.0.sampled
    }

    /// Returns the value of a `traceparent` header of version 00.
    pub fn traceparent(&self) -> TraceParent {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(&mut text[3..35], &self.0.trace_id);
        write_hex(&mut text[36..52], &self.0.span_id);
        text[54] += u8::from(self.0.sampled);
        TraceParent(text)
    }

    /// Returns the value of a `tracestate` header, if there is one.
    pub fn tracestate(&self) -> Option<&str> {
        self.0.state.as_deref()
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceContext({})", self.traceparent().as_str())
    }
}

/// Value of a `traceparent` header.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceParent([u8; TRACEPARENT_BYTES]);

impl TraceParent {
    /// The value as text.
    pub fn as_str(&self) -> &str {
        // Only ever made of ASCII.
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// Id of a trace (16 bytes) or a span (8 bytes); shown as lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct HexId<const BYTES: usize>(pub [u8; BYTES]);

impl<const BYTES: usize> fmt::Display for HexId<BYTES> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The longest id has 16 bytes.
        let mut text = [0; 32];
        let text = &mut text[..2 * BYTES];
        write_hex(text, &self.0);
        f.write_str(str::from_utf8(text).unwrap_or_default())
    }
}

impl<const BYTES: usize> fmt::Debug for HexId<BYTES> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn write_hex(text: &mut [u8], bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

/// Reads lower-case hexadecimal digits, two for each byte.
fn hex<const BYTES: usize>(digits: &[u8]) -> Option<[u8; BYTES]> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; BYTES];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// Reads the values of all `tracestate` headers as one; returns `None` if they are not valid.
fn state<'a>(values: impl Iterator<Item = &'a [u8]>) -> Option<String> {
    let mut members: Vec<(&str, &str)> = Vec::new();
    for value in values {
        for member in str::from_utf8(value).ok()?.split(',') {
            let member = member.trim_matches([' ', '\t']);
            if member.is_empty() {
                continue;
            }
            let (key, text) = member.split_once('=')?;
            let is_new = members.iter().all(|(other, _)| *other != key);
            if !is_key(key) || !is_value(text) || !is_new {
                return None;
            }
            if members.len() == TRACESTATE_MEMBERS_MAX {
                return None;
            }
            members.push((key, text));
        }
    }
    let bytes = |(key, value): &(&str, &str)| key.len() + 1 + value.len();
    let total = |members: &[(&str, &str)]| members.iter().map(|member| bytes(member) + 1).sum();
    // The comma that `total` counts for the last member is not there.
    let is_over = |members: &[(&str, &str)]| {
        let total: usize = total(members);
        total > TRACESTATE_BYTES_MAX + 1
    };
    while is_over(&members) {
        let long = members
            .iter()
            .rposition(|member| bytes(member) > LONG_MEMBER_BYTES);
        members.remove(long.unwrap_or(members.len() - 1));
    }
    let members = members.iter().map(|(key, value)| format!("{key}={value}"));
    Some(members.collect::<Vec<_>>().join(","))
}

/// Returns true for a key of a `tracestate`: `vendor` or `tenant@vendor`.
fn is_key(key: &str) -> bool {
    let is_part = |part: &str| {
        part.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/".contains(&byte)
        })
    };
    let begins = |part: &str, digits: bool| {
        part.bytes()
            .next()
            .is_some_and(|first| first.is_ascii_lowercase() || (digits && first.is_ascii_digit()))
    };
    match key.split_once('@') {
        None => key.len() <= PART_BYTES_MAX && begins(key, false) && is_part(key),
        Some((tenant, vendor)) => {
            tenant.len() <= 241
                && vendor.len() <= 14
                && begins(tenant, true)
                && begins(vendor, false)
                && is_part(tenant)
                && is_part(vendor)
        }
    }
}

/// Returns true for a value of a `tracestate`; blanks around it have been removed.
fn is_value(value: &str) -> bool {
    let is_character = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'=';
    (1..=PART_BYTES_MAX).contains(&value.len()) && value.bytes().all(is_character)
}

/// Number of random numbers that are made from one request to the system.
const NUMBERS: usize = 32;

/// Returns a random number that is not zero. Ids only tell traces and spans apart, so a predictable
/// number is no risk.
fn random() -> u64 {
    thread_local! {
        /// Random numbers that have not been used yet.
        static RANDOM: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
    }
    let number = RANDOM.with_borrow_mut(|random| {
        if random.is_empty() {
            let mut bytes = [0; NUMBERS * size_of::<u64>()];
            if let Err(error) = getrandom::fill(&mut bytes) {
                tracing::error!(%error, "the machine has no random numbers; ids of spans are not unique");
            }
            let (numbers, _) = bytes.as_chunks();
            random.extend(numbers.iter().map(|number| u64::from_ne_bytes(*number)));
        }
        random.pop()
    });
    number.unwrap_or_default().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn parsed(text: &str) -> Option<TraceContext> {
        TraceContext::parse(text.as_bytes())
    }

    #[test]
    fn a_valid_traceparent_is_passed_on_as_it_is() {
        let trace = parsed(GOOD).unwrap();
        assert_eq!(trace.traceparent().as_str(), GOOD);
        assert_eq!(
            trace.trace_id().to_string(),
            "0af7651916cd43dd8448eb211c80319c"
        );
        assert_eq!(trace.span_id().to_string(), "b7ad6b7169203331");
        assert!(trace.is_sampled());
        // Flags that are not known are dropped; `sampled` is kept.
        for (flags, kept) in [("00", "00"), ("02", "00"), ("03", "01"), ("ff", "01")] {
            let trace = parsed(&format!("{}{flags}", &GOOD[..53])).unwrap();
            assert_eq!(&trace.traceparent().as_str()[53..], kept);
        }
        // A later version may be longer, and is answered in the one that is known.
        for later in ["cc", "01"] {
            for rest in ["", "-", "-what-the-future-holds"] {
                let trace = parsed(&format!("{later}{}{rest}", &GOOD[2..])).unwrap();
                assert_eq!(trace.traceparent().as_str(), GOOD, "{later} {rest}");
            }
        }
    }

    #[test]
    fn an_invalid_traceparent_is_none() {
        let replaced = |at: usize, text: &str| {
            let mut bad = GOOD.to_owned();
            bad.replace_range(at..at + text.len(), text);
            bad
        };
        let mut bad = vec![
            String::new(),
            GOOD[..54].to_owned(),
            format!("{GOOD}-"),
            format!("{GOOD}0"),
            format!("{GOOD}-00"),
            format!("01{}.later", &GOOD[2..]),
            format!("01{}0", &GOOD[2..]),
            format!(" {GOOD}"),
            GOOD.to_uppercase(),
            replaced(0, "ff"),
            replaced(0, "0g"),
            replaced(3, &"0".repeat(32)),
            replaced(36, &"0".repeat(16)),
            replaced(10, "A"),
            replaced(40, "+"),
            replaced(53, "0G"),
            GOOD.replace('-', "_"),
        ];
        bad.extend([2, 35, 52].map(|at| replaced(at, "0")));
        for bad in bad {
            assert!(parsed(&bad).is_none(), "{bad:?}");
        }
        assert!(TraceContext::parse(&[0xc3; 55]).is_none());
        assert!(TraceContext::parse(&[b'0'; 1 << 20]).is_none());
    }

    #[test]
    fn a_child_is_another_span_of_the_same_trace() {
        let trace = parsed(GOOD).unwrap().with_state([&b"a=1"[..]].into_iter());
        let child = trace.child();
        assert_eq!(child.trace_id(), trace.trace_id());
        assert_ne!(child.span_id(), trace.span_id());
        assert_eq!(
            (child.tracestate(), child.is_sampled()),
            (Some("a=1"), true)
        );
        let [one, other] = [TraceContext::begin(false), TraceContext::begin(false)];
        assert_ne!(one.trace_id(), other.trace_id());
        assert!(!one.is_sampled() && one.tracestate().is_none());
        assert_eq!(parsed(one.traceparent().as_str()), Some(one));
    }

    #[test]
    fn a_state_is_passed_on_if_it_is_valid() {
        let of = |values: &[&str]| {
            let values = values.iter().map(|value| value.as_bytes());
            let trace = parsed(GOOD).unwrap().with_state(values);
            trace.tracestate().map(str::to_owned)
        };
        let is = |values: &[&str], expected: &str| {
            assert_eq!(of(values).as_deref(), Some(expected), "{values:?}");
        };
        is(
            &["rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"],
            "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
        );
        is(&["a=1", "b=2"], "a=1,b=2");
        is(&[" a=1\t, ,\tb=x;y z ,"], "a=1,b=x;y z");
        is(&["0t-1@v_*/=1"], "0t-1@v_*/=1");
        let long = format!("a{}=1", "b".repeat(255));
        is(&[&long], &long);
        for bad in [
            "", ",", "a", "a=", "=1", "A=1", "1=1", "a=1=2", "a=\u{7f}", "a=ä", "a@=1", "@a=1",
            "a@1=1", "a=1,a=2",
        ] {
            assert_eq!(of(&[bad]), None, "{bad}");
        }
        assert_eq!(of(&[&format!("ab{}=1", "b".repeat(255))]), None);
        assert_eq!(of(&[&format!("a={}", "b".repeat(257))]), None);
        let trace = parsed(GOOD)
            .unwrap()
            .with_state([&b"a=\xff"[..]].into_iter());
        assert_eq!(trace.tracestate(), None);
    }

    #[test]
    fn a_state_is_bounded() {
        let of = |members: Vec<String>| {
            let state = members.join(",");
            let trace = parsed(GOOD)
                .unwrap()
                .with_state([state.as_bytes()].into_iter());
            trace.tracestate().map(str::to_owned)
        };
        let many = |number: usize| (0..number).map(|at| format!("k{at}=v")).collect::<Vec<_>>();
        assert_eq!(of(many(32)), Some(many(32).join(",")));
        assert_eq!(of(many(33)), None);
        // 512 bytes, to the byte.
        let full = |last: usize| {
            let mut members: Vec<_> = (0..4)
                .map(|at| format!("k{at}={}", "v".repeat(97)))
                .collect();
            members.push(format!("k={}", "v".repeat(last)));
            members
        };
        assert_eq!(
            of(full(106)).map(|state| state.len()),
            Some(TRACESTATE_BYTES_MAX)
        );
        assert_eq!(of(full(107)), Some(full(0)[..4].join(",")));
        // A long member goes first, wherever it is.
        let mut members = full(106);
        members.insert(1, format!("long={}", "v".repeat(124)));
        assert_eq!(of(members), Some(full(106).join(",")));
    }
}
