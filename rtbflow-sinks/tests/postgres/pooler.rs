//! The same through PgBouncer, with its default settings, in both ways of pooling.

use std::process::{Command, Stdio};
use std::time::Duration;

use rtbflow::epoch::Anchor;
use rtbflow::testing::laws;
use rtbflow_sinks::postgres::{Postgres, Records};

use super::laws::{NUMBERS, Place};
use super::schema::{Owner, Schema, job, one, record, server};
use super::standby::is_root;

/// A PgBouncer of its own before the tests' server; it ends with this value.
struct Pooler {
    process: std::process::Child,
    port: u16,
    folder: std::path::PathBuf,
}

impl Pooler {
    async fn start(schema: &Schema, mode: &str) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = std::env::temp_dir().join(format!("{}_{mode}", schema.name));
        std::fs::create_dir(&folder).unwrap();
        let file = folder.join("pgbouncer.ini");
        // Pooled sessions are held for as long as their clients live: the laws open more than the 20 of
        // the default. Transactions need no more than that.
        let size = if mode == "session" { 60 } else { 20 };
        let (host, behind) =
            server().rsplit_once(':').map(|(h, p)| (h.to_owned(), p.to_owned())).unwrap();
        let config = format!(
            "[databases]\n* = host={host} port={behind} user=rtbflow\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
             pool_mode = {mode}\ndefault_pool_size = {size}\n"
        );
        std::fs::write(&file, config).unwrap();
        let process = run(&file);
        let pooler = Self { process, port, folder };
        let mut attempts = 0;
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            attempts += 1;
            assert!(attempts < 500, "PgBouncer does not answer: is it installed?");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        pooler
    }

    fn place(&self, schema: &Schema) -> rtbflow_sinks::postgres::Options {
        schema.options_by(&format!("127.0.0.1:{}", self.port))
    }
}

/// PgBouncer refuses to run as root, where the tests may be.
fn run(file: &std::path::Path) -> std::process::Child {
    // Where Debian puts it, which is not in everybody's path.
    let there = std::path::Path::new("/usr/sbin/pgbouncer").exists();
    let program = if there { "/usr/sbin/pgbouncer" } else { "pgbouncer" };
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "nobody", "--clear-groups", program]);
        command
    } else {
        Command::new(program)
    };
    command.arg("-q").arg(file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("PgBouncer is not installed: ./dev test installs it")
}

impl Drop for Pooler {
    fn drop(&mut self) {
        // A test that is failing already says more.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn keeps_the_laws(mode: &str) {
    let schema = Schema::new().await;
    let pooler = Pooler::start(&schema, mode).await;
    let postgres = pooler.place(&schema).build().unwrap();
    postgres.prepare(&job()).await.unwrap();
    postgres.create_table(NUMBERS).await.unwrap();
    laws::anchor(&Place { postgres, reader: schema.reader().await }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_anchor_keeps_the_laws_where_sessions_are_pooled() {
    keeps_the_laws("session").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_anchor_keeps_the_laws_where_transactions_are_pooled() {
    keeps_the_laws("transaction").await;
}

#[tokio::test]
async fn a_pooler_of_single_statements_is_refused_before_anything_is_read() {
    let schema = Schema::new().await;
    let pooler = Pooler::start(&schema, "statement").await;
    let error = pooler.place(&schema).build().unwrap().prepare(&job()).await.unwrap_err();
    assert!(error.is_config(), "{error:?}");
    assert!(error.to_string().contains("pool sessions or transactions"), "{error:?}");
}

/// A commit that has locked its rows and goes no further.
fn frozen(postgres: &Postgres) -> impl rtbflow::sink::Sink<i64> + use<> {
    postgres.transact("freeze", |tx, _: Records<'_, i64>| {
        Box::pin(async move {
            tx.execute("update rtbflow_positions set owner = owner", &[]).await?;
            std::future::pending().await
        })
    })
}

#[tokio::test]
async fn a_frozen_owner_behind_a_pooler_does_not_hold_the_others_up() {
    let schema = Schema::new().await;
    let pooler = Pooler::start(&schema, "transaction").await;
    let idle = Duration::from_millis(200);
    let postgres = pooler.place(&schema).idle_in_transaction_timeout(idle).build().unwrap();
    postgres.prepare(&job()).await.unwrap();
    let owner = Owner::claim(&postgres, 0, 1).await;
    let epoch = owner.epoch(&mut frozen(&postgres), &[record(1, 0, 0)]);
    let job = job();
    let held = postgres.commit(&job, std::slice::from_ref(&epoch));
    let rival = async {
        let reader = schema.reader().await;
        let held = "select exists (select from pg_locks l join pg_stat_activity a using (pid)
            where a.state = 'idle in transaction' and l.mode = 'RowExclusiveLock'
            and l.relation = 'rtbflow_positions'::regclass)";
        while !one::<bool>(&reader, held).await {}
        let rival = pooler.place(&schema).build().unwrap();
        Owner::claim(&rival, 0, 2).await
    };
    tokio::select! {
        _ = held => panic!("the frozen commit went on"),
        rival = rival => assert_eq!(rival.at.commit, 2),
    }
}
