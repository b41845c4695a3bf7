//! Cuts a byte stream into lines of bounded length. No I/O.

/// Collects bytes until a line is complete or as long as a line may get.
#[derive(Debug)]
pub(crate) struct LineSplitter {
    partial: Vec<u8>,
    limit: usize,
}

impl LineSplitter {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            partial: Vec::new(),
            limit: limit.max(1),
        }
    }

    /// Takes `bytes` and hands each line that is complete, or full, to `sink`, without its line
    /// end.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut sink: impl FnMut(&[u8])) {
        while !bytes.is_empty() {
            let room = self.limit - self.partial.len();
            let window = &bytes[..bytes.len().min(room)];
            if let Some(end) = window.iter().position(|&byte| byte == b'\n') {
                self.emit(&bytes[..end], &mut sink);
                bytes = &bytes[end + 1..];
            } else if window.len() == room {
                self.emit(window, &mut sink);
                bytes = &bytes[window.len()..];
                // A line that is exactly full is one line, not a line and an empty one.
                bytes = bytes
                    .strip_prefix(b"\r\n")
                    .or_else(|| bytes.strip_prefix(b"\n"))
                    .unwrap_or(bytes);
            } else {
                self.partial.extend_from_slice(window);
                bytes = &[];
            }
        }
    }

    /// Hands out what is left at the end of the stream.
    pub(crate) fn finish(&mut self, mut sink: impl FnMut(&[u8])) {
        if !self.partial.is_empty() {
            self.emit(&[], &mut sink);
        }
    }

    fn emit(&mut self, tail: &[u8], sink: &mut impl FnMut(&[u8])) {
        if self.partial.is_empty() {
            sink(trim(tail));
        } else {
            self.partial.extend_from_slice(tail);
            sink(trim(&self.partial));
            self.partial = Vec::new();
        }
    }
}

fn trim(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::LineSplitter;

    fn lines(limit: usize, chunks: &[&str]) -> Vec<String> {
        let mut splitter = LineSplitter::new(limit);
        let mut found = Vec::new();
        let mut sink = |line: &[u8]| found.push(String::from_utf8_lossy(line).into_owned());
        for chunk in chunks {
            splitter.feed(chunk.as_bytes(), &mut sink);
        }
        splitter.finish(&mut sink);
        found
    }

    #[test]
    fn lines_come_out_whole_whatever_the_chunks() {
        assert_eq!(lines(16, &["a\nb\r\n\nc"]), ["a", "b", "", "c"]);
        assert_eq!(lines(16, &["a", "b\n", "c", "\n"]), ["ab", "c"]);
        assert_eq!(lines(16, &[]), [""; 0]);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        assert_eq!(lines(4, &["abcdefghij\nk"]), ["abcd", "efgh", "ij", "k"]);
        assert_eq!(lines(4, &["ab", "cdef", "\n"]), ["abcd", "ef"]);
        assert_eq!(lines(4, &["abcd\nef\n"]), ["abcd", "ef"]);
    }

    #[test]
    fn nothing_is_held_beyond_the_limit() {
        let mut splitter = LineSplitter::new(8);
        for _ in 0..1000 {
            splitter.feed(b"xyz", |line| assert!(line.len() <= 8));
            assert!(splitter.partial.len() < 8);
        }
    }
}
