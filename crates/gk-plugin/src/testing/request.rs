//! Requests to routes and widgets, and the arguments that a host makes of them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::route::{self, percent_decode};
use super::started::{Started, decode};
use super::state::Running;
use super::user::User;
use crate::Error;

#[derive(Debug, Default)]
enum Body {
    #[default]
    Nothing,
    Json(Result<Value, String>),
    /// Fields and files.
    Form(Vec<(String, String)>, Vec<Value>),
    Bytes(String, Bytes),
}

/// A request that is being put together. See [`TestPlugin::route`](super::TestPlugin::route).
#[derive(Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct TestRequest<'a> {
    plugin: &'a Started,
    method: String,
    path: String,
    /// The widget's id, where it is none of a route.
    widget: Option<String>,
    query: Vec<(String, String)>,
    body: Body,
    user: Option<User>,
    language: String,
    client_ip: Option<String>,
    request_id: String,
    trace: Option<(String, Option<String>)>,
}

impl<'a> TestRequest<'a> {
    pub(super) fn route(plugin: &'a Started, method: &str, path: &str) -> Self {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let plus = |text: &str| percent_decode(&text.replace('+', " "));
        let query = query.split('&').filter(|part| !part.is_empty());
        let query = query.map(|part| part.split_once('=').unwrap_or((part, "")));
        TestRequest {
            plugin,
            method: method.to_ascii_uppercase(),
            path: path.to_owned(),
            widget: None,
            query: query
                .map(|(name, value)| (plus(name), plus(value)))
                .collect(),
            body: Body::Nothing,
            user: None,
            language: "en".to_owned(),
            client_ip: Some("192.0.2.1".to_owned()),
            request_id: "testing".to_owned(),
            trace: None,
        }
    }

    pub(super) fn widget(plugin: &'a Started, id: &str) -> Self {
        let name = &plugin.registration.name;
        let path = format!("/api/v1/plugins/{name}/widgets/{id}");
        TestRequest {
            widget: Some(id.to_owned()),
            ..TestRequest::route(plugin, "GET", &path)
        }
    }

    /// Adds a value to the query. Several of one name become a list.
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.query.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends a value as JSON.
    pub fn json(mut self, value: &impl Serialize) -> Self {
        self.body = Body::Json(serde_json::to_value(value).map_err(|error| error.to_string()));
        self
    }

    /// Adds a field to a form. Several of one name become a list.
    pub fn form(self, name: &str, value: &str) -> Self {
        self.with_form(|fields, _| fields.push((name.to_owned(), value.to_owned())))
    }

    /// Adds a file to a form.
    pub fn file(self, name: &str, filename: &str, content_type: &str, data: &[u8]) -> Self {
        self.with_form(|_, files| {
            files.push(json!({
                "name": name, "filename": filename, "content_type": content_type,
                "size": data.len(), "data": STANDARD.encode(data),
            }));
        })
    }

    fn with_form(mut self, add: impl FnOnce(&mut Vec<(String, String)>, &mut Vec<Value>)) -> Self {
        let (mut fields, mut files) = match self.body {
            Body::Form(fields, files) => (fields, files),
            _ => Default::default(),
        };
        add(&mut fields, &mut files);
        self.body = Body::Form(fields, files);
        self
    }

    /// Sends bytes of a content type that is neither JSON nor a form.
    pub fn body(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.body = Body::Bytes(content_type.to_owned(), body.into());
        self
    }

    /// Makes a user ask. Without it nobody is known.
    pub fn as_user(mut self, user: User) -> Self {
        self.user = Some(user);
        self
    }

    /// Sets the client's language, such as `de`; English without it.
    pub fn language(mut self, tag: &str) -> Self {
        self.language = tag.to_owned();
        self
    }

    /// The client's address; without it 192.0.2.1.
    pub fn client_ip(mut self, address: &str) -> Self {
        self.client_ip = Some(address.to_owned());
        self
    }

    /// Sets the request's id in the logs; `testing` without it.
    pub fn request_id(mut self, id: &str) -> Self {
        id.clone_into(&mut self.request_id);
        self
    }

    /// Sets the place of the call in a trace: [`Context::traceparent`](crate::Context::traceparent)
    /// and [`Context::tracestate`](crate::Context::tracestate). Without it the call belongs to no
    /// trace.
    pub fn trace(mut self, traceparent: &str, tracestate: Option<&str>) -> Self {
        self.trace = Some((traceparent.to_owned(), tracestate.map(ToOwned::to_owned)));
        self
    }

    /// Sends the request: the route is found in the registration, its middleware is checked, and
    /// its function gets the arguments that a host makes of the request. The result is read as a
    /// `T`.
    ///
    /// # Errors
    /// The function's own, with its [status](Error::status) if it has one; without, a host answers
    /// 500. With the status of the host's answer, where a host would not call the plugin: 404 for a
    /// path without a route, or one that a host refuses to serve, 405 for another method, 401
    /// without a user, 403 for one who may not. A result that is no `T`.
    pub async fn send<T: DeserializeOwned>(self) -> Result<T, Error> {
        let (function, result) = self.answer().await?;
        decode(&function, &result)
    }

    /// Sends the request and returns the HTML of a widget or a page.
    ///
    /// # Errors
    /// As [`send`](Self::send); also a result without HTML.
    pub async fn html(self) -> Result<String, Error> {
        #[derive(serde::Deserialize)]
        struct Page {
            html: String,
        }
        self.send::<Page>().await.map(|page| page.html)
    }

    async fn answer(self) -> Result<(String, Bytes), Error> {
        let registration = &self.plugin.registration;
        let (function, params) = match &self.widget {
            Some(id) => {
                let widget = registration.widgets.iter().find(|widget| widget.id == *id);
                let widget = widget.ok_or_else(|| {
                    let name = &registration.name;
                    Error::with_status(404, format!("plugin \"{name}\" has no widget {id:?}"))
                })?;
                route::check_user(&["agent".to_owned()], self.user.as_ref())?;
                (widget.handler.clone(), Vec::new())
            }
            None => {
                let granted = &self.plugin.granted;
                let (spec, params) = route::find(registration, &self.method, &self.path)?;
                route::check_served(&registration.name, spec, granted)?;
                route::check_user(&spec.middleware, self.user.as_ref())?;
                (spec.handler.clone(), params)
            }
        };
        let skip_org = registration.skip_org_injection && self.widget.is_none();
        let args = self.arguments(&params, skip_org)?;
        let call = Running {
            function: function.clone(),
            language: Some(self.language),
            request_id: Some(self.request_id),
            trace: self.trace,
            user: self.user,
        };
        let result = self.plugin.run(call, args.into()).await?;
        Ok((function, result))
    }

    /// The arguments that a host gives to the function: query, body, parameters of the path, and
    /// its own envelope.
    fn arguments(&self, params: &[(String, String)], skip_org: bool) -> Result<Vec<u8>, Error> {
        let mut args = texts(&self.query);
        let mut rest = Map::new();
        match &self.body {
            Body::Nothing => {}
            Body::Json(Ok(Value::Object(members))) => args.extend(members.clone()),
            Body::Json(Ok(other)) => {
                rest.insert("_body".to_owned(), other.to_string().into());
                rest.insert("_content_type".to_owned(), "application/json".into());
            }
            Body::Json(Err(error)) => return Err(Error::new(format!("the body: {error}"))),
            Body::Form(fields, files) => {
                args.extend(texts(fields));
                if !files.is_empty() {
                    rest.insert("_files".to_owned(), files.clone().into());
                }
            }
            Body::Bytes(_, body) if body.is_empty() => {}
            Body::Bytes(content_type, body) => {
                rest.insert("_content_type".to_owned(), content_type.clone().into());
                match std::str::from_utf8(body) {
                    Ok(text) => rest.insert("_body".to_owned(), text.into()),
                    Err(_) => {
                        rest.insert("_body_encoding".to_owned(), "base64".into());
                        rest.insert("_body".to_owned(), STANDARD.encode(body).into())
                    }
                };
            }
        }
        args.retain(|name, _| {
            let is_param = |(param, _): &(String, String)| param.eq_ignore_ascii_case(name);
            !name.starts_with('_')
                && (skip_org || !name.eq_ignore_ascii_case("org_id"))
                && !params.iter().any(is_param)
        });
        for (name, value) in params {
            args.insert(name.clone(), value.clone().into());
        }
        args.extend(User::envelope(self.user.as_ref()));
        let told = [
            ("_method", Some(&self.method)),
            ("_path", Some(&self.path)),
            ("_lang", Some(&self.language)),
            ("_request_id", Some(&self.request_id)),
            ("_client_ip", self.client_ip.as_ref()),
        ];
        for (name, value) in told {
            if let Some(value) = value {
                args.insert(name.to_owned(), value.clone().into());
            }
        }
        args.extend(rest);
        Ok(serde_json::to_vec(&args)?)
    }
}

/// Values of a query or a form: one of a name is a text, several are a list.
fn texts(values: &[(String, String)]) -> Map<String, Value> {
    let mut args = Map::new();
    for (name, value) in values {
        let value = Value::from(value.clone());
        match args.get_mut(name) {
            None => {
                args.insert(name.clone(), value);
            }
            Some(Value::Array(several)) => several.push(value),
            Some(one) => *one = json!([one.take(), value]),
        }
    }
    args
}
