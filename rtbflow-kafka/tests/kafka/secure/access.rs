//! How a broker learns of a user's rights, in its own words: the client has none for them.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::server::address;

/// What a right is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resource {
    Topic = 2,
    Group = 3,
    TransactionalId = 5,
}

/// What it allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Read = 3,
    Write = 4,
    Create = 5,
}

/// A right of the user `limited`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Right {
    pub(super) resource: Resource,
    pub(super) name: String,
    pub(super) operation: Operation,
}

const CREATE: i16 = 30;
const DELETE: i16 = 31;
/// The last version without tagged fields, which Kafka has known since 2.0.
const VERSION: i16 = 1;
const LITERAL: u8 = 3;
const ALLOW: u8 = 3;

fn text(text: &str, out: &mut Vec<u8>) {
    out.extend(i16::try_from(text.len()).unwrap().to_be_bytes());
    out.extend(text.as_bytes());
}

impl Right {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(self.resource as u8);
        text(&self.name, out);
        out.push(LITERAL);
        text("User:limited", out);
        text("*", out);
        out.extend([self.operation as u8, ALLOW]);
    }
}

fn tell(request: i16, rights: &[Right]) {
    let mut body = Vec::new();
    body.extend(request.to_be_bytes());
    body.extend(VERSION.to_be_bytes());
    body.extend(7_i32.to_be_bytes());
    text("test", &mut body);
    body.extend(i32::try_from(rights.len()).unwrap().to_be_bytes());
    rights.iter().for_each(|right| right.write(&mut body));
    let mut broker = TcpStream::connect(address()).unwrap();
    broker.write_all(&i32::try_from(body.len()).unwrap().to_be_bytes()).unwrap();
    broker.write_all(&body).unwrap();
    let mut length = [0; 4];
    broker.read_exact(&mut length).unwrap();
    let mut answer = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
    broker.read_exact(&mut answer).unwrap();
    // Behind the number of the request, the time that it was held up and the number of answers: the first's code.
    let code = answer.get(12..14).and_then(|code| code.try_into().ok()).map(i16::from_be_bytes);
    assert_eq!(code, Some(0), "the broker refuses {rights:?}: {answer:?}");
}

pub(super) fn grant(rights: &[Right]) {
    tell(CREATE, rights);
}

pub(super) fn withdraw(rights: &[Right]) {
    tell(DELETE, rights);
}
