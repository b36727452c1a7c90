//! Callers that say a path where HTTP/2 wants a host.
//!
//! gRPC clients in Go that dial a bare socket path, kubelet's plugin registration among them, send the
//! path in percent form as `:authority`. That is no authority by RFC 3986, so the h2 crate refuses the
//! whole request (hyperium/tonic#1876, hyperium/h2#487). No request of CSI depends on the value, so it
//! is put right before h2 sees it: [`Tolerant`] reads the frames of RFC 9113 and, in header blocks of
//! RFC 7541, replaces the value of each literal `:authority` by `localhost`.
//!
//! Only lengths have to be understood for that, no Huffman code and no table. The caller's table holds
//! the entry as long as ours at most (its value is the longer one), so what an index means stays the same.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

/// What a client sends before its first frame: RFC 9113, 3.4.
const PREFACE: usize = 24;
/// Length, type, flags and stream: RFC 9113, 4.1.
const FRAME_HEAD: usize = 9;
const HEADERS: u8 = 1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// The largest frame that is accepted as long as the server asks for no other size: RFC 9113, 4.2.
const LARGEST_FRAME: usize = 16_384;
/// The place of `:authority` in the static table: RFC 7541, appendix A.
const AUTHORITY: u64 = 1;
const VALUE: &[u8] = b"localhost";

/// A connection whose header blocks name an authority that h2 takes.
#[derive(Debug)]
pub struct Tolerant<S> {
    inner: S,
    /// What was read and is not a whole head or header block yet.
    gathered: Vec<u8>,
    /// What can be given out, from `given` on.
    ready: Vec<u8>,
    given: usize,
    /// How many bytes of what comes are not looked at: the preface, or the rest of a frame.
    passing: usize,
}

impl<S> Tolerant<S> {
    /// A connection at its start.
    pub fn new(inner: S) -> Self {
        Self { inner, gathered: Vec::new(), ready: Vec::new(), given: 0, passing: PREFACE }
    }

    /// Takes in what was read, and moves on what is whole.
    fn take(&mut self, mut read: &[u8]) {
        while !read.is_empty() {
            let pass = self.passing.min(read.len());
            self.ready.extend_from_slice(&read[..pass]);
            self.passing -= pass;
            read = &read[pass..];
            if !read.is_empty() {
                // One frame at most is gathered; the rest of what was read comes after it.
                let wanted = wanted(&self.gathered) - self.gathered.len();
                let more = wanted.min(read.len());
                self.gathered.extend_from_slice(&read[..more]);
                read = &read[more..];
                self.sort();
            }
        }
    }

    /// Gives out what was gathered as soon as it is known what it is.
    fn sort(&mut self) {
        let Some(head) = Head::of(&self.gathered) else { return };
        if !head.is_block() {
            self.passing = head.length;
            self.ready.append(&mut self.gathered);
        } else if self.gathered.len() == FRAME_HEAD + head.length {
            let frame = std::mem::take(&mut self.gathered);
            self.ready.extend(mended(&head, &frame).unwrap_or(frame));
        }
    }
}

/// How long the gathered bytes have to be until they can be judged.
fn wanted(gathered: &[u8]) -> usize {
    match Head::of(gathered) {
        Some(head) if head.is_block() => FRAME_HEAD + head.length,
        _ => FRAME_HEAD,
    }
}

/// The head of a frame.
struct Head {
    length: usize,
    kind: u8,
    flags: u8,
}

impl Head {
    fn of(bytes: &[u8]) -> Option<Self> {
        let [a, b, c, kind, flags, ..] = *bytes else { return None };
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        (bytes.len() >= FRAME_HEAD).then_some(Self { length, kind, flags })
    }

    /// Whether it is a whole header block of a size that the server takes. A block that goes on in other
    /// frames, which no caller of CSI needs, and a frame that is too large are h2's to judge.
    fn is_block(&self) -> bool {
        self.kind == HEADERS && self.flags & END_HEADERS != 0 && self.length <= LARGEST_FRAME
    }
}

/// The frame with its authorities replaced; none when there are none, or when it is not understood: then
/// h2 says what is wrong with it.
fn mended(head: &Head, frame: &[u8]) -> Option<Vec<u8>> {
    let payload = &frame[FRAME_HEAD..];
    let padded = head.flags & PADDED != 0;
    let padding = if padded { usize::from(*payload.first()?) } else { 0 };
    let start = usize::from(padded) + if head.flags & PRIORITY != 0 { 5 } else { 0 };
    let block = payload.get(start..payload.len().checked_sub(padding)?)?;
    let fields = mended_block(block)?;
    let length = u32::try_from(start + fields.len() + padding).ok()?.to_be_bytes();
    let mut whole = vec![length[1], length[2], length[3]];
    whole.extend_from_slice(&frame[3..FRAME_HEAD + start]);
    whole.extend(fields);
    whole.extend_from_slice(&payload[payload.len() - padding..]);
    Some(whole)
}

/// A header block with `localhost` for each literal authority; none when it has none or is not understood.
fn mended_block(block: &[u8]) -> Option<Vec<u8>> {
    let (mut made, mut rest, mut changed) = (Vec::with_capacity(block.len()), block, false);
    while let Some(&first) = rest.first() {
        // RFC 7541, 6: an indexed field, a literal that is remembered, a new table size, other literals.
        let (bits, literal) = match first {
            0x80.. => (7, false),
            0x40.. => (6, true),
            0x20.. => (5, false),
            _ => (4, true),
        };
        let (index, mut length) = integer(rest, bits)?;
        if literal && index == 0 {
            length += string(rest.get(length..)?)?;
        }
        made.extend_from_slice(rest.get(..length)?);
        rest = &rest[length..];
        if literal {
            let value = string(rest)?;
            if index == AUTHORITY {
                made.push(u8::try_from(VALUE.len()).ok()?);
                made.extend_from_slice(VALUE);
                changed = true;
            } else {
                made.extend_from_slice(rest.get(..value)?);
            }
            rest = rest.get(value..)?;
        }
    }
    changed.then_some(made)
}

/// An integer in the last bits of the first byte, and how many bytes it takes: RFC 7541, 5.1.
fn integer(bytes: &[u8], bits: u8) -> Option<(u64, usize)> {
    let most = (1_u64 << bits) - 1;
    let mut value = u64::from(*bytes.first()?) & most;
    if value < most {
        return Some((value, 1));
    }
    for (at, byte) in bytes.iter().enumerate().skip(1).take(4) {
        value += u64::from(byte & 0x7f) << (7 * (at - 1));
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}

/// How many bytes a string takes with its length: RFC 7541, 5.2.
fn string(bytes: &[u8]) -> Option<usize> {
    let (length, head) = integer(bytes, 7)?;
    let whole = head.checked_add(usize::try_from(length).ok()?)?;
    (whole <= bytes.len()).then_some(whole)
}

impl<S: AsyncRead + Unpin> AsyncRead for Tolerant<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.given == this.ready.len() {
            this.ready.clear();
            this.given = 0;
            let mut space = [0; 4096];
            let mut read = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut this.inner).poll_read(context, &mut read))?;
            if read.filled().is_empty() {
                // Half a frame at the end is h2's to complain about.
                this.ready.append(&mut this.gathered);
                break;
            }
            this.take(read.filled());
        }
        let more = into.remaining().min(this.ready.len() - this.given);
        into.put_slice(&this.ready[this.given..this.given + more]);
        this.given += more;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tolerant<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(context)
    }
}

impl<S: Connected> Connected for Tolerant<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.inner.connect_info()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A frame of HEADERS with its flags and payload.
    fn frame(flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [length[1], length[2], length[3], HEADERS, flags, 0, 0, 0, 1];
        [&head[..], payload].concat()
    }

    /// `:method: POST`, `:path` as a literal, the authority, a header with a name of its own, and an
    /// index into the table.
    fn block(authority: &[u8]) -> Vec<u8> {
        let length = u8::try_from(authority.len()).unwrap();
        [&[0x83, 0x44, 2, b'/', b'x', 0x41, length], authority, &[0x40, 2, b't', b'e', 1, b'y', 0xbe]]
            .concat()
    }

    async fn through(sent: &[u8], at_once: usize) -> Vec<u8> {
        let (mut near, far) = tokio::io::duplex(at_once);
        let sent = sent.to_vec();
        let writing = tokio::spawn(async move { near.write_all(&sent).await.unwrap() });
        let mut got = Vec::new();
        Tolerant::new(far).read_to_end(&mut got).await.unwrap();
        writing.await.unwrap();
        got
    }

    #[tokio::test]
    async fn a_path_as_authority_becomes_localhost_however_it_is_cut() {
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let settings = [0, 0, 6, 4, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6];
        let padded = |authority: &[u8]| [&[3, 9, 9, 9, 9, 9][..], &block(authority), &[0; 3]].concat();
        let bytes = |authority: &[u8]| {
            let plain = frame(END_HEADERS, &block(authority));
            let padded = frame(END_HEADERS | PADDED | PRIORITY, &padded(authority));
            [&preface[..], &settings, &plain, &settings, &padded, &settings].concat()
        };
        let (sent, wanted) = (bytes(b"%2Fvar%2Flib%2Fkubelet%2Fx-reg.sock"), bytes(VALUE));
        for at_once in [1, 2, 7, 64, 4096] {
            assert_eq!(through(&sent, at_once).await, wanted, "{at_once} bytes at once");
        }
    }

    #[tokio::test]
    async fn what_is_not_understood_passes_as_it_is() {
        let preface = [b'P'; PREFACE];
        let cut = &frame(END_HEADERS, &block(b"x"))[..20];
        for odd in [
            frame(END_HEADERS, &[0x41, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff]), // a length without end
            frame(END_HEADERS, &[0x41, 50, b'x']),                           // longer than the block
            frame(END_HEADERS | PADDED, &[200, 1, 2]),                       // padding beyond the frame
            frame(0, &block(b"%2F")),                                        // goes on in another frame
            frame(END_HEADERS, &[0x83, 0x86]),                               // no authority
            cut.to_vec(),
        ] {
            let sent = [&preface[..], &odd].concat();
            assert_eq!(through(&sent, 5).await, sent);
        }
    }
}
