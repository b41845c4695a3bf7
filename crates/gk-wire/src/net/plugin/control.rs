//! The services that every plugin answers on its first stream.

use std::sync::Arc;

use tokio::sync::Notify;

use super::PluginSet;
use crate::net::{Broker, Request, Responder, Service};
use crate::rpc::Empty;

/// `Control` and `Dispenser`.
pub(super) struct Control {
    pub(super) plugins: PluginSet,
    pub(super) broker: Broker,
    pub(super) quit: Option<Arc<Notify>>,
}

impl Service for Control {
    fn call(&self, request: Request, responder: Responder) {
        match request.method.as_str() {
            "Control.Ping" => responder.reply(&Empty {}),
            "Control.Quit" => {
                responder.reply(&Empty {});
                match &self.quit {
                    Some(quit) => quit.notify_one(),
                    None => self.broker.shared.close("the host said quit"),
                }
            }
            "Dispenser.Dispense" => match request.body.decode::<String>() {
                Ok(name) => match self.plugins.get(&name) {
                    Some(factory) => {
                        let id = self.broker.next_id();
                        self.broker.serve(id, factory(&self.broker));
                        responder.reply(&id);
                    }
                    None => responder.error(&format!("unknown plugin type: {name}")),
                },
                Err(error) => responder.error(&error.to_string()),
            },
            method if method.starts_with("Control.") || method.starts_with("Dispenser.") => {
                responder.unknown_method()
            }
            _ => responder.unknown_service(),
        }
    }
}
