//! Arguments of statements.

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};

use crate::db::value::Arg;

/// An argument as text: the server reads it as the type that its place in the statement has.
#[derive(Debug)]
pub(super) struct TextArg<'a>(pub(super) &'a Arg);

impl ToSql for TextArg<'_> {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self.0 {
            Arg::Null => return Ok(IsNull::Yes),
            Arg::Bool(value) => out.put_slice(if *value { b"true" } else { b"false" }),
            Arg::Int(value) => out.put_slice(value.to_string().as_bytes()),
            Arg::Unsigned(value) => out.put_slice(value.to_string().as_bytes()),
            Arg::Float(value) => out.put_slice(value.to_string().as_bytes()),
            Arg::Text(value) => out.put_slice(value.as_bytes()),
            Arg::Blob(value) => {
                out.put_slice(b"\\x");
                for byte in value {
                    out.put_slice(format!("{byte:02x}").as_bytes());
                }
            }
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}
