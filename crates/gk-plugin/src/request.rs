//! Parts of a request to a route that are not JSON: the body as bytes, and files.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::Error;

/// A file of a form (`multipart/form-data`).
///
/// A struct of arguments may name them: `#[serde(rename = "_files", default)] files:
/// Vec<UploadedFile>`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct UploadedFile {
    /// The field's name.
    pub name: String,
    /// Name of the file, as the client says; it can be anything, and is not a path to be trusted.
    pub filename: String,
    /// Content type, as the client says.
    pub content_type: String,
    /// Bytes of the file.
    #[serde(deserialize_with = "decoded")]
    pub data: Vec<u8>,
}

fn decoded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD.decode(text).map_err(serde::de::Error::custom)
}

/// A request to a route, as the argument of its function: whatever its body is.
///
/// ```
/// # use gk_plugin::{Context, Error, IncomingRequest};
/// async fn store(_: Context, request: IncomingRequest) -> Result<usize, Error> {
///     let id: i64 = request.value("id")?;
///     let bytes = request.body()?;
///     Ok(bytes.len() + usize::try_from(id).unwrap_or_default())
/// }
/// ```
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct IncomingRequest {
    values: Map<String, Value>,
}

impl IncomingRequest {
    /// A parameter of the path, the query, the form, or a member of a JSON body, as the type that
    /// is wanted: text is taken for a number, a truth value, a list of one.
    ///
    /// # Errors
    ///
    /// 400: there is none, or it is none of this type. Ask for an `Option` for what may be absent.
    pub fn value<T: DeserializeOwned>(&self, name: &str) -> Result<T, Error> {
        let value = self.values.get(name).unwrap_or(&Value::Null);
        crate::lenient::from_slice(value.to_string().as_bytes()).map_err(|error| {
            let text = match value {
                Value::Null => format!("{name} is missing"),
                _ => format!("{name}: {error}"),
            };
            Error::with_status(400, text)
        })
    }

    /// All of it as one type, as a function's argument.
    ///
    /// # Errors
    ///
    /// 400: it does not fit.
    pub fn into_values<T: DeserializeOwned>(self) -> Result<T, Error> {
        let json = Value::Object(self.values).to_string();
        crate::lenient::from_slice(json.as_bytes())
            .map_err(|error| Error::with_status(400, error.to_string()))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.as_str()
    }

    /// The body's bytes; empty where it was a JSON object or a form, whose parts are values.
    ///
    /// # Errors
    ///
    /// If the host's base64 is none.
    pub fn body(&self) -> Result<Vec<u8>, Error> {
        let body = self.text("_body").unwrap_or_default();
        match self.text("_body_encoding") {
            Some("base64") => Ok(STANDARD.decode(body)?),
            _ => Ok(body.as_bytes().to_vec()),
        }
    }

    /// The type of such a body, as the client names it.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.text("_content_type")
    }

    /// The files of a form.
    ///
    /// # Errors
    ///
    /// If they are not as the host writes them.
    pub fn files(&self) -> Result<Vec<UploadedFile>, Error> {
        match self.values.get("_files") {
            Some(files) => Ok(Vec::deserialize(files)?),
            None => Ok(Vec::new()),
        }
    }

    /// The method, in upper case.
    #[must_use]
    pub fn method(&self) -> &str {
        self.text("_method").unwrap_or_default()
    }

    /// Path of the request, as the client sent it.
    #[must_use]
    pub fn path(&self) -> &str {
        self.text("_path").unwrap_or_default()
    }

    /// The client's address, if it is known.
    #[must_use]
    pub fn client_ip(&self) -> Option<&str> {
        self.text("_client_ip")
    }

    /// The login of whoever asks; `None` for nobody who is known.
    #[must_use]
    pub fn user_login(&self) -> Option<&str> {
        self.text("_user_login")
    }

    /// Returns `true` if an administrator asks.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.values.get("_is_admin") == Some(&Value::Bool(true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn request(args: Value) -> IncomingRequest {
        serde_json::from_value(args).unwrap()
    }

    #[test]
    fn bodies_are_bytes() {
        let binary = request(json!({
            "_body": "/wA=", "_body_encoding": "base64", "_content_type": "image/png", "_method": "PUT",
        }));
        assert_eq!(binary.body().unwrap(), [0xff, 0]);
        assert_eq!(
            (binary.content_type(), binary.method()),
            (Some("image/png"), "PUT")
        );
        assert_eq!(request(json!({ "_body": "/wA=" })).body().unwrap(), b"/wA=");
        assert_eq!(request(json!({ "a": 1 })).body().unwrap(), b"");
        request(json!({ "_body": "?", "_body_encoding": "base64" }))
            .body()
            .unwrap_err();
    }

    #[test]
    fn files_and_values_are_typed() {
        let form = request(json!({
            "id": "5", "tags": "a", "_is_admin": true, "_client_ip": "192.0.2.1",
            "_files": [{ "name": "f", "filename": "a.bin", "content_type": "x/y", "size": 2, "data": "/wA=" }],
        }));
        let files = form.files().unwrap();
        assert_eq!(
            (&*files[0].filename, &*files[0].data),
            ("a.bin", &[0xff, 0][..])
        );
        assert_eq!(form.value::<u64>("id").unwrap(), 5);
        assert_eq!(form.value::<Vec<String>>("tags").unwrap(), ["a"]);
        assert_eq!(form.value::<Option<i64>>("none").unwrap(), None);
        assert_eq!(
            form.value::<i64>("none").unwrap_err().to_string(),
            "none is missing"
        );
        assert!(form.is_admin() && form.client_ip() == Some("192.0.2.1"));
        assert!(form.files().unwrap().len() == 1 && request(json!({})).files().unwrap().is_empty());
    }
}
