//! Rows as a JSON array of objects, within the limits of a result.

use std::collections::HashMap;
use std::ops::Range;

use bytes::Bytes;
use gk_hostapi::HostError;

use super::DbLimits;
use super::value::Json;

/// Room for the usual result of a row or two.
const OUT_BYTES: usize = 256;

/// Writes rows as they come.
#[derive(Debug)]
pub(super) struct Rows {
    out: Vec<u8>,
    /// `"name":` of each column that is written, one behind the other.
    keys: Vec<u8>,
    /// The place of each column's key; empty for a column that another of its name hides.
    columns: Vec<Range<usize>>,
    rows: usize,
    rows_max: usize,
    bytes_max: usize,
}

impl Rows {
    pub(super) fn new(limits: &DbLimits) -> Self {
        let mut out = Vec::with_capacity(OUT_BYTES);
        out.push(b'[');
        Self {
            out,
            keys: Vec::new(),
            columns: Vec::new(),
            rows: 0,
            rows_max: limits.max_rows,
            bytes_max: limits.max_result_bytes,
        }
    }

    /// The columns' names, before the first row.
    pub(super) fn columns<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) {
        let mut last = HashMap::new();
        for (index, name) in names.into_iter().enumerate() {
            let start = self.keys.len();
            Json(&mut self.keys).text(name);
            self.keys.push(b':');
            self.columns.push(start..self.keys.len());
            if let Some(hidden) = last.insert(name, index)
                && let Some(hidden) = self.columns.get_mut(hidden)
            {
                *hidden = 0..0;
            }
        }
    }

    /// A row, whose cells `cell` writes by index.
    pub(super) fn row(
        &mut self,
        mut cell: impl FnMut(usize, &mut Json<'_>) -> Result<(), HostError>,
    ) -> Result<(), HostError> {
        if self.rows == self.rows_max {
            return Err(HostError::limit(format!(
                "the result has more than {} rows (limit max_rows): ask for fewer with LIMIT",
                self.rows_max
            )));
        }
        if self.rows > 0 {
            self.out.push(b',');
        }
        self.rows += 1;
        self.out.push(b'{');
        let mut first = true;
        for (index, column) in self.columns.iter().enumerate() {
            let key = self.keys.get(column.clone()).unwrap_or_default();
            if key.is_empty() {
                continue;
            }
            if !first {
                self.out.push(b',');
            }
            first = false;
            self.out.extend_from_slice(key);
            cell(index, &mut Json(&mut self.out))?;
            // The closing bracket counts.
            if self.out.len() + 2 > self.bytes_max {
                return Err(HostError::limit(format!(
                    "the result has more than {} bytes (limit max_result_bytes): ask for less at \
                     a time",
                    self.bytes_max
                )));
            }
        }
        self.out.push(b'}');
        Ok(())
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.rows
    }

    pub(super) fn finish(mut self) -> Bytes {
        self.out.push(b']');
        self.out.into()
    }
}

/// The rest of a result's limits, for the next statements of a transaction.
#[derive(Debug)]
pub(super) struct Left {
    limits: DbLimits,
}

impl Left {
    pub(super) fn new(limits: &DbLimits) -> Self {
        let limits = limits.clone();
        Self { limits }
    }

    /// For the rows of the next statement.
    pub(super) fn rows(&self) -> Rows {
        Rows::new(&self.limits)
    }

    /// Takes the rows of a statement that is done.
    pub(super) fn take(&mut self, rows: Rows) -> Bytes {
        self.limits.max_rows = self.limits.max_rows.saturating_sub(rows.len());
        let rows = rows.finish();
        self.limits.max_result_bytes = self.limits.max_result_bytes.saturating_sub(rows.len());
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(max_rows: usize, max_result_bytes: usize) -> DbLimits {
        DbLimits {
            max_rows,
            max_result_bytes,
            ..DbLimits::default()
        }
    }

    #[test]
    fn the_last_column_of_a_name_is_kept() {
        let mut rows = Rows::new(&limits(10, 1000));
        rows.columns(["id", "b\"", "id", "a"]);
        for _ in 0..2 {
            rows.row(|index, json| {
                json.int(index.try_into().unwrap());
                Ok(())
            })
            .unwrap();
        }
        assert_eq!(
            rows.finish(),
            br#"[{"b\"":1,"id":2,"a":3},{"b\"":1,"id":2,"a":3}]"#[..]
        );
        assert_eq!(Rows::new(&limits(0, 10)).finish(), b"[]"[..]);
    }

    #[test]
    fn limits_hold_at_the_limit() {
        let write = |limits: DbLimits, count: usize| {
            let mut rows = Rows::new(&limits);
            rows.columns(["a"]);
            for _ in 0..count {
                rows.row(|_, json| {
                    json.int(1);
                    Ok(())
                })?;
            }
            Ok::<_, HostError>(rows.finish())
        };
        assert_eq!(write(limits(2, 1000), 2).unwrap().len(), 17);
        let error = write(limits(2, 1000), 3).unwrap_err();
        assert!(error.to_string().contains("max_rows"), "{error}");
        assert_eq!(write(limits(2, 17), 2).unwrap().len(), 17);
        let error = write(limits(2, 16), 2).unwrap_err();
        assert!(error.to_string().contains("max_result_bytes"), "{error}");
    }
}
