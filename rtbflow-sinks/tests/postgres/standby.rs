//! A commit that waits for a standby that is lost: the server sets it no time, and a cancelled wait would be
//! a success.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rtbflow::epoch::{Anchor, Verdict};
use rtbflow_sinks::postgres::Postgres;

use super::schema::{Owner, Schema, connect, job, one, record};

/// A server of its own, whose settings nobody shares.
struct Server {
    process: Child,
    folder: PathBuf,
    url: String,
}

/// The newest of Debian's, or what is in the path.
fn programs() -> PathBuf {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .map(|version| version.unwrap().path().join("bin"))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    found.sort_by_key(|bin| {
        let version =
            bin.parent().and_then(Path::file_name).unwrap().to_string_lossy().into_owned();
        version.parse::<u32>().unwrap_or_default()
    });
    found.pop().unwrap_or_default()
}

pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

/// Postgres refuses to run as root, where the tests may be.
fn command(program: &str, folder: &Path) -> Command {
    let program = programs().join(program);
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "nobody", "--clear-groups", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

impl Server {
    async fn start(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("{name}_server"));
        std::fs::create_dir(&folder).unwrap();
        if is_root() {
            let given = Command::new("chown").arg("nobody").arg(&folder).status().unwrap();
            assert!(given.success(), "chown: {given}");
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let made = command("initdb", &folder)
            .args(["-D", "data", "-U", "rtbflow", "-A", "trust", "-E", "UTF8", "--locale=C"])
            .status()
            .unwrap();
        assert!(made.success(), "initdb: {made}");
        let process = command("postgres", &folder)
            .args(["-D", "data", "-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"])
            .args(["-c", "unix_socket_directories="])
            .spawn()
            .unwrap();
        let url = format!("postgres://rtbflow@127.0.0.1:{port}/postgres");
        let server = Self { process, folder, url };
        let mut attempts = 0;
        while tokio_postgres::connect(&server.url, tokio_postgres::NoTls).await.is_err() {
            attempts += 1;
            assert!(attempts < 500, "the server does not start");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server
    }

    /// Has commits wait for this standby; none if it is empty.
    async fn set_standby(&self, name: &str) {
        let client = connect(&self.url).await;
        client
            .execute(&format!("alter system set synchronous_standby_names = '{name}'"), &[])
            .await
            .unwrap();
        client.execute("select pg_reload_conf()", &[]).await.unwrap();
        while one::<String>(&client, "show synchronous_standby_names").await != name {
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A test that is failing already says more.
        let _ = Command::new("kill").args(["-QUIT", &self.process.id().to_string()]).status();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_waits_for_a_lost_standby_is_tried_again_and_applied_once() {
    let schema = Schema::new().await;
    let server = Server::start(&schema.name).await;
    let postgres = Postgres::connect_to(&server.url)
        .call_timeout(Duration::from_secs(1))
        .lock_timeout(Duration::from_millis(300))
        .build()
        .unwrap();
    postgres.prepare(&job()).await.unwrap();
    postgres.create_table("create table t (n bigint)").await.unwrap();
    let mut owner = Owner::claim(&postgres, 0, 1).await;
    let epoch =
        owner.epoch(&mut postgres.insert("t").bigint("n", |n: &i64| *n), &[record(1, 0, 0)]);
    server.set_standby("nobody").await;
    let error = owner.commit(&epoch).await.unwrap_err();
    assert!(error.is_transient() && error.report().contains("no answer"), "{error:?}");
    // The first attempt has neither failed nor become visible: its rows stay locked.
    let error = owner.commit(&epoch).await.unwrap_err();
    assert!(error.is_transient() && error.report().contains("55P03"), "{error:?}");
    let reader = connect(&server.url).await;
    assert_eq!(one::<i64>(&reader, "select count(*) from t").await, 0);
    server.set_standby("").await;
    while let Err(error) = owner.commit(&epoch).await {
        assert!(error.is_transient(), "{error:?}");
    }
    assert_eq!(owner.postgres.commit(&job(), &[epoch]).await.unwrap(), [Verdict::COMMITTED]);
    assert_eq!(one::<i64>(&reader, "select count(*) from t").await, 1);
}
