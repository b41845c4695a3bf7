//! Call tokens: what stands for a call in the requests that a plugin makes to its host.
//!
//! A token is an id, and behind a semicolon what the host tells about the call beside it:
//!
//! ```text
//! <id>[;traceparent=<value>[;tracestate=<value>]]
//! ```
//!
//! Plugins return the token as it is, so SDKs that know only the id need no change. The values are
//! those of the headers of W3C Trace Context. A host looks up the id alone, and believes nothing
//! of what a plugin sends behind it.

/// Maximum length of a token, in bytes. A longer one is of no call.
pub const CALL_TOKEN_BYTES_MAX: usize = 1024;

const TRACEPARENT: &str = "traceparent=";
const TRACESTATE: &str = "tracestate=";

/// Returns the token of a call with this id that belongs to a trace.
#[must_use]
pub fn traced(id: &str, traceparent: &str, tracestate: Option<&str>) -> String {
    let mut token = format!("{id};{TRACEPARENT}{traceparent}");
    if let Some(state) = tracestate {
        token.push(';');
        token.push_str(TRACESTATE);
        token.push_str(state);
    }
    token
}

/// Returns the id in a token: all of it but what is told beside it. `None` for a token of more
/// than [`CALL_TOKEN_BYTES_MAX`].
#[must_use]
pub fn id(token: &str) -> Option<&str> {
    if token.len() > CALL_TOKEN_BYTES_MAX {
        return None;
    }
    Some(token.split_once(';').map_or(token, |(id, _)| id))
}

/// Returns the value of the `traceparent` in a token, if the call belongs to a trace.
#[must_use]
pub fn traceparent(token: &str) -> Option<&str> {
    trace(token).map(|(parent, _)| parent)
}

/// Returns the value of the `tracestate` in a token, if there is one.
#[must_use]
pub fn tracestate(token: &str) -> Option<&str> {
    trace(token)?.1
}

/// Returns both values. The state is the last one, as it may contain semicolons.
fn trace(token: &str) -> Option<(&str, Option<&str>)> {
    let (_, told) = token.split_once(';')?;
    let values = told.strip_prefix(TRACEPARENT)?;
    Some(match values.split_once(';') {
        Some((parent, rest)) => (parent, rest.strip_prefix(TRACESTATE)),
        None => (values, None),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_is_told_is_read_back() {
        let token = traced("0123", PARENT, None);
        assert_eq!(token, format!("0123;traceparent={PARENT}"));
        assert_eq!(
            (id(&token), traceparent(&token)),
            (Some("0123"), Some(PARENT))
        );
        assert_eq!(tracestate(&token), None);

        let token = traced("0123", PARENT, Some("a=b;c=d,e=f"));
        assert_eq!(
            (id(&token), traceparent(&token)),
            (Some("0123"), Some(PARENT))
        );
        assert_eq!(tracestate(&token), Some("a=b;c=d,e=f"));
    }

    #[test]
    fn a_token_of_another_form_is_an_id_or_none() {
        for (token, of) in [
            ("", ""),
            ("0123", "0123"),
            ("0123;", "0123"),
            ("0123;x=y", "0123"),
        ] {
            assert_eq!(id(token), Some(of), "{token}");
            assert_eq!(
                (traceparent(token), tracestate(token)),
                (None, None),
                "{token}"
            );
        }
        let token = "0123;traceparent=x;other=y";
        assert_eq!((traceparent(token), tracestate(token)), (Some("x"), None));
        let most = format!("0123;{}", "x".repeat(CALL_TOKEN_BYTES_MAX - 5));
        assert_eq!(id(&most), Some("0123"));
        assert_eq!(id(&format!("{most}x")), None);
    }
}
