//! The host's own endpoints: each row of [`gk_api::ENDPOINTS`] with its handler.

mod audit;
mod calls;
mod change;
mod control;
mod health;
mod host;
mod hosts;
mod jobs;
mod logs;
mod openapi;
mod packages;
mod plugins;
mod policy;
mod stats;
mod tokens;

use axum::Router;
use axum::extract::Request;
use axum::handler::Handler;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use gk_api::{ENDPOINTS, Endpoint, Method, Operation};

use crate::events;
use crate::gateway::Gateway;
use crate::problem::Problem;

/// Result of an endpoint's handler.
type Answer = Result<Response, Problem>;

/// Returns true for the paths that only report the host's health.
pub(crate) fn is_health(path: &str) -> bool {
    health_endpoints().any(|endpoint| endpoint.path == path)
}

fn health_endpoints() -> impl Iterator<Item = &'static Endpoint> {
    ENDPOINTS.iter().filter(|endpoint| {
        matches!(
            endpoint.operation,
            Operation::Live | Operation::Ready | Operation::Healthz | Operation::Metrics
        )
    })
}

/// Returns a router for all of the host's endpoints.
pub(crate) fn router() -> Router<Gateway> {
    route(ENDPOINTS.iter())
}

/// Returns a router for the endpoints that report the host's health.
pub(crate) fn health_router() -> Router<Gateway> {
    route(health_endpoints())
}

fn route(endpoints: impl Iterator<Item = &'static Endpoint>) -> Router<Gateway> {
    endpoints.fold(Router::new(), |router, endpoint| {
        let method_router = serve(endpoint);
        let method_router = match is_change(endpoint.operation) {
            true => method_router.layer(middleware::from_fn(to_the_end)),
            false => method_router,
        };
        router.route(endpoint.path, method_router)
    })
}

/// Returns true if the operation changes state of the host. Changes made by called plugins do not
/// count.
fn is_change(operation: Operation) -> bool {
    let is_call = matches!(operation, Operation::Call | Operation::EventTicket);
    operation.endpoint().method != Method::Get && !is_call
}

/// Completes a change with its line in the audit log, even if its client goes away meanwhile.
async fn to_the_end(request: Request, next: Next) -> Response {
    match tokio::spawn(next.run(request)).await {
        Ok(response) => response,
        Err(error) => {
            tracing::error!(%error, "a change failed; please report this");
            Problem::internal("the change failed; the host's log says why").into_response()
        }
    }
}

/// Returns the handler of an endpoint.
fn serve(endpoint: &Endpoint) -> MethodRouter<Gateway> {
    match endpoint.operation {
        Operation::Live => with(endpoint, async || "ok\n"),
        Operation::Ready | Operation::Healthz => with(endpoint, health::ready),
        Operation::Metrics => with(endpoint, health::metrics),
        Operation::OpenApi => with(endpoint, openapi::document),
        Operation::HostInfo => with(endpoint, host::info),
        Operation::ListHosts => with(endpoint, hosts::list),
        Operation::Doctor => with(endpoint, host::doctor),
        Operation::Audit => with(endpoint, audit::read),
        Operation::ListPlugins => with(endpoint, plugins::list),
        Operation::GetPlugin => with(endpoint, plugins::detail),
        Operation::Install => with(endpoint, packages::install),
        Operation::Uninstall => with(endpoint, packages::uninstall),
        Operation::Call => with(endpoint, calls::call),
        Operation::Widget => with(endpoint, calls::widget),
        Operation::Logs => with(endpoint, logs::logs),
        Operation::AllHealth => with(endpoint, control::all_health),
        Operation::Health => with(endpoint, control::health),
        Operation::AllStats => with(endpoint, stats::all),
        Operation::Stats => with(endpoint, stats::one),
        Operation::ReloadPlugin => with(endpoint, control::reload),
        Operation::RestartPlugin => with(endpoint, control::restart),
        Operation::EnablePlugin => with(endpoint, control::enable),
        Operation::DisablePlugin => with(endpoint, control::disable),
        Operation::ResetPlugin => with(endpoint, control::reset),
        Operation::RollBackPlugin => with(endpoint, control::roll_back),
        Operation::GetPolicy => with(endpoint, policy::show),
        Operation::SetPolicy => with(endpoint, policy::set),
        Operation::ResetPolicy => with(endpoint, policy::reset),
        Operation::DiffPolicy => with(endpoint, policy::diff),
        Operation::ListJobs => with(endpoint, jobs::list),
        Operation::ListRuns => with(endpoint, jobs::runs),
        Operation::RunJob => with(endpoint, jobs::run),
        Operation::SuspendJob => with(endpoint, jobs::suspend),
        Operation::ResumeJob => with(endpoint, jobs::resume),
        Operation::SetJob => with(endpoint, jobs::set),
        Operation::Events => with(endpoint, events::whole_plugin),
        Operation::EventTicket => with(endpoint, events::ticket),
        Operation::TicketChannel => with(endpoint, events::ticket_channel),
        Operation::Channel => with(endpoint, events::subscribe),
        Operation::ListTokens => with(endpoint, tokens::list),
        Operation::CreateToken => with(endpoint, tokens::create),
        Operation::DeleteToken => with(endpoint, tokens::delete),
    }
}

/// Returns a handler for its endpoint's method.
fn with<T: 'static>(
    endpoint: &Endpoint,
    handler: impl Handler<T, Gateway>,
) -> MethodRouter<Gateway> {
    let method = match endpoint.method {
        Method::Get => MethodFilter::GET,
        Method::Post => MethodFilter::POST,
        Method::Put => MethodFilter::PUT,
        Method::Delete => MethodFilter::DELETE,
    };
    on(method, handler)
}
