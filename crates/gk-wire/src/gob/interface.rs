//! Interface values: what Go keeps in an `interface{}`.

use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeOwned, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::decode::{Decoder, Message};
use super::encode::Encoder;
use super::passing::{self, Passing};
use super::reader::Part;
use super::ser::{self, Dynamic};
use super::types::Out;
use super::{Error, Limits, Value, copy};

/// A Go `interface{}`, or any other interface: nothing, or a value with the name of its concrete
/// type.
///
/// Go finds the concrete type by the name under which it was registered on both sides:
/// `gob.Register(Circle{})` in package main makes it `"main.Circle"`, in another one the package's
/// import path stands ahead of the point. Types that Go registers by itself have [`From`]
/// conversions: the sized numbers, `bool`, `string` and `[]byte`. A Go `int` is
/// `Interface::new("int", 5_i64)`.
///
/// ```
/// use gk_wire::gob::Interface;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Default, Serialize, Deserialize)]
/// #[serde(default)]
/// struct Circle {
///     radius: f64,
/// }
///
/// let shape = Interface::new("main.Circle", Circle { radius: 2.0 });
/// assert_eq!(shape.name(), Some("main.Circle"));
/// let circle: Circle = shape.decode()?;
/// assert_eq!(circle.radius, 2.0);
/// # Ok::<(), gk_wire::gob::Error>(())
/// ```
///
/// An interface that was received can be sent on as it is, without a Rust type for what it holds.
/// Formats other than gob have no form for an interface; they refuse it.
#[derive(Clone, Default)]
pub struct Interface(Option<Arc<Held>>);

struct Held {
    name: Box<str>,
    value: Concrete,
}

enum Concrete {
    /// A value of this program.
    Own(Box<dyn Own>),
    /// A value that a peer has sent.
    Received(Part),
}

/// The abilities that an interface needs of the Rust value in it.
trait Own: Send + Sync {
    fn write(&self, out: &mut Out<'_>) -> Result<(), Error>;
    fn message(&self) -> Result<Message, Error>;
}

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Own for T {
    fn write(&self, out: &mut Out<'_>) -> Result<(), Error> {
        let known = out.types.of::<T>(out.sink)?;
        ser::write_within(&known, out, |writer| self.serialize(writer))
    }

    fn message(&self) -> Result<Message, Error> {
        let mut bytes = Vec::new();
        Encoder::new().encode(self, &mut bytes)?;
        // Values of this program itself have no limit.
        let limits = Limits {
            max_message_bytes: usize::MAX,
            max_elements: usize::MAX,
            ..Limits::default()
        };
        let message = Decoder::new(limits).next(&mut bytes.into())?;
        message.ok_or(Error::UnexpectedEnd)
    }
}

impl Interface {
    /// A nil interface.
    #[must_use]
    pub fn nil() -> Self {
        Self::default()
    }

    /// An interface that holds `value`, whose Go type is registered under this name.
    ///
    /// The name has 1 to 1024 bytes; with another one the interface cannot be encoded.
    pub fn new<T>(name: impl Into<String>, value: T) -> Self
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        Self::holding(name.into(), Concrete::Own(Box::new(value)))
    }

    fn holding(name: String, value: Concrete) -> Self {
        Interface(Some(Arc::new(Held {
            name: name.into(),
            value,
        })))
    }

    /// Returns `true` if the interface is nil.
    #[must_use]
    pub fn is_nil(&self) -> bool {
        self.0.is_none()
    }

    /// The name under which the concrete type is registered; `None` for nil.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.0.as_ref().map(|held| &*held.name)
    }

    /// The value that it holds.
    ///
    /// # Errors
    ///
    /// If the interface is nil, or its value does not fit `T`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, Error> {
        self.message()?.decode()
    }

    /// The value that it holds as a tree, without a Rust type for it; [`Value::Nil`] for nil.
    ///
    /// # Errors
    ///
    /// If the value is malformed, or gob has no form for it.
    pub fn value(&self) -> Result<Value, Error> {
        match self.is_nil() {
            true => Ok(Value::Nil),
            false => self.message()?.value(),
        }
    }

    fn message(&self) -> Result<Message, Error> {
        match self.0.as_deref().map(|held| &held.value) {
            Some(Concrete::Own(value)) => value.message(),
            Some(Concrete::Received(part)) => Ok(Message(part.clone())),
            None => Err(Error::Mismatch {
                expected: "a value",
                found: "nil interface",
            }),
        }
    }
}

impl Dynamic for Held {
    fn name(&self) -> &str {
        &self.name
    }

    fn write(&self, out: &mut Out<'_>) -> Result<(), Error> {
        match &self.value {
            Concrete::Own(value) => value.write(out),
            Concrete::Received(part) => copy::interface(&mut part.reader(), part.id, out),
        }
    }
}

impl fmt::Debug for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.debug_tuple("Interface").field(&name).finish(),
            None => f.write_str("Interface(nil)"),
        }
    }
}

macro_rules! basic {
    ($($rust:ty as $go:literal),* $(,)?) => {$(
        impl From<$rust> for Interface {
            #[doc = concat!("An interface that holds a Go `", $go, "`.")]
            fn from(value: $rust) -> Self {
                Interface::new($go, value)
            }
        }
    )*};
}

basic! {
    bool as "bool",
    i8 as "int8", i16 as "int16", i32 as "int32", i64 as "int64",
    u8 as "uint8", u16 as "uint16", u32 as "uint32", u64 as "uint64",
    f32 as "float32", f64 as "float64",
    String as "string",
}

impl From<&str> for Interface {
    /// An interface that holds a Go `string`.
    fn from(value: &str) -> Self {
        value.to_owned().into()
    }
}

impl From<super::Payload> for Interface {
    /// An interface that holds a Go `[]byte`.
    fn from(value: super::Payload) -> Self {
        Interface::new("[]uint8", value)
    }
}

/// The form of an interface in formats other than gob.
struct NoForm;

impl Serialize for NoForm {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom(
            "an interface value has a form in gob alone; decode it first",
        ))
    }
}

impl Serialize for Interface {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let held = self.0.clone().map(|held| held as Arc<dyn Dynamic>);
        ser::serialize_dynamic(held, serializer, &NoForm)
    }
}

impl<'de> Deserialize<'de> for Interface {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collected;

        impl<'de> Visitor<'de> for Collected {
            type Value = Interface;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a gob interface")
            }

            fn visit_unit<E>(self) -> Result<Interface, E> {
                match passing::collect() {
                    Some(Passing::Received(name, part)) => {
                        Ok(Interface::holding(name, Concrete::Received(part)))
                    }
                    _ => Ok(Interface::nil()),
                }
            }
        }

        deserializer.deserialize_newtype_struct(passing::INTERFACE, Collected)
    }
}
