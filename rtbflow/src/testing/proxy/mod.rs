//! A proxy that loses connections at a chosen byte.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

const BUFFER_BYTES: usize = 16 * 1024;

/// How long a server may take to hang up after the last request of a connection that is to be cut.
const HANG_UP: Duration = Duration::from_secs(30);

/// Stands between a client and a server, forwards what they say and, when asked to, does not.
///
/// It is made for the question that matters most to a commit: what if the connection breaks *exactly*
/// between the request and its answer? [`cut_after`](Self::cut_after) does that without any race: the
/// request goes out whole, the server carries it out and hangs up, and no byte of an answer comes back.
///
/// It runs on the tokio runtime that it is made on and ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    server: String,
    plan: Mutex<Option<Plan>>,
    /// What is put in the place of what in the server's answers; of the same length.
    translation: Mutex<Option<(Vec<u8>, Vec<u8>)>>,
    state: watch::Sender<State>,
}

/// What the whole proxy is asked to do.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// How often all connections were cut.
    cuts: u64,
    /// How often a planned cut was carried out.
    planned_cuts: u64,
    refuses: bool,
    /// A planned cut cuts everything.
    stays_cut: bool,
    frozen: bool,
    /// How many bytes of requests a connection forwards in a second; 0 for all.
    bytes_a_second: u32,
    connections: usize,
}

impl State {
    /// A connection was cut where the plan says so.
    fn note_cut(&mut self) {
        self.planned_cuts += 1;
        if std::mem::take(&mut self.stays_cut) {
            (self.cuts, self.refuses) = (self.cuts + 1, true);
        }
    }
}

/// When the next connection is to be cut.
#[derive(Debug)]
enum Plan {
    Bytes(usize),
    Before(Vec<u8>),
    After(Vec<u8>),
}

impl Proxy {
    /// A proxy on a free port of the loopback interface that forwards to this `host:port`.
    ///
    /// # Errors
    /// If there is no free port.
    pub async fn to(server: impl Into<String>) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let state = watch::Sender::default();
        let (server, plan, translation) = (server.into(), Mutex::default(), Mutex::default());
        let shared = Arc::new(Shared { server, plan, translation, state });
        let listener = tokio::spawn(listen(listener, Arc::clone(&shared))).abort_handle();
        Ok(Self { address, shared, listener })
    }

    /// The address that clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were taken so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.state.borrow().connections
    }

    /// From now on puts `to` in the place of `from`, of the same length, in all answers: for servers that
    /// tell clients at which address they are to be found. An answer that comes in several pieces keeps
    /// what lies across their border.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn translate(&self, from: impl Into<Vec<u8>>, to: impl Into<Vec<u8>>) {
        let (from, to) = (from.into(), to.into());
        assert_eq!(from.len(), to.len(), "an answer keeps its length");
        let mut translation =
            self.shared.translation.lock().unwrap_or_else(PoisonError::into_inner);
        *translation = Some((from, to));
    }

    /// Cuts all connections now. New ones are closed as soon as they are made, until
    /// [`mend`](Self::mend).
    pub fn cut(&self) {
        self.shared.state.send_modify(|state| {
            state.cuts += 1;
            state.refuses = true;
        });
    }

    /// Takes new connections again.
    pub fn mend(&self) {
        self.shared.state.send_modify(|state| state.refuses = false);
    }

    /// Forwards nothing more, either way, until [`thaw`](Self::thaw): the server is silent, but not gone.
    pub fn freeze(&self) {
        self.shared.state.send_modify(|state| state.frozen = true);
    }

    /// Forwards again, beginning with what was held back.
    pub fn thaw(&self) {
        self.shared.state.send_modify(|state| state.frozen = false);
    }

    /// Forwards at most this many bytes of requests in a second on each connection, or all of them again if
    /// it is 0: a thin line to the server.
    pub fn slow_down(&self, bytes_a_second: u32) {
        self.shared.state.send_modify(|state| state.bytes_a_second = bytes_a_second);
    }

    /// Cuts one connection when clients have sent this many bytes more: the last of them still arrives, and
    /// no byte comes back from then on. Takes the place of an earlier plan; holds once.
    pub fn cut_after_bytes(&self, bytes: usize) {
        *self.shared.plan() = Some(Plan::Bytes(bytes));
    }

    /// Cuts the next connection on which a client sends these bytes, *before* the server gets the last of
    /// them: the request is never carried out. Takes the place of an earlier plan; holds once.
    pub fn cut_before(&self, request: impl Into<Vec<u8>>) {
        *self.shared.plan() = Some(Plan::Before(request.into()));
    }

    /// Cuts the next connection on which a client sends these bytes, *after* the server has got them and
    /// all that was sent with them, and has hung up: the request is carried out, and no byte of its answer
    /// comes back. Takes the place of an earlier plan; holds once.
    pub fn cut_after(&self, request: impl Into<Vec<u8>>) {
        *self.shared.plan() = Some(Plan::After(request.into()));
    }

    /// The next planned cut cuts all connections, as [`cut`](Self::cut) does: before the client learns of it, and can
    /// make another one and ask again. Holds once.
    pub fn stay_cut(&self) {
        self.shared.state.send_modify(|state| state.stays_cut = true);
    }

    /// How many planned cuts were carried out so far.
    #[must_use]
    pub fn planned_cuts(&self) -> u64 {
        self.shared.state.borrow().planned_cuts
    }

    /// Waits until this many planned cuts were carried out, counted from the beginning.
    pub async fn until_planned_cuts(&self, count: u64) {
        self.shared.until(|state| state.planned_cuts >= count).await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl Shared {
    fn plan(&self) -> MutexGuard<'_, Option<Plan>> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn translate(&self, said: &mut [u8]) {
        let translation = self.translation.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((from, to)) = translation.as_ref().filter(|(from, _)| !from.is_empty()) else {
            return;
        };
        for at in 0..said.len() {
            if let Some(piece) = said.get_mut(at..at + from.len()).filter(|piece| *piece == from) {
                piece.copy_from_slice(to);
            }
        }
    }

    async fn until(&self, holds: impl FnMut(&State) -> bool) {
        // The sender lives as long as this does, so waiting cannot fail.
        let _ = self.state.subscribe().wait_for(holds).await;
    }

    /// Whether the plan cuts the connection on which `sent` is said, whose last `fresh` bytes are not
    /// forwarded yet: then how many of those still are. The plan is thereby used up.
    fn cuts(&self, sent: &[u8], fresh: usize) -> Option<usize> {
        let mut plan = self.plan();
        let forward = match plan.as_mut()? {
            Plan::Bytes(left) if *left > fresh => {
                *left -= fresh;
                return None;
            }
            Plan::Bytes(left) => *left,
            Plan::Before(request) => {
                let end = end_of(sent, request)?;
                (end - 1).saturating_sub(sent.len() - fresh)
            }
            Plan::After(request) => end_of(sent, request).map(|_| fresh)?,
        };
        *plan = None;
        Some(forward)
    }

    /// How many bytes before the fresh ones may belong to what the plan waits for.
    fn memory(&self) -> usize {
        match &*self.plan() {
            Some(Plan::Before(request) | Plan::After(request)) => request.len().saturating_sub(1),
            Some(Plan::Bytes(_)) | None => 0,
        }
    }
}

/// Where `request` ends within `sent`.
fn end_of(sent: &[u8], request: &[u8]) -> Option<usize> {
    let at = sent.windows(request.len().max(1)).position(|window| window == request)?;
    Some(at + request.len())
}

async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let refuses = shared.state.borrow().refuses;
        if refuses {
            continue;
        }
        shared.state.send_modify(|state| state.connections += 1);
        connections.spawn(connection(client, Arc::clone(&shared)));
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(client: TcpStream, shared: Arc<Shared>) {
    let cuts = shared.state.borrow().cuts;
    tokio::select! {
        () = shared.until(|state| state.cuts > cuts) => {}
        () = forwarded(client, &shared) => {}
    }
}

/// Forwards both ways until one side hangs up, or the connection is cut where the plan says so.
async fn forwarded(client: TcpStream, shared: &Shared) {
    // Without a server the client is hung up on.
    let Ok(server) = TcpStream::connect(&shared.server).await else { return };
    // Small requests are not to wait for each other's acknowledgement.
    if client.set_nodelay(true).and(server.set_nodelay(true)).is_err() {
        return;
    }
    let ((from_client, to_client), (from_server, to_server)) =
        (client.into_split(), server.into_split());
    let muted = AtomicBool::new(false);
    let said = async {
        // Kept open, so that the client learns of nothing before the server has hung up.
        let _open = requests(from_client, to_server, &muted, shared).await;
        if muted.load(Ordering::SeqCst) {
            tokio::time::sleep(HANG_UP).await;
        } else {
            pending::<()>().await;
        }
    };
    tokio::select! {
        () = answers(from_server, to_client, &muted, shared) => {}
        () = said => {}
    }
    if muted.load(Ordering::SeqCst) {
        shared.state.send_modify(State::note_cut);
    }
}

/// Forwards what the client says, until it hangs up or the plan says so.
async fn requests(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    muted: &AtomicBool,
    shared: &Shared,
) -> (OwnedReadHalf, OwnedWriteHalf) {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut sent: Vec<u8> = Vec::new();
    while let Ok(count @ 1..) = client.read(&mut buffer).await {
        let fresh = buffer.get(..count).unwrap_or_default();
        shared.until(|state| !state.frozen).await;
        let keep = sent.len().saturating_sub(shared.memory());
        sent.drain(..keep);
        sent.extend_from_slice(fresh);
        let cut = shared.cuts(&sent, count);
        if cut.is_some() {
            muted.store(true, Ordering::SeqCst);
        }
        let bytes_a_second = shared.state.borrow().bytes_a_second;
        if let Ok(takes @ 1..) = u32::try_from(count)
            && bytes_a_second > 0
        {
            tokio::time::sleep(Duration::from_secs(1) * takes / bytes_a_second).await;
        }
        let forward = fresh.get(..cut.unwrap_or(count)).unwrap_or(fresh);
        if server.write_all(forward).await.is_err() || cut.is_some() {
            break;
        }
    }
    // The server reads all that was forwarded, then the end, and hangs up.
    let _ = server.shutdown().await;
    (client, server)
}

/// Forwards what the server says, until it hangs up; what comes after a planned cut is dropped.
async fn answers(
    mut server: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    muted: &AtomicBool,
    shared: &Shared,
) {
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Ok(count @ 1..) = server.read(&mut buffer).await {
        shared.until(|state| !state.frozen).await;
        let said = buffer.get_mut(..count).unwrap_or_default();
        shared.translate(said);
        if !muted.load(Ordering::SeqCst) && client.write_all(said).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
