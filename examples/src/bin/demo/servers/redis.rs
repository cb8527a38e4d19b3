//! A private Redis.

use std::process::Command;

use rtbflow::Result;

use super::{Folder, Owner, Server, Start, free_address, search};

/// Starts a Redis on a free loopback port that logs its writes to its folder.
pub(crate) async fn start_redis() -> Result<Server> {
    let program = search::redis()?;
    let address = free_address()?;
    let folder = Folder::new("redis", Owner::Us)?;
    let mut command = Command::new(program);
    command.args(["--bind", "127.0.0.1", "--port"]).arg(address.port().to_string());
    command.args(["--save", "", "--appendonly", "yes"]);
    let url = format!("redis://{address}/");
    let client = redis::Client::open(url.as_str()).map_err(|error| {
        rtbflow::Error::permanent("connect to the private Redis").because(error)
    })?;
    let start = Start { name: "Redis", signal: "TERM", folder, owner: Owner::Us, command, url };
    let answers = || async {
        match client.get_multiplexed_async_connection().await {
            Ok(mut connection) => {
                redis::cmd("PING").query_async::<String>(&mut connection).await.is_ok()
            }
            Err(_) => false,
        }
    };
    Server::start(start)?.ready(answers).await
}
