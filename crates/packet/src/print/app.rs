//! What TCP carries, where its first bytes tell: HTTP/1 request and status lines, TLS client hellos.

use std::fmt::Write as _;

use super::text::{Escaped, u8_at, u16_at};

/// Longest piece of an HTTP line that is printed.
const LINE: usize = 200;

/// Methods of HTTP (RFC 9110, 5789).
const METHODS: [&[u8]; 9] =
    [b"GET ", b"POST ", b"HEAD ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH ", b"CONNECT ", b"TRACE "];

/// Adds what a payload's beginning says.
pub(super) fn print(payload: &[u8], out: &mut String) {
    if payload.starts_with(b"HTTP/1.") || METHODS.iter().any(|method| payload.starts_with(method)) {
        let line = payload.split(|b| matches!(b, b'\r' | b'\n')).next().unwrap_or_default();
        let _ = write!(out, ": HTTP: {}", Escaped(line.get(..LINE).unwrap_or(line)));
    } else if let Some(hello) = client_hello(payload) {
        out.push_str(": TLS client hello");
        if let Some(name) = hello.server_name {
            let _ = write!(out, ", SNI {}", Escaped(name));
        }
        if !hello.protocols.is_empty() {
            out.push_str(", ALPN ");
        }
        for (i, protocol) in hello.protocols.iter().enumerate() {
            let _ = write!(out, "{}{}", if i == 0 { "" } else { "," }, Escaped(protocol));
        }
    }
}

/// What a client says in clear text.
#[derive(PartialEq, Eq, Debug, Default)]
struct Hello<'a> {
    server_name: Option<&'a [u8]>,
    protocols: Vec<&'a [u8]>,
}

/// Most protocols of one hello.
const MAX_PROTOCOLS: usize = 16;

/// A vector whose length stands in its first `width` bytes, and what follows it. One that is cut has what is there.
fn vector(bytes: &[u8], width: usize) -> Option<(&[u8], &[u8])> {
    let len = match width {
        1 => usize::from(*bytes.first()?),
        _ => usize::from(u16_at(bytes.get(..2)?, 0)),
    };
    let body = bytes.get(width..)?;
    Some(body.split_at(len.min(body.len())))
}

/// Reads a TLS record that holds a client hello (RFC 8446, 4.1.2), as far as it is there.
fn client_hello(record: &[u8]) -> Option<Hello<'_>> {
    // Handshake (22) of version 3.x, client hello (1), version and random.
    if u8_at(record, 0) != 22 || u8_at(record, 1) != 3 || u8_at(record, 5) != 1 {
        return None;
    }
    let body = record.get(9 + 34..)?;
    let (_session, rest) = vector(body, 1)?;
    let (_ciphers, rest) = vector(rest, 2)?;
    let (_compression, rest) = vector(rest, 1)?;
    let mut hello = Hello::default();
    let Some((mut extensions, _)) = vector(rest, 2) else { return Some(hello) };
    while extensions.len() >= 4 {
        let kind = u16_at(extensions, 0);
        let Some((value, rest)) = vector(extensions.get(2..)?, 2) else { break };
        match kind {
            // A list of names, each with a kind; 0 is a host's.
            0 => {
                let name = vector(value, 2).filter(|(list, _)| u8_at(list, 0) == 0);
                let name = name.and_then(|(list, _)| vector(list.get(1..)?, 2));
                hello.server_name = name.map(|(name, _)| name).filter(|name| !name.is_empty());
            }
            16 => hello.protocols = protocols(value),
            _ => {}
        }
        extensions = rest;
    }
    Some(hello)
}

fn protocols(value: &[u8]) -> Vec<&[u8]> {
    let Some((mut list, _)) = vector(value, 2) else { return Vec::new() };
    let mut found = Vec::new();
    while let Some((name, rest)) = vector(list, 1) {
        if found.len() < MAX_PROTOCOLS && !name.is_empty() {
            found.push(name);
        }
        list = rest;
    }
    found
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A client hello for a host, with two protocols.
    pub(in crate::print) fn hello(host: &str) -> Vec<u8> {
        let with_length = |body: &[u8]| [&(body.len() as u16).to_be_bytes()[..], body].concat();
        let name = with_length(&[&[0][..], &with_length(host.as_bytes())].concat());
        let alpn = with_length(b"\x02h2\x08http/1.1");
        let extensions =
            [&[0, 0][..], &with_length(&name), &[0, 16], &with_length(&alpn), &[0, 43, 0, 3, 2, 3, 4]]
                .concat();
        let body =
            [&[3, 3][..], &[7; 32], &[0], &with_length(&[0x13, 1]), &[1, 0], &with_length(&extensions)];
        let body = body.concat();
        let message = [&[1, 0][..], &with_length(&body)].concat();
        [&[22, 3, 1][..], &with_length(&message)].concat()
    }

    #[test]
    fn a_hello_is_read_as_far_as_it_is_there() {
        let record = hello("example.org");
        let whole = client_hello(&record).unwrap();
        assert_eq!(whole.server_name, Some(&b"example.org"[..]));
        assert_eq!(whole.protocols, [&b"h2"[..], b"http/1.1"]);
        for end in 0..record.len() {
            let _ = client_hello(&record[..end]);
        }
    }

    #[test]
    fn lines_of_http() {
        let text = |payload: &[u8]| {
            let mut out = String::new();
            print(payload, &mut out);
            out
        };
        assert_eq!(text(b"GET /\x1b[2J HTTP/1.1\r\nHost: x\r\n"), ": HTTP: GET /\\x1b[2J HTTP/1.1");
        assert_eq!(text(b"HTTP/1.1 404 Not Found\r\n"), ": HTTP: HTTP/1.1 404 Not Found");
        assert_eq!(text(b"GETX"), "");
        assert_eq!(text(&hello("a.example")), ": TLS client hello, SNI a.example, ALPN h2,http/1.1");
    }
}
