//! The tokio adapter: connections, streams, clients, servers.
//!
//! One driver task per connection reads the socket, takes frames apart and completes calls. Whoever has
//! something to send puts it into the shared state and, if nobody else is writing, writes it to the
//! socket right there, so a call needs no task switch on its way out and one wake-up on its way back.

mod broker;
mod driver;
mod linger;
mod recv;
mod rpc_client;
mod rpc_in;
mod rpc_server;
mod state;
mod stream;
mod transport;

pub mod host;
pub mod plugin;

pub use broker::Broker;
pub use rpc_client::{CallError, RpcClient};
pub use rpc_server::{Empty, Request, Responder, Service};
pub use state::Limits;
pub use stream::Stream;
pub use transport::Socket;
