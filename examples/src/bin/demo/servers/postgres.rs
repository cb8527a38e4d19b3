//! A private Postgres.

use std::process::{Command, Stdio};

use rtbflow::{Error, Result};

use super::{Folder, Owner, Server, Start, free_address, search};

/// Starts a Postgres on a free loopback port. It is never started again over its data, so it does not
/// wait for the disk.
pub(crate) async fn start_postgres() -> Result<Server> {
    let programs = search::postgres()?;
    let owner = Owner::not_root()?;
    let address = free_address()?;
    let folder = Folder::new("postgres", owner)?;
    let data = folder.path().join("data");
    let mut initdb = Command::new(programs.join("initdb"));
    initdb.args([
        "--username=rtbflow",
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C",
        "--no-sync",
    ]);
    initdb.arg("-D").arg(&data).current_dir(folder.path()).stdin(Stdio::null());
    owner.apply(&mut initdb);
    make_data(initdb).await?;
    let mut command = Command::new(programs.join("postgres"));
    command.arg("-D").arg(&data).arg("-p").arg(address.port().to_string());
    for setting in [
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        "fsync=off",
        "full_page_writes=off",
    ] {
        command.args(["-c", setting]);
    }
    let url = format!("postgres://rtbflow@{address}/postgres");
    let start = Start { name: "Postgres", signal: "INT", folder, owner, command, url: url.clone() };
    let answers = || async { tokio_postgres::connect(&url, tokio_postgres::NoTls).await.is_ok() };
    Server::start(start)?.ready(answers).await
}

async fn make_data(mut initdb: Command) -> Result<()> {
    let failed = || Error::permanent("make the data folder of a private Postgres (initdb)");
    let output = tokio::task::spawn_blocking(move || initdb.output())
        .await
        .map_err(|error| failed().because(error))?
        .map_err(|error| failed().because(error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " | ");
    Err(failed().because(std::io::Error::other(said)))
}
