//! A namespace as an application writes it: handlers by event, middlewares around them. In reading
//! order: the builder, what a handler may be, what middlewares see, how an event runs.

mod builder;
mod call;
mod handlers;
mod middleware;
mod routes;

#[cfg(test)]
mod tests;

pub use builder::{Namespace, NamespaceError};
pub use call::{Call, Connect, Outcome};
pub use handlers::{
    ConnectHandler, DisconnectHandler, EventHandler, ExpireHandler, FromEvent, IntoOutcome, Reply,
    ServerHandler,
};
pub use middleware::{ConnectNext, EventNext, FromFn, FromFnLayer, Next, from_fn};
pub use routes::Routes;
