//! `send_email`.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use gk_hostapi::json::read;
use gk_hostapi::policy::Rate;
use gk_hostapi::{Granted, HostError, Method, MethodSpec, Service, ServiceMethod};
use gk_manifest::PermissionKind;
use serde::Deserialize;

use super::{Mail, Mailer};
use crate::wire::{OK, not_granted};

/// The service of `send_email`: a mailer, where a mail server is configured.
#[derive(Debug, Clone)]
pub struct Mailbox(pub Option<Arc<Mailer>>);

/// The method of the mailbox.
pub(crate) const METHODS: &[ServiceMethod<Mailbox>] = &[ServiceMethod::new(
    MethodSpec::needing(
        "send_email",
        PermissionKind::Email,
        None,
        "email access not granted",
    )
    .limited(Rate::Mail),
    |mailbox, granted, args| Box::pin(send(mailbox, granted, args)),
)];

impl Service for Mailbox {
    fn methods(self: Arc<Self>) -> Vec<Arc<dyn Method>> {
        ServiceMethod::all(METHODS, &self)
    }
}

#[derive(Deserialize)]
struct Email<'a> {
    #[serde(borrow)]
    to: Cow<'a, str>,
    #[serde(borrow, default)]
    subject: Cow<'a, str>,
    #[serde(borrow, default)]
    body: Cow<'a, str>,
    #[serde(default)]
    html: bool,
}

async fn send(mailbox: &Mailbox, granted: &Granted<'_>, args: Bytes) -> Result<Bytes, HostError> {
    let mail: Email<'_> = read(&args)?;
    let mailer = mailbox.0.as_ref().ok_or_else(|| {
        HostError::unavailable("email provider not configured; the operator sets [mail]")
    })?;
    let scope = granted.grants().email.as_ref().ok_or_else(not_granted)?;
    let mail = Mail {
        to: &mail.to,
        subject: &mail.subject,
        body: &mail.body,
        html: mail.html,
    };
    mailer.send(mail, scope, granted.deadline()).await?;
    Ok(OK)
}
