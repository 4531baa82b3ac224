//! The header of the PROXY protocol, in which a proxy that forwards bytes names the client.
//!
//! Reads not one byte beyond the header: what follows belongs to TLS or to a request.

use std::io;
use std::net::IpAddr;

use ppp::HeaderResult;
use ppp::{v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Of version 1, with its line end.
const LINE_MAX_BYTES: usize = 107;
/// Of version 2: what is known to be sent by proxies is far smaller.
const BINARY_MAX_BYTES: usize = 2_048;
/// What tells the versions apart. Every header of version 1 is longer.
const SIGNATURE_BYTES: usize = 12;

/// Reads the header. `None` if the proxy speaks for itself, as it does to check that the server
/// is alive.
pub async fn client(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    let mut header = vec![0; SIGNATURE_BYTES];
    stream.read_exact(&mut header).await?;
    if header == v2::PROTOCOL_PREFIX {
        read_binary(stream, &mut header).await?;
    } else {
        read_line(stream, &mut header).await?;
    }
    match HeaderResult::parse(&header) {
        HeaderResult::V1(Ok(header)) => Ok(match header.addresses {
            v1::Addresses::Tcp4(addresses) => Some(addresses.source_address.into()),
            v1::Addresses::Tcp6(addresses) => Some(addresses.source_address.into()),
            v1::Addresses::Unknown => None,
        }),
        HeaderResult::V2(Ok(header)) if header.command == v2::Command::Local => Ok(None),
        HeaderResult::V2(Ok(header)) => Ok(match header.addresses {
            v2::Addresses::IPv4(addresses) => Some(addresses.source_address.into()),
            v2::Addresses::IPv6(addresses) => Some(addresses.source_address.into()),
            v2::Addresses::Unix(_) | v2::Addresses::Unspecified => None,
        }),
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => Err(io::ErrorKind::InvalidData.into()),
    }
}

async fn read_binary(stream: &mut (impl AsyncRead + Unpin), header: &mut Vec<u8>) -> io::Result<()> {
    let mut rest = [0; 4];
    stream.read_exact(&mut rest).await?;
    header.extend_from_slice(&rest);
    let length = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
    if length > BINARY_MAX_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    header.resize(SIGNATURE_BYTES + rest.len() + length, 0);
    stream.read_exact(&mut header[SIGNATURE_BYTES + rest.len()..]).await?;
    Ok(())
}

async fn read_line(stream: &mut (impl AsyncRead + Unpin), header: &mut Vec<u8>) -> io::Result<()> {
    while !header.ends_with(b"\n") {
        if header.len() == LINE_MAX_BYTES || !header.starts_with(b"PROXY ") {
            return Err(io::ErrorKind::InvalidData.into());
        }
        header.push(stream.read_u8().await?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &[u8]) -> (Option<Option<IpAddr>>, usize) {
        let mut rest = bytes;
        (client(&mut rest).await.ok(), rest.len())
    }

    #[tokio::test]
    async fn the_header_names_the_client_and_nothing_after_it_is_read() {
        let binary = |command: u8, family: u8, addresses: &[u8]| {
            let length = u16::try_from(addresses.len()).expect("short").to_be_bytes();
            [v2::PROTOCOL_PREFIX, &[0x20 | command, family], &length, addresses, b"GET"].concat()
        };
        let v4 = [203, 0, 113, 7, 10, 0, 0, 1, 1, 187, 1, 187];
        let with_more = [&v4[..], &[0x04, 0, 1, 0]].concat();
        for (bytes, expected) in [
            (b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 443\r\nGET".to_vec(), Some(Some("203.0.113.7"))),
            (b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\nGET".to_vec(), Some(Some("2001:db8::7"))),
            (b"PROXY UNKNOWN\r\nGET".to_vec(), Some(None)),
            (binary(1, 0x11, &v4), Some(Some("203.0.113.7"))),
            (binary(1, 0x11, &with_more), Some(Some("203.0.113.7"))),
            (binary(0, 0x00, &[]), Some(None)),
        ] {
            let (client, rest) = read(&bytes).await;
            let client = client.map(|named| named.map(|address| address.to_string()));
            assert_eq!(client, expected.map(|named| named.map(str::to_owned)), "{bytes:?}");
            assert_eq!(rest, 3, "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn anything_else_is_refused() {
        for bytes in [
            &b"GET / HTTP/1.1\r\nHost: pay.example.com\r\n\r\n"[..],
            b"PROXY TCP4 203.0.113.7 10.0.0.1 4711\r\n",
            b"PROXY TCP4 pay.example.com 10.0.0.1 4711 443\r\n",
            b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 443\n",
            b"PROXY",
            &[b"PROXY TCP4 ", &[b'1'; 200][..]].concat(),
            &[v2::PROTOCOL_PREFIX, &[0x21, 0x11, 0xff, 0xff]].concat(),
            &[v2::PROTOCOL_PREFIX, &[0x31, 0x11, 0, 0]].concat(),
        ] {
            assert_eq!(read(bytes).await.0, None, "{bytes:?}");
        }
    }
}
