//! Call tokens: each running call has one, and a callback that names it is served in the call's
//! context.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use gk_hostapi::spans::ActiveSpan;
use gk_protocol::call_token;
use parking_lot::Mutex;
use smallvec::SmallVec;

use super::CallContext;

/// A call that is running, as a callback sees it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RunningCall {
    /// The function that was called.
    pub function: FunctionName,
    /// Time at which the caller gives up.
    pub deadline: Instant,
    /// Context from the caller.
    pub context: CallContext,
}

/// Name of a function, at most [`FUNCTION_BYTES_MAX`](crate::limits::FUNCTION_BYTES_MAX) bytes;
/// kept in place when it is short.
#[derive(Clone, PartialEq, Eq)]
pub struct FunctionName(SmallVec<[u8; 64]>);

impl FunctionName {
    pub(crate) fn new(name: &str) -> Self {
        Self(SmallVec::from_slice(name.as_bytes()))
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        // The bytes were copied from a `str`.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for FunctionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// Number of parts of the map of running calls, each with its own lock.
const SHARDS: usize = 16;
/// Hex characters of a token's id: a random half that belongs to the process, and a counter.
const TOKEN_LEN: usize = 32;

/// The running calls of one plugin process, by token.
#[derive(Debug)]
pub(crate) struct Calls {
    prefix: [u8; TOKEN_LEN / 2],
    next: AtomicU64,
    shards: [Mutex<HashMap<u64, RunningCall>>; SHARDS],
}

impl Calls {
    pub(crate) fn new() -> Self {
        let random = getrandom::u64().unwrap_or_else(|_| {
            // Tokens are looked up among one process's own calls only, so a guessed one gives the
            // process no access it does not have.
            u64::from(std::process::id()) << 32 | u64::from(Instant::now().elapsed().subsec_nanos())
        });
        Self {
            prefix: hex(random),
            next: AtomicU64::new(1),
            shards: Default::default(),
        }
    }

    /// Registers a call, with its span if that is recorded.
    pub(crate) fn begin(&self, call: RunningCall, span: Option<ActiveSpan>) -> Ticket<'_> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut id = [0; TOKEN_LEN];
        id[..TOKEN_LEN / 2].copy_from_slice(&self.prefix);
        id[TOKEN_LEN / 2..].copy_from_slice(&hex(number));
        let traced = call.context.trace.as_ref().map(|trace| {
            let parent = trace.traceparent();
            Box::new(Traced {
                token: call_token::traced(text(&id), parent.as_str(), trace.tracestate()),
                span,
            })
        });
        self.shard(number).lock().insert(number, call);
        Ticket {
            calls: self,
            number,
            id,
            traced,
        }
    }

    /// Returns the running call that a token belongs to. The token's id counts and nothing behind
    /// it: the trace of the call is what the host knows of it.
    pub(crate) fn resolve(&self, token: &str) -> Option<RunningCall> {
        let id = call_token::id(token)?;
        let number = id.as_bytes().strip_prefix(&self.prefix)?;
        if number.len() != TOKEN_LEN / 2
            || !number
                .iter()
                .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
        {
            return None;
        }
        let number = u64::from_str_radix(std::str::from_utf8(number).ok()?, 16).ok()?;
        self.shard(number).lock().get(&number).cloned()
    }

    fn shard(&self, number: u64) -> &Mutex<HashMap<u64, RunningCall>> {
        // The remainder is below SHARDS.
        &self.shards[usize::try_from(number % SHARDS as u64).unwrap_or_default()]
    }

    /// The latest deadline of all calls that run at this moment.
    pub(crate) fn latest_deadline(&self) -> Option<Instant> {
        let latest = |shard: &Mutex<HashMap<u64, RunningCall>>| {
            shard.lock().values().map(|call| call.deadline).max()
        };
        self.shards.iter().filter_map(latest).max()
    }

    /// Returns all calls that run at this moment.
    pub(crate) fn running(&self) -> Vec<RunningCall> {
        let shards = self.shards.iter();
        shards
            .flat_map(|shard| shard.lock().values().cloned().collect::<Vec<_>>())
            .collect()
    }
}

/// A registered call; its token is valid until it is dropped.
pub(crate) struct Ticket<'a> {
    calls: &'a Calls,
    number: u64,
    id: [u8; TOKEN_LEN],
    traced: Option<Box<Traced>>,
}

/// What a call that belongs to a trace has beside its id. Boxed, as tickets lie in the futures of
/// all calls.
struct Traced {
    /// The token; that of other calls is the id.
    token: String,
    span: Option<ActiveSpan>,
}

impl Ticket<'_> {
    pub(crate) fn token(&self) -> &str {
        let traced = self.traced.as_deref();
        traced.map_or(text(&self.id), |traced| &traced.token)
    }

    /// Returns the span of the call, if it is recorded.
    pub(crate) fn take_span(&mut self) -> Option<ActiveSpan> {
        self.traced.as_deref_mut()?.span.take()
    }
}

/// Returns a token's id as text; it is made of ASCII alone.
fn text(id: &[u8; TOKEN_LEN]) -> &str {
    std::str::from_utf8(id).unwrap_or_default()
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.calls.shard(self.number).lock().remove(&self.number);
    }
}

fn hex(value: u64) -> [u8; 16] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 16];
    for (place, byte) in text.chunks_exact_mut(2).zip(value.to_be_bytes()) {
        place[0] = DIGITS[usize::from(byte >> 4)];
        place[1] = DIGITS[usize::from(byte & 15)];
    }
    text
}

#[cfg(test)]
mod tests {
    use gk_hostapi::TraceContext;
    use gk_protocol::call_token::CALL_TOKEN_BYTES_MAX;

    use super::*;

    fn call(function: &str) -> RunningCall {
        RunningCall {
            function: FunctionName::new(function),
            deadline: Instant::now(),
            context: CallContext::new(),
        }
    }

    #[test]
    fn a_token_is_valid_while_its_call_runs() {
        let calls = Calls::new();
        let ticket = calls.begin(call("one"), None);
        let token = ticket.token().to_owned();
        assert_eq!(token.len(), 32);
        assert!(token.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(calls.resolve(&token).unwrap().function.as_str(), "one");
        let other = calls.begin(call("two"), None);
        assert_ne!(other.token(), token);
        drop(ticket);
        assert!(calls.resolve(&token).is_none());
        assert_eq!(calls.running().len(), 1);
        let running = calls.running();
        assert_eq!(calls.latest_deadline(), Some(running[0].deadline));
        let mut last = call("three");
        last.deadline += std::time::Duration::from_secs(1);
        let latest = last.deadline;
        let ticket = calls.begin(last, None);
        assert_eq!(calls.latest_deadline(), Some(latest));
        drop(ticket);
        assert_eq!(calls.latest_deadline(), Some(running[0].deadline));
        assert_eq!(Calls::new().latest_deadline(), None);
        // Tokens of another process, and malformed ones.
        assert!(Calls::new().resolve(other.token()).is_none());
        for bad in [
            "",
            "x",
            &token[..31],
            &format!("{token}0"),
            &other.token().to_uppercase(),
            &other.token().replace('0', "+"),
        ] {
            assert!(calls.resolve(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn the_id_alone_says_which_call_it_is() {
        let calls = Calls::new();
        let mut traced = call("traced");
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let trace = TraceContext::parse(parent.as_bytes()).unwrap();
        traced.context = CallContext::new().with_trace(trace);
        let ticket = calls.begin(traced, None);
        let (id, told) = ticket.token().split_once(';').unwrap();
        assert_eq!((id.len(), told), (32, &*format!("traceparent={parent}")));
        let most = CALL_TOKEN_BYTES_MAX - id.len() - 1;
        let forged = "traceparent=00-ffffffffffffffffffffffffffffffff-ffffffffffffffff-00";
        for behind in [told, "", "nothing known", forged, &"x".repeat(most)] {
            let found = calls.resolve(&format!("{id};{behind}")).unwrap();
            let trace = found.context.trace.unwrap();
            assert_eq!(trace.traceparent().as_str(), parent, "{behind}");
        }
        assert!(calls.resolve(id).is_some());
        // An SDK that returns something else than the token has none.
        assert!(
            calls
                .resolve(&format!("{id};{}", "x".repeat(most + 1)))
                .is_none()
        );
        assert_eq!(calls.begin(call("other"), None).token().len(), 32);
        assert!(calls.resolve(&format!("x{id};{told}")).is_none());
        assert!(calls.resolve(&format!(";{}", ticket.token())).is_none());
    }
}
