//! Handlers whose answers are counted, by address and status.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::extract::Request;
use axum::handler::Handler;
use axum::response::Response;

use crate::metrics::Endpoint;

/// A handler whose answers are counted at an address.
///
/// A layer around the routes would do the same, and would box each request's future and a copy
/// of the route once more.
#[derive(Debug, Clone)]
pub(crate) struct Counted<H> {
    handler: H,
    endpoint: Arc<Endpoint>,
}

impl<H> Counted<H> {
    pub(crate) const fn new(handler: H, endpoint: Arc<Endpoint>) -> Self {
        Self { handler, endpoint }
    }
}

impl<H, T, S> Handler<T, S> for Counted<H>
where
    H: Handler<T, S, Future: Unpin>,
{
    type Future = Answer<H::Future>;

    fn call(self, request: Request, state: S) -> Self::Future {
        Answer { coming: self.handler.call(request, state), endpoint: self.endpoint }
    }
}

/// An answer that is counted once it is there.
pub(crate) struct Answer<F> {
    coming: F,
    endpoint: Arc<Endpoint>,
}

impl<F: Future<Output = Response> + Unpin> Future for Answer<F> {
    type Output = Response;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Response> {
        let response = ready!(Pin::new(&mut self.coming).poll(context));
        self.endpoint.answered(response.status().as_u16());
        Poll::Ready(response)
    }
}
