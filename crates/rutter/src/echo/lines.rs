//! Plain TCP and UDP: one line of JSON for each line or datagram.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::Echo;

/// A longer line is cut here and answered as two.
const MAX_LINE_BYTES: u64 = 64 * 1024;

pub async fn serve_tcp(address: SocketAddr, echo: Arc<Echo>) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    tokio::spawn(async move {
        loop {
            let Ok((stream, remote)) = listener.accept().await else { continue };
            echo.heard();
            let echo = echo.clone();
            tokio::spawn(async move {
                // The peer went away: nobody is left to tell.
                let _ = answer_lines(stream, remote, echo).await;
            });
        }
    });
    Ok(())
}

async fn answer_lines(stream: TcpStream, remote: SocketAddr, echo: Arc<Echo>) -> std::io::Result<()> {
    use tokio::io::AsyncReadExt as _;
    let local = stream.local_addr()?;
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    while (&mut reader).take(MAX_LINE_BYTES).read_until(b'\n', &mut line).await? > 0 {
        writer.write_all(echo.line(local, remote, line.len()).as_bytes()).await?;
        line.clear();
    }
    Ok(())
}

pub async fn serve_udp(address: SocketAddr, echo: Arc<Echo>) -> std::io::Result<()> {
    let socket = UdpSocket::bind(address).await?;
    let local = socket.local_addr()?;
    tokio::spawn(async move {
        let mut datagram = vec![0; 64 * 1024];
        loop {
            // An error here is an ICMP message about an earlier answer.
            let Ok((n, remote)) = socket.recv_from(&mut datagram).await else { continue };
            echo.heard();
            let _ = socket.send_to(echo.line(local, remote, n).as_bytes(), remote).await;
        }
    });
    Ok(())
}
