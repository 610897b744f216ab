//! The link over loopback, with echo servers that say who they are.

use super::*;

/// Sends its name, then echoes.
async fn echo_server(name: u8) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                write.write_all(&[name]).await.unwrap();
                let _gone = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    addr
}

async fn dial(link: &Link) -> (TcpStream, u8) {
    let mut stream = TcpStream::connect(link.addr()).await.unwrap();
    let name = stream.read_u8().await.unwrap();
    (stream, name)
}

const SOON: Duration = Duration::from_millis(150);

#[tokio::test]
async fn connections_go_round_and_skip_a_dead_upstream() {
    let dead = TcpListener::bind(("127.0.0.1", 0))
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let upstreams = vec![echo_server(0).await, dead, echo_server(2).await];
    let link = Link::start(upstreams, Route::RoundRobin).await.unwrap();
    let mut names = Vec::new();
    for _ in 0..6 {
        names.push(dial(&link).await.1);
    }
    assert_eq!(names, [0, 2, 2, 0, 2, 2]);
    link.route(Route::Only(0));
    assert_eq!(dial(&link).await.1, 0);
    link.route(Route::Nowhere);
    let mut refused = TcpStream::connect(link.addr()).await.unwrap();
    assert_eq!(refused.read(&mut [0; 1]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn a_frozen_link_moves_nothing_and_loses_nothing() {
    let link = Link::start(vec![echo_server(1).await], Route::RoundRobin)
        .await
        .unwrap();
    let (mut stream, _) = dial(&link).await;
    link.freeze();
    let sent: Vec<u8> = (0..200_000u32).map(|i| i as u8).collect();
    let (mut read, mut write) = stream.split();
    let writing = async {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let reading = async {
        assert!(
            timeout(SOON, read.read_u8()).await.is_err(),
            "nothing may pass"
        );
        link.thaw();
        let mut received = Vec::new();
        read.read_to_end(&mut received).await.unwrap();
        received
    };
    let ((), received) = tokio::join!(writing, reading);
    assert!(received == sent, "bytes were lost or changed");
}

#[tokio::test]
async fn a_cut_ends_both_ends() {
    let link = Link::start(vec![echo_server(1).await], Route::RoundRobin)
        .await
        .unwrap();
    let (mut stream, _) = dial(&link).await;
    assert_eq!(link.upstream(), Some(0));
    link.cut();
    assert!(timeout(SOON, stream.read_u8()).await.unwrap().is_err());
    timeout(SOON, async {
        while link.upstream().is_some() {
            sleep(Duration::from_millis(1)).await
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_half_open_connection_lives_on_the_node_side_alone() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let link = Link::start(vec![listener.local_addr().unwrap()], Route::RoundRobin)
        .await
        .unwrap();
    let mut client = TcpStream::connect(link.addr()).await.unwrap();
    let (mut node, _) = listener.accept().await.unwrap();
    client.write_all(b"x").await.unwrap();
    assert_eq!(node.read_u8().await.unwrap(), b'x');
    link.half_open();
    assert!(timeout(SOON, client.read_u8()).await.unwrap().is_err());
    node.write_all(&[7; 100_000]).await.unwrap();
    assert!(
        timeout(SOON, node.read_u8()).await.is_err(),
        "the node must not notice"
    );
    assert_eq!((link.half_open_count(), link.upstream()), (1, None));
    drop(node);
    timeout(SOON, async {
        while link.half_open_count() > 0 {
            sleep(Duration::from_millis(1)).await
        }
    })
    .await
    .unwrap();
}
