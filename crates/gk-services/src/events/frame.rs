//! Events as browsers read them (`text/event-stream`, HTML standard, 9.2).

use super::Event;

/// Writes an event for a stream of server-sent events: its id, its type and its data.
///
/// The data is split at every line end the standard knows (LF, CR, CR LF), a `data:` line for each
/// part: the browser joins them with LF, and nothing in the data can begin a field or an event of
/// its own. A type never holds a line end; [`Events`](super::Events) refuses those.
#[must_use]
pub fn frame(event: &Event) -> String {
    let data = event.data();
    let mut frame = String::with_capacity(data.len() + event.event_type().len() + 48);
    frame.push_str("id: ");
    frame.push_str(&event.id().to_string());
    frame.push_str("\nevent: ");
    frame.push_str(event.event_type());
    let mut rest = data;
    loop {
        frame.push_str("\ndata: ");
        let Some(end) = rest.find(['\n', '\r']) else {
            frame.push_str(rest);
            break;
        };
        frame.push_str(&rest[..end]);
        let line_end = if rest[end..].starts_with("\r\n") {
            2
        } else {
            1
        };
        rest = &rest[end + line_end..];
    }
    frame.push_str("\n\n");
    frame
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    /// What a browser makes of a stream, by the rules of the standard.
    fn browser(stream: &str) -> Vec<(String, String, String)> {
        let stream = stream.replace("\r\n", "\n").replace('\r', "\n");
        let (mut id, mut kind, mut data) = (String::new(), String::new(), String::new());
        let mut events = Vec::new();
        for line in stream.split('\n') {
            if line.is_empty() {
                if !data.is_empty() {
                    data.pop();
                    events.push((
                        id.clone(),
                        std::mem::take(&mut kind),
                        std::mem::take(&mut data),
                    ));
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => value.clone_into(&mut id),
                "event" => value.clone_into(&mut kind),
                "data" => {
                    data.push_str(value);
                    data.push('\n');
                }
                _ => {}
            }
        }
        events
    }

    fn naive(event: &Event) -> String {
        format!("event: {}\ndata: {}\n\n", event.event_type(), event.data())
    }

    #[test]
    fn data_stays_data() {
        for (data, expected) in [
            ("plain", "plain"),
            ("", ""),
            (" two", " two"),
            ("a\nb", "a\nb"),
            ("a\rb", "a\nb"),
            ("a\r\nb", "a\nb"),
            ("a\n\nb", "a\n\nb"),
            ("a\n", "a\n"),
            ("\u{2028}x\u{2029}\u{85}", "\u{2028}x\u{2029}\u{85}"),
            (
                "x\n\nevent: forged\ndata: y\n\n",
                "x\n\nevent: forged\ndata: y\n\n",
            ),
            (
                "x\r\revent: forged\rdata: y\r\r",
                "x\n\nevent: forged\ndata: y\n\n",
            ),
            ("x\nid: 99\nretry: 1", "x\nid: 99\nretry: 1"),
            (": comment", ": comment"),
        ] {
            let event = Event::new(7, "tick", data, &Arc::default());
            let seen = browser(&frame(&event));
            assert_eq!(
                seen,
                [("7".to_owned(), "tick".to_owned(), expected.to_owned())],
                "{data:?}"
            );
        }
        // Upstream's way of writing it lets a second event in.
        let forged = Event::new(7, "tick", "x\n\nevent: forged\ndata: y", &Arc::default());
        let seen = browser(&naive(&forged));
        assert_eq!((seen.len(), seen[1].1.as_str()), (2, "forged"));
    }

    proptest! {
        #[test]
        fn one_event_in_one_event_out(data in "(\\PC|[\\r\\n:]|data|event|id| ){0,40}") {
            let seen = browser(&frame(&Event::new(1, "t", &data, &Arc::default())));
            let expected = data.replace("\r\n", "\n").replace('\r', "\n");
            prop_assert_eq!(seen, vec![("1".to_owned(), "t".to_owned(), expected)]);
        }
    }
}
