//! Parser of forms with files (`multipart/form-data`).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::value::{File, Value};
use crate::problem::Problem;

/// Maximum number of parts of a form, fields and files together.
const PARTS_MAX: usize = 1000;

/// Maximum number of files of a form.
const FILES_MAX: usize = 100;

/// Maximum length of the name of a field or a file, in bytes.
const NAME_BYTES_MAX: usize = 1024;

/// A parsed form.
#[derive(Debug, Default)]
pub(super) struct Form {
    /// Fields by name: a single value is a string, several of one name are an array.
    pub(super) fields: BTreeMap<Cow<'static, str>, Value<'static>>,
    pub(super) files: Vec<File>,
}

/// Parses a body. A part with a filename is a file, and so is one that is not UTF-8; all others are
/// fields.
///
/// # Errors
/// 400 for a body that is not such a form, or has too many parts or too long names.
pub(super) fn read(content_type: &str, body: &Bytes) -> Result<Form, Problem> {
    let boundary = multer::parse_boundary(content_type).map_err(|error| wrong(&error))?;
    let mut parts = multer::Multipart::new(Whole(Some(body.clone())), boundary);
    let reading = std::pin::pin!(read_parts(&mut parts));
    // The whole body is in memory, so the future never waits for data.
    match reading.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(form) => form,
        Poll::Pending => Err(Problem::bad_request(
            "the multipart body ends before its last boundary",
        )),
    }
}

fn wrong(error: &multer::Error) -> Problem {
    Problem::bad_request(format!("the multipart body cannot be read: {error}"))
}

async fn read_parts(parts: &mut multer::Multipart<'_>) -> Result<Form, Problem> {
    let mut texts: BTreeMap<String, Vec<Cow<'static, str>>> = BTreeMap::new();
    let mut files = Vec::new();
    let mut count = 0;
    while let Some(part) = parts.next_field().await.map_err(|error| wrong(&error))? {
        count += 1;
        if count > PARTS_MAX {
            let text = format!("the multipart body has more than {PARTS_MAX} parts");
            return Err(Problem::bad_request(text));
        }
        let name = part.name().unwrap_or_default().to_owned();
        let filename = part.file_name().map(str::to_owned);
        let longest = name.len().max(filename.as_ref().map_or(0, String::len));
        if longest > NAME_BYTES_MAX {
            let text = format!("a part's name has more than {NAME_BYTES_MAX} bytes");
            return Err(Problem::bad_request(text));
        }
        let content_type = part.content_type().map(ToString::to_string);
        let data = part.bytes().await.map_err(|error| wrong(&error))?;
        match (&filename, std::str::from_utf8(&data)) {
            (None, Ok(text)) => texts
                .entry(name)
                .or_default()
                .push(Cow::Owned(text.to_owned())),
            _ if files.len() >= FILES_MAX => {
                let text = format!("the multipart body has more than {FILES_MAX} files");
                return Err(Problem::bad_request(text));
            }
            _ => files.push(File {
                name,
                filename: filename.unwrap_or_default(),
                content_type: content_type.unwrap_or_else(|| "application/octet-stream".to_owned()),
                data,
            }),
        }
    }
    let fields = texts
        .into_iter()
        .map(|(name, texts)| (Cow::Owned(name), Value::of_texts(texts)));
    Ok(Form {
        fields: fields.collect(),
        files,
    })
}

/// A stream of a whole body.
struct Whole(Option<Bytes>);

impl futures_core::Stream for Whole {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.take().map(Ok))
    }
}
