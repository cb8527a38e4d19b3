//! Connections that are cut where a test wants it.

use super::*;

/// A server that remembers what it got and answers each piece with its length; and the proxy to it.
async fn server() -> (Proxy, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::to(listener.local_addr().unwrap().to_string()).await.unwrap();
    let got: Arc<Mutex<Vec<u8>>> = Arc::default();
    let all = Arc::clone(&got);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let all = Arc::clone(&all);
            tokio::spawn(async move {
                let mut buffer = [0; 64];
                while let Ok(count @ 1..) = client.read(&mut buffer).await {
                    all.lock().unwrap().extend_from_slice(&buffer[..count]);
                    client.write_all(&buffer[..count]).await.unwrap();
                }
            });
        }
    });
    (proxy, got)
}

/// Says something and listens until it was said back or the connection ended.
async fn say(client: &mut TcpStream, text: &[u8]) -> Vec<u8> {
    let mut heard = vec![0; text.len()];
    if client.write_all(text).await.is_err() {
        return Vec::new();
    }
    client.read_exact(&mut heard).await.map(|_| heard).unwrap_or_default()
}

fn heard(got: &Mutex<Vec<u8>>) -> String {
    String::from_utf8(got.lock().unwrap().clone()).unwrap()
}

#[tokio::test]
async fn forwards_both_ways_and_counts() {
    let (proxy, got) = server().await;
    let mut one = TcpStream::connect(proxy.address()).await.unwrap();
    let mut other = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(say(&mut one, b"hello").await, b"hello");
    assert_eq!(say(&mut other, b" world").await, b" world");
    assert_eq!(heard(&got), "hello world");
    assert_eq!(proxy.connections(), 2);
}

#[tokio::test]
async fn the_request_arrives_and_its_answer_does_not() {
    let (proxy, got) = server().await;
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    proxy.cut_after("COMMIT");
    assert_eq!(say(&mut client, b"BEGIN;").await, b"BEGIN;");
    // The request comes in two pieces.
    client.write_all(b"INSERT;COM").await.unwrap();
    let mut answer = [0; 10];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(say(&mut client, b"MIT;").await, b"");
    proxy.until_planned_cuts(1).await;
    assert_eq!(heard(&got), "BEGIN;INSERT;COMMIT;");
    let mut next = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(say(&mut next, b"COMMIT;").await, b"COMMIT;", "a plan holds once");
}

#[tokio::test]
async fn the_request_does_not_arrive() {
    let (proxy, got) = server().await;
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    proxy.cut_before("COMMIT");
    assert_eq!(say(&mut client, b"BEGIN;COMMIT;").await, b"");
    proxy.until_planned_cuts(1).await;
    assert_eq!(heard(&got), "BEGIN;COMMI");
}

#[tokio::test]
async fn stays_cut_after_a_planned_cut_if_it_is_to() {
    let (proxy, got) = server().await;
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    let mut other = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(say(&mut other, b"hello").await, b"hello");
    proxy.cut_before("COMMIT");
    proxy.stay_cut();
    assert_eq!(say(&mut client, b"COMMIT;").await, b"");
    // Whoever is cut off cannot come back faster than the others are.
    let mut next = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(say(&mut next, b"COMMIT;").await, b"");
    assert_eq!(say(&mut other, b"COMMIT;").await, b"");
    assert_eq!(heard(&got), "helloCOMMI");
}

#[tokio::test]
async fn cuts_after_a_number_of_bytes() {
    let (proxy, got) = server().await;
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    proxy.cut_after_bytes(8);
    assert_eq!(say(&mut client, b"12345").await, b"12345");
    assert_eq!(say(&mut client, b"67890").await, b"");
    proxy.until_planned_cuts(1).await;
    assert_eq!(heard(&got), "12345678");
}

#[tokio::test]
async fn answers_are_translated_and_requests_are_not() {
    let (proxy, got) = server().await;
    proxy.translate("ell", "ipp");
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(say(&mut client, b"hello bell el").await, b"hippo bipp el");
    assert_eq!(heard(&got), "hello bell el");
}

#[tokio::test]
async fn cuts_all_and_refuses_until_it_is_mended() {
    let (proxy, _) = server().await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(say(&mut client, b"hello").await, b"hello");
        clients.push(client);
    }
    proxy.cut();
    for mut client in clients {
        assert_eq!(say(&mut client, b"hello").await, b"");
    }
    let mut refused = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(say(&mut refused, b"hello").await, b"");
    proxy.mend();
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(say(&mut client, b"hello").await, b"hello");
    assert_eq!(proxy.connections(), 4);
}

#[tokio::test]
async fn a_thin_line_takes_its_time() {
    let (proxy, got) = server().await;
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    proxy.slow_down(100);
    let began = tokio::time::Instant::now();
    assert_eq!(say(&mut client, b"0123456789").await, b"0123456789");
    assert!(began.elapsed() >= Duration::from_millis(100), "{:?}", began.elapsed());
    proxy.slow_down(0);
    assert_eq!(say(&mut client, &[b'x'; 10_000]).await.len(), 10_000);
    assert_eq!(heard(&got).len(), 10_010);
}

#[tokio::test]
async fn what_was_frozen_is_forwarded_when_it_thaws() {
    let (proxy, got) = server().await;
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(say(&mut client, b"a").await, b"a");
    proxy.freeze();
    let mut said = Box::pin(say(&mut client, b"b"));
    let silent = tokio::time::timeout(Duration::from_millis(50), &mut said).await;
    assert!(silent.is_err());
    assert_eq!(heard(&got), "a");
    proxy.thaw();
    assert_eq!(said.await, b"b");
}
