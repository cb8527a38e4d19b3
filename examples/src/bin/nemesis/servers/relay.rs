//! An address that stays while the server behind it changes, as that of a load balancer does.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::Fallible;

/// Forwards to one server at a time. When that changes, all connections end.
#[derive(Debug)]
pub(crate) struct Relay {
    address: SocketAddr,
    target: watch::Sender<String>,
    listener: AbortHandle,
}

impl Relay {
    /// A relay to this address.
    pub(crate) async fn to(server: &str) -> Fallible<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (target, targets) = watch::channel(server.to_owned());
        let listener = tokio::spawn(listen(listener, targets)).abort_handle();
        Ok(Self { address, target, listener })
    }

    /// Where clients connect to.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// The port of that.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// From now on forwards to this one.
    pub(crate) fn turn_to(&self, server: &str) {
        self.target.send_replace(server.to_owned());
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn listen(listener: TcpListener, targets: watch::Receiver<String>) {
    while let Ok((client, _)) = listener.accept().await {
        let mut targets = targets.clone();
        tokio::spawn(async move {
            let target = targets.borrow_and_update().clone();
            let forward = async {
                let Ok(mut server) = TcpStream::connect(&target).await else { return };
                let mut client = client;
                if client.set_nodelay(true).and(server.set_nodelay(true)).is_ok() {
                    // How a connection ends is the matter of both ends.
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                }
            };
            tokio::select! {
                () = forward => {}
                _ = targets.changed() => {}
            }
        });
    }
}
