//! A name server for the few names of a measurement, since a rival finds its federation peers by SRV records only.
//!
//! RFC 1035 over UDP, answering SRV (RFC 2782) and A questions about the names it was given; everything else does not
//! exist.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::UdpSocket;

use crate::Result;

const TYPE_A: u16 = 1;
const TYPE_SRV: u16 = 33;
const CLASS_IN: u16 = 1;
const HEADER: usize = 12;

/// A domain whose server is on loopback.
#[derive(Debug, Clone)]
pub(crate) struct Name {
    pub(crate) domain: String,
    pub(crate) s2s_port: u16,
}

/// Answers from a task of its own until the runtime ends; returns the address.
pub(crate) async fn serve(names: Vec<Name>) -> Result<SocketAddr> {
    let socket = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?);
    let address = socket.local_addr()?;
    tokio::spawn(async move {
        let mut buffer = [0; 1500];
        while let Ok((read, from)) = socket.recv_from(&mut buffer).await {
            if let Some(answer) = buffer.get(..read).and_then(|question| answer(question, &names)) {
                let _ = socket.send_to(&answer, from).await;
            }
        }
    });
    Ok(address)
}

fn answer(question: &[u8], names: &[Name]) -> Option<Vec<u8>> {
    let mut labels = Vec::new();
    let mut at = HEADER;
    loop {
        let length = usize::from(*question.get(at)?);
        at += 1;
        match length {
            0 => break,
            1..=63 => labels.push(std::str::from_utf8(question.get(at..at + length)?).ok()?.to_ascii_lowercase()),
            // A pointer has no place in a question.
            _ => return None,
        }
        at += length;
    }
    let kind = u16::from_be_bytes([*question.get(at)?, *question.get(at + 1)?]);
    let asked = labels.join(".");

    let address = names.iter().find(|name| name.domain == asked);
    let service = asked.strip_prefix("_xmpp-server._tcp.");
    let service = names.iter().find(|name| Some(name.domain.as_str()) == service);
    let data = match (kind, address, service) {
        (TYPE_A, Some(_), _) => Some(Ipv4Addr::LOCALHOST.octets().to_vec()),
        (TYPE_SRV, _, Some(name)) => Some(srv(name)),
        _ => None,
    };

    let mut out = question.get(..2)?.to_vec();
    let exists = address.is_some() || service.is_some();
    // A response with authority and recursion; 3 is "no such name".
    out.extend([0x85, if exists { 0x80 } else { 0x83 }]);
    for count in [1, u16::from(data.is_some()), 0, 0] {
        out.extend(count.to_be_bytes());
    }
    out.extend(question.get(HEADER..at + 4)?);
    if let Some(data) = data {
        // The name is a pointer to the question's.
        out.extend([0xC0, 0x0C]);
        out.extend(kind.to_be_bytes());
        out.extend(CLASS_IN.to_be_bytes());
        out.extend(3600_u32.to_be_bytes());
        out.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
        out.extend(data);
    }
    Some(out)
}

/// Priority 0, weight 0, the port, and the domain itself as the target.
fn srv(name: &Name) -> Vec<u8> {
    let mut data = vec![0, 0, 0, 0];
    data.extend(name.s2s_port.to_be_bytes());
    for label in name.domain.split('.') {
        data.extend(u8::try_from(label.len()).map(|length| length.to_be_bytes()).unwrap_or_default());
        data.extend(label.as_bytes());
    }
    data.push(0);
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(name: &str, kind: u16) -> Vec<u8> {
        let mut question = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            question.push(u8::try_from(label.len()).unwrap());
            question.extend(label.as_bytes());
        }
        question.push(0);
        question.extend(kind.to_be_bytes());
        question.extend(CLASS_IN.to_be_bytes());
        answer(&question, &[Name { domain: "a.lab".to_owned(), s2s_port: 5269 }]).unwrap()
    }

    #[test]
    fn rfc2782_a_service_has_its_port_and_target() {
        let reply = ask("_xmpp-server._TCP.a.lab", TYPE_SRV);
        assert_eq!(reply[..12], [0x12, 0x34, 0x85, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        assert!(reply.ends_with(&[0, 13, 0, 0, 0, 0, 0x14, 0x95, 1, b'a', 3, b'l', b'a', b'b', 0]));
    }

    #[test]
    fn rfc1035_an_address_an_empty_answer_and_no_such_name() {
        assert!(ask("a.lab", TYPE_A).ends_with(&[0, 4, 127, 0, 0, 1]));
        let empty = ask("a.lab", 28);
        assert_eq!((empty[3] & 15, empty[7]), (0, 0));
        assert_eq!(ask("b.lab", TYPE_A)[3] & 15, 3);
    }

    #[test]
    fn rfc1035_a_cut_question_gets_no_answer() {
        assert_eq!(answer(&[0; 12], &[]), None);
        assert_eq!(answer(&[0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 9, b'a'], &[]), None);
    }
}
