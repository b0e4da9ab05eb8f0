//! WebSocket (RFC 6455): every message comes back as it came.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// RFC 6455 section 1.3.
const MAGIC: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// A longer frame ends the connection.
const MAX_FRAME_BYTES: u64 = 1 << 20;

pub fn is_asked(request: &Request<Incoming>) -> bool {
    let has = |name: HeaderName, word: &str| {
        request.headers().get(name).and_then(|value| value.to_str().ok()).is_some_and(|value| value.eq_ignore_ascii_case(word))
    };
    has(UPGRADE, "websocket") && request.headers().contains_key(SEC_WEBSOCKET_KEY)
}

/// The answer that changes protocols; echoing starts when it has been sent.
pub fn accept(request: &mut Request<Incoming>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::new()));
    let key = request.headers()[SEC_WEBSOCKET_KEY].as_bytes();
    let Ok(accept) = HeaderValue::from_str(&accept_key(key)) else {
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return response;
    };
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        if let Ok(upgraded) = upgrade.await {
            // The peer went away: nobody is left to tell.
            let _ = echo(TokioIo::new(upgraded)).await;
        }
    });
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, accept);
    response
}

fn accept_key(key: &[u8]) -> String {
    BASE64.encode(runtime::tls::sha1(&[key, MAGIC.as_bytes()].concat()))
}

/// Frames out as they came in, without the client's mask (servers do not mask).
async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
    loop {
        let [first, second] = [stream.read_u8().await?, stream.read_u8().await?];
        let length = match second & 0x7f {
            126 => stream.read_u16().await?.into(),
            127 => stream.read_u64().await?,
            short => u64::from(short),
        };
        if length > MAX_FRAME_BYTES {
            return Ok(());
        }
        let mut mask = [0; 4];
        if second & 0x80 != 0 {
            stream.read_exact(&mut mask).await?;
        }
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await?;
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);

        let opcode = first & 0x0f;
        let answer = if opcode == PING { first & 0xf0 | PONG } else { first };
        if opcode != PONG {
            stream.write_all(&header(answer, payload.len())).await?;
            stream.write_all(&payload).await?;
        }
        if opcode == CLOSE {
            return Ok(());
        }
    }
}

fn header(first: u8, length: usize) -> Vec<u8> {
    let mut header = vec![first];
    match length {
        0..=125 => header.push(length as u8),
        126..=0xffff => {
            header.push(126);
            header.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            header.push(127);
            header.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_with_the_key_of_the_standard() {
        // The example of RFC 6455 section 1.3.
        assert_eq!(accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[tokio::test]
    async fn a_masked_message_comes_back_unmasked_and_close_ends_it() {
        let (mut client, server) = tokio::io::duplex(1024);
        let echoing = tokio::spawn(echo(server));
        client.write_all(&[0x81, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'i' ^ 2, 0x88, 0x80, 0, 0, 0, 0]).await.expect("open");
        let mut back = vec![0; 6];
        client.read_exact(&mut back).await.expect("an echo");
        assert_eq!(back, [0x81, 2, b'h', b'i', 0x88, 0]);
        echoing.await.expect("no panic").expect("a clean end");
    }
}
