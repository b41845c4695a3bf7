//! How the types of this crate travel: one serde definition that JSON and gob both use.
//!
//! Every field is optional on the wire and every `null` means "not set": Go leaves zero values out
//! of gob, its `omitempty` leaves them out of JSON, and a nil slice without `omitempty` is `null`.
//! Integers are signed 64-bit, since gob does not convert between signed and unsigned, and texts
//! stay texts until [`crate::Registration::validate`] has looked at them, so that one bad duration
//! does not hide the other findings.

use serde::{Deserialize, Deserializer};

/// Reads a value, or the default in place of `null`.
pub(crate) fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Returns `true` if a value is the one a missing field has.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Declares structs whose fields are all public, optional on the wire, tolerant of `null`, and
/// omitted when zero.
macro_rules! wire_struct {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident {
            $( $(#[$field_meta:meta])* $field:ident: $type:ty, )*
        }
    )*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(default)]
        pub struct $name {
            $(
                $(#[$field_meta])*
                #[serde(
                    deserialize_with = "crate::wire::nullable",
                    skip_serializing_if = "crate::wire::is_default"
                )]
                pub $field: $type,
            )*
        }
    )*};
}
pub(crate) use wire_struct;
