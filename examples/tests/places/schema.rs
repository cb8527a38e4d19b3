//! A schema of a test's own in Postgres.

use rtbflow::{Clock, SystemClock};
use rtbflow_sinks::postgres::Postgres;
use tokio_postgres::{Client, NoTls};

pub(crate) struct Schema {
    name: String,
    pub(crate) reader: Client,
}

fn server() -> String {
    std::env::var("RTBFLOW_TEST_POSTGRES")
        .expect("RTBFLOW_TEST_POSTGRES is not set: run ./dev test")
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

impl Schema {
    pub(crate) async fn new(what: &str) -> Self {
        let now = SystemClock.now().as_millis();
        let name = format!("rtbflow_test_{what}_{}_{now}", std::process::id());
        connect(&server()).await.batch_execute(&format!("create schema {name}")).await.unwrap();
        let reader = connect(&url(&name)).await;
        Self { name, reader }
    }

    /// An instance's own way to the place.
    pub(crate) fn place(&self) -> Postgres {
        Postgres::connect_to(&url(&self.name)).create_tables(true).build().unwrap()
    }

    /// The rows of a statement as text, in its order.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<String> {
        let rows = self.reader.query(&format!("select row::text from ({sql}) row"), &[]).await;
        rows.unwrap().iter().map(|row| row.get(0)).collect()
    }

    /// Drops it, at the end of a test that went well.
    pub(crate) async fn clean(self) {
        self.reader.batch_execute(&format!("drop schema {} cascade", self.name)).await.unwrap();
    }
}

fn url(schema: &str) -> String {
    let url = server();
    let behind = if url.contains('?') { '&' } else { '?' };
    format!("{url}{behind}options=-c%20search_path%3D{schema}")
}
