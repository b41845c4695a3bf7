//! Server-sent events, taken apart.

/// One message of a stream of server-sent events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Event {
    /// Type of the event; `message` without one.
    pub(crate) kind: String,
    /// Number of the event, if it has one.
    pub(crate) id: String,
    /// Data of the event, lines separated by line feeds.
    pub(crate) data: String,
}

/// Takes a stream apart, as the HTML standard has it: lines end in LF, CR LF or CR; an empty one
/// ends an event; comments and unknown fields are left out.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    rest: Vec<u8>,
    event: Event,
    has_data: bool,
    after_cr: bool,
}

impl Parser {
    /// The events that are complete with these bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        for &byte in bytes {
            if std::mem::take(&mut self.after_cr) && byte == b'\n' {
                continue;
            }
            match byte {
                b'\r' | b'\n' => {
                    self.after_cr = byte == b'\r';
                    let line = std::mem::take(&mut self.rest);
                    events.extend(self.line(&String::from_utf8_lossy(&line)));
                }
                byte => self.rest.push(byte),
            }
        }
        events
    }

    fn line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let mut event = std::mem::take(&mut self.event);
            // The last id stays.
            self.event.id.clone_from(&event.id);
            if event.kind.is_empty() {
                event.kind = "message".to_owned();
            }
            return std::mem::take(&mut self.has_data).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.event.kind = value.to_owned(),
            "id" => self.event.id = value.to_owned(),
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.has_data = true;
                self.event.data.push_str(value);
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_the_same_however_they_are_cut() {
        let text = "event: log\r\nid: 7\r\ndata: one\r\ndata:two\r\n\r\n:comment\n\ndata: ü\n\nevent: empty\n\ndata\n\n";
        let expected = [
            ("log", "7", "one\ntwo"),
            ("message", "7", "ü"),
            ("message", "7", ""),
        ];
        for size in 1..=text.len() {
            let mut parser = Parser::default();
            let chunks = text.as_bytes().chunks(size);
            let events: Vec<_> = chunks.flat_map(|chunk| parser.push(chunk)).collect();
            let read: Vec<_> = events
                .iter()
                .map(|event| (&*event.kind, &*event.id, &*event.data))
                .collect();
            assert_eq!(read, expected, "{size}");
        }
    }
}
