//! Statements sent one behind the other, without waiting for the answers in between.

use std::collections::VecDeque;
use std::task::Poll;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error};

/// A parameter of a statement, with its type.
pub(crate) type Parameter<'a> = (Box<dyn ToSql + Sync + Send + 'a>, Type);

/// Makes a [`Parameter`].
pub(crate) fn parameter<'a>(value: impl ToSql + Sync + Send + 'a, kind: Type) -> Parameter<'a> {
    (Box::new(value), kind)
}

/// Statements under way on one connection. The server runs them in the order in which they were sent;
/// in a transaction nothing after a failure has an effect.
pub(crate) struct Pipeline<'a, L> {
    client: &'a Client,
    sent: VecDeque<(L, BoxFuture<'a, Result<u64, Error>>)>,
}

impl<'a, L> Pipeline<'a, L> {
    pub(crate) fn new(client: &'a Client) -> Self {
        Self { client, sent: VecDeque::new() }
    }

    /// Sends a statement; `label` comes back with its error.
    ///
    /// Statements are sent whole, with their types, instead of being prepared: that costs the server
    /// a tenth of a millisecond, needs no round trip, works through poolers and leaves no plan behind
    /// that was made while a table was small.
    pub(crate) async fn send(&mut self, label: L, sql: String, parameters: Vec<Parameter<'a>>) {
        let client = self.client;
        let answer = async move {
            let parameters: Vec<(&(dyn ToSql + Sync), Type)> =
                parameters.iter().map(|(value, kind)| (&**value as _, kind.clone())).collect();
            client.execute_typed(&sql, &parameters).await
        };
        self.start(label, answer.boxed()).await;
    }

    /// Sends statements without parameters.
    pub(crate) async fn send_plain(&mut self, label: L, sql: &'static str) {
        let client = self.client;
        let answer = async move { client.batch_execute(sql).await.map(|()| 0) };
        self.start(label, answer.boxed()).await;
    }

    /// The first poll sends; the answer is awaited later.
    async fn start(&mut self, label: L, mut answer: BoxFuture<'a, Result<u64, Error>>) {
        let answer = match futures::poll!(&mut answer) {
            // Only a connection that is gone answers at once; it is heard of in its turn.
            Poll::Ready(early) => std::future::ready(early).boxed(),
            Poll::Pending => answer,
        };
        self.sent.push_back((label, answer));
    }

    /// Waits for all answers; the first error is the one that counts.
    pub(crate) async fn finish(&mut self) -> Result<(), (L, Error)> {
        // In the order of sending: whatever fails behind the first fails because of it.
        while let Some((label, answer)) = self.sent.pop_front() {
            answer.await.map_err(|error| (label, error))?;
        }
        Ok(())
    }
}
