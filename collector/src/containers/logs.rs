//! Log lines from Docker's log stream.
//!
//! Docker sends messages, not lines: a long line comes in pieces, each with the same time in
//! front. Without a terminal the messages are framed and name their stream; with one they are raw
//! bytes. Memory stays bounded whatever a container writes.

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use jiff::Timestamp;

use crate::docker::{Docker, DockerError, LogsQuery, Tail};

/// Longest line kept; what follows is cut and marked.
pub const LINE_BYTES: usize = 1 << 20;
/// A message of a terminal longer than this carries the next message's time inside.
const PIECE_BYTES: usize = 16 * 1024;
/// Largest frame believed.
const FRAME_BYTES: usize = 4 << 20;
/// Most bytes of lines in one answer.
const ANSWER_BYTES: usize = 8 << 20;
/// Docker counts pieces where we count lines: asked for in addition.
const TAIL_SLACK: usize = 64;
/// Messages of a second, deeper reading.
pub const DEEP: usize = 20_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStream {
    Stdout,
    Stderr,
}

impl LogStream {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// One whole line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When its first piece was written, to the nanosecond.
    pub at: Option<Timestamp>,
    pub stream: LogStream,
    pub text: String,
}

/// The newest `lines` lines that match, oldest first, both streams in the order of their times.
/// Also says whether older ones were left out.
///
/// Docker counts its tail in messages, before other streams and later lines are left out. So both
/// streams are read up to now and chosen from here; where that leaves too few lines and there is
/// more to read, more is read, down to `query.tail`.
pub async fn read(
    docker: &Docker,
    id: &str,
    query: LogsQuery,
    lines: usize,
) -> Result<(Vec<LogLine>, bool), DockerError> {
    for messages in [lines + TAIL_SLACK, DEEP] {
        let answer = read_tail(docker, id, &query, lines, Tail::Lines(messages)).await?;
        let deepest = query.tail == Tail::Lines(messages);
        if answer.lines.len() >= lines || answer.messages < messages || deepest {
            let truncated = answer.dropped || answer.messages >= messages;
            return Ok((answer.lines, truncated));
        }
    }
    let answer = read_tail(docker, id, &query, lines, Tail::All).await?;
    Ok((answer.lines, answer.dropped))
}

/// What one reading gave.
struct Reading {
    lines: Vec<LogLine>,
    /// Messages Docker sent, whether they were wanted or not.
    messages: usize,
    /// More lines matched than were asked for.
    dropped: bool,
}

async fn read_tail(
    docker: &Docker,
    id: &str,
    query: &LogsQuery,
    lines: usize,
    tail: Tail,
) -> Result<Reading, DockerError> {
    let all_of_it =
        LogsQuery { tail, follow: false, stdout: true, stderr: true, until: None, ..*query };
    let mut body = docker.logs(id, &all_of_it)?;
    let wanted = |line: &LogLine| {
        let stream = match line.stream {
            LogStream::Stdout => query.stdout,
            LogStream::Stderr => query.stderr,
        };
        stream
            && line.at.is_none_or(|at| {
                query.since.is_none_or(|since| at >= since)
                    && query.until.is_none_or(|until| at <= until)
            })
    };
    let mut decoder = Decoder::default();
    let mut all = Vec::new();
    let mut bytes = 0;
    let mut dropped = false;
    while let Some(chunk) = body.next().await {
        for line in decoder.push(&chunk?)?.into_iter().filter(wanted) {
            bytes += line.text.len();
            all.push(line);
        }
        if bytes > 2 * ANSWER_BYTES || all.len() > 2 * lines + TAIL_SLACK {
            dropped = true;
            // A little more than asked for: the order of times may still change.
            let excess = all.len().saturating_sub(lines + TAIL_SLACK);
            all.drain(..excess);
            bytes = drop_oldest(&mut all, ANSWER_BYTES);
        }
    }
    let messages = decoder.messages;
    all.extend(decoder.finish().into_iter().filter(wanted));
    // Stable: lines of one moment keep the order in which Docker sent them.
    all.sort_by_key(|line| line.at);
    let before = all.len();
    drop_oldest(&mut all, ANSWER_BYTES);
    let excess = all.len().saturating_sub(lines);
    all.drain(..excess);
    dropped |= all.len() < before;
    Ok(Reading { lines: all, messages, dropped })
}

/// Keeps the newest lines within `limit` bytes and says how many bytes they have.
fn drop_oldest(lines: &mut Vec<LogLine>, limit: usize) -> usize {
    let mut bytes = 0;
    let kept = lines.iter().rev().take_while(|line| {
        bytes += line.text.len();
        bytes <= limit
    });
    let first = lines.len() - kept.count();
    lines.drain(..first);
    bytes.min(limit)
}

/// Lines as they are written, until the container stops.
pub fn follow(
    docker: &Docker,
    id: &str,
    query: &LogsQuery,
) -> Result<impl Stream<Item = Result<LogLine, DockerError>> + Send + use<>, DockerError> {
    let body = docker.logs(id, query)?;
    let lines = futures_util::stream::unfold(
        (body, Some(Decoder::default())),
        |(mut body, mut decoder)| async move {
            let mut open = decoder.take()?;
            let lines: Vec<Result<LogLine, DockerError>> = match body.next().await {
                Some(Ok(chunk)) => match open.push(&chunk) {
                    Ok(lines) => {
                        decoder = Some(open);
                        lines.into_iter().map(Ok).collect()
                    }
                    Err(error) => vec![Err(error)],
                },
                Some(Err(error)) => vec![Err(error)],
                None => open.finish().into_iter().map(Ok).collect(),
            };
            Some((futures_util::stream::iter(lines), (body, decoder)))
        },
    );
    Ok(lines.flatten())
}

/// From bytes to lines.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
    kind: Kind,
    stdout: Joiner,
    stderr: Joiner,
    /// Messages so far: lines, or pieces of long ones.
    messages: usize,
}

/// Each message begins with its time because it is always asked for, and a time begins with a
/// digit, a frame with 0 to 3: the first byte tells which kind of stream it is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Kind {
    #[default]
    Unseen,
    Framed,
    Raw,
}

impl Decoder {
    /// Lines completed by these bytes.
    pub fn push(&mut self, chunk: &Bytes) -> Result<Vec<LogLine>, DockerError> {
        self.buffer.extend_from_slice(chunk);
        if self.kind == Kind::Unseen {
            self.kind = match self.buffer.first() {
                None => return Ok(Vec::new()),
                Some(0..=3) => Kind::Framed,
                Some(_) => Kind::Raw,
            };
        }
        let mut lines = Vec::new();
        match self.kind {
            Kind::Framed => self.frames(&mut lines)?,
            _ => self.raw(&mut lines),
        }
        Ok(lines)
    }

    /// What is left when the stream ends: lines without a line end.
    pub fn finish(mut self) -> Vec<LogLine> {
        let mut lines = Vec::new();
        if self.kind == Kind::Raw && !self.buffer.is_empty() {
            let rest = self.buffer.split();
            self.stdout.piece(&rest, LogStream::Stdout, &mut lines);
        }
        self.stdout.flush(LogStream::Stdout, &mut lines);
        self.stderr.flush(LogStream::Stderr, &mut lines);
        lines
    }

    /// Frames: stream, three zeros, length as big-endian u32, payload (Docker API, "attach").
    fn frames(&mut self, lines: &mut Vec<LogLine>) -> Result<(), DockerError> {
        while let Some((&[kind, _, _, _, a, b, c, d], _)) = self.buffer.split_first_chunk::<8>() {
            let length = u32::from_be_bytes([a, b, c, d]) as usize;
            if kind > 3 || length > FRAME_BYTES {
                return Err(DockerError::Unreadable("the log stream is out of step".to_owned()));
            }
            if self.buffer.len() < 8 + length {
                break;
            }
            let frame = self.buffer.split_to(8 + length);
            self.messages += 1;
            let payload = frame.get(8..).unwrap_or_default();
            match kind {
                2 => self.stderr.piece(payload, LogStream::Stderr, lines),
                // The engine's own words about a log it cannot read on.
                3 => lines.push(LogLine {
                    at: None,
                    stream: LogStream::Stderr,
                    text: format!("[docker] {}", String::from_utf8_lossy(payload).trim()),
                }),
                _ => self.stdout.piece(payload, LogStream::Stdout, lines),
            }
        }
        Ok(())
    }

    fn raw(&mut self, lines: &mut Vec<LogLine>) {
        loop {
            let end = self.buffer.iter().position(|byte| *byte == b'\n').map(|end| end + 1);
            // A terminal may write on without a line end: hand over whole pieces as they fill.
            let piece = PIECE_BYTES + TIME_BYTES;
            let full = (self.buffer.len() > piece + TIME_BYTES).then_some(piece);
            let length = match (end, full) {
                (Some(end), Some(piece)) => end.min(piece),
                (Some(length), None) | (None, Some(length)) => length,
                (None, None) => return,
            };
            let part = self.buffer.split_to(length);
            self.messages += 1;
            self.stdout.piece(&part, LogStream::Stdout, lines);
        }
    }
}

/// A time and the space after it: `2026-05-05T10:00:00.123456789Z `.
const TIME_BYTES: usize = 31;

/// Pieces of one stream to lines.
#[derive(Debug, Default)]
struct Joiner {
    open: Option<(Option<Timestamp>, Vec<u8>)>,
    cut: bool,
}

impl Joiner {
    /// A message, with its time in front; it ends the line if it ends with a line end. A message
    /// may also hold several lines, where a driver says so.
    fn piece(&mut self, message: &[u8], stream: LogStream, lines: &mut Vec<LogLine>) {
        let (at, mut text) = split_time(message);
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let (head, tail) = text.split_at(end);
            self.append(at, head);
            self.flush(stream, lines);
            text = tail.get(1..).unwrap_or_default();
        }
        if !text.is_empty() {
            self.append(at, text);
        }
    }

    fn append(&mut self, at: Option<Timestamp>, text: &[u8]) {
        let (_, line) = self.open.get_or_insert_with(|| (at, Vec::new()));
        let room = LINE_BYTES.saturating_sub(line.len());
        self.cut |= text.len() > room;
        line.extend_from_slice(text.get(..room).unwrap_or(text));
    }

    fn flush(&mut self, stream: LogStream, lines: &mut Vec<LogLine>) {
        let Some((at, mut line)) = self.open.take() else { return };
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        let mut text = String::from_utf8_lossy(&line).into_owned();
        if std::mem::take(&mut self.cut) {
            text.push_str(" [line cut at 1 MiB]");
        }
        lines.push(LogLine { at, stream, text });
    }
}

/// The time in front of a message; without one, the message is all text.
fn split_time(message: &[u8]) -> (Option<Timestamp>, &[u8]) {
    let Some(space) = message.iter().take(48).position(|byte| *byte == b' ') else {
        // An empty line is its time and nothing else.
        let end = message.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        let (head, tail) = message.split_at(end.unwrap_or(message.len()));
        return match parse_time(head) {
            Some(at) => (Some(at), tail),
            None => (None, message),
        };
    };
    let (head, tail) = message.split_at(space);
    match parse_time(head) {
        Some(at) => (Some(at), tail.get(1..).unwrap_or_default()),
        None => (None, message),
    }
}

fn parse_time(bytes: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(bytes).ok()?;
    if text.len() < 20 || !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// The last lines before an end, for the record of that end: at most `lines` lines and `bytes`
/// bytes, the newest kept.
pub fn snippet(lines: &[LogLine], most_lines: usize, most_bytes: usize) -> String {
    let mut bytes = 0;
    let kept: Vec<&str> = lines
        .iter()
        .rev()
        .take(most_lines)
        .map(|line| line.text.as_str())
        .take_while(|text| {
            bytes += text.len() + 1;
            bytes <= most_bytes
        })
        .collect();
    if let ([], Some(last)) = (kept.as_slice(), lines.last()) {
        // One line longer than all we may keep: its end says most.
        let from = last.text.len().saturating_sub(most_bytes);
        let from = (from..last.text.len()).find(|at| last.text.is_char_boundary(*at));
        return from.and_then(|from| last.text.get(from..)).unwrap_or_default().to_owned();
    }
    kept.into_iter().rev().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const T1: &str = "2026-05-05T10:00:00.000000001Z";
    const T2: &str = "2026-05-05T10:00:00.000000002Z";

    fn frame(stream: u8, payload: &str) -> Vec<u8> {
        let mut bytes = vec![stream, 0, 0, 0];
        bytes.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
        bytes.extend(payload.as_bytes());
        bytes
    }

    /// Decodes in chunks of every small size: the result may not depend on where chunks end.
    fn decode(bytes: &[u8]) -> Vec<(String, String)> {
        let decode_in = |size: usize| {
            let mut decoder = Decoder::default();
            let mut lines = Vec::new();
            for chunk in bytes.chunks(size) {
                lines.extend(decoder.push(&Bytes::copy_from_slice(chunk)).unwrap());
            }
            lines.extend(decoder.finish());
            lines
                .into_iter()
                .map(|line| (line.stream.as_str().to_owned(), line.text))
                .collect::<Vec<_>>()
        };
        let whole = decode_in(bytes.len());
        for size in [1, 2, 7, 8, 9, 4096] {
            assert_eq!(decode_in(size), whole, "in chunks of {size}");
        }
        whole
    }

    #[test]
    fn frames_name_their_stream() {
        let bytes = [frame(1, &format!("{T1} out\n")), frame(2, &format!("{T2} err\n"))].concat();
        let wanted = [("stdout", "out"), ("stderr", "err")];
        assert_eq!(decode(&bytes), wanted.map(|(s, t)| (s.to_owned(), t.to_owned())));
    }

    #[test]
    fn pieces_of_one_line_are_joined_even_with_the_other_stream_between() {
        let bytes = [
            frame(1, &format!("{T1} {}", "a".repeat(16384))),
            frame(2, &format!("{T1} warn\n")),
            frame(1, &format!("{T1} {}\n", "b".repeat(10))),
        ]
        .concat();
        let lines = decode(&bytes);
        assert_eq!(lines[0].1, "warn");
        assert_eq!(lines[1].1, "a".repeat(16384) + &"b".repeat(10));
    }

    #[test]
    fn a_terminal_has_no_frames_and_no_carriage_returns() {
        let bytes = format!("{T1} one\r\n{T2} \r\n{T2} two");
        let texts: Vec<_> = decode(bytes.as_bytes()).into_iter().map(|line| line.1).collect();
        assert_eq!(texts, ["one", "", "two"]);
    }

    #[test]
    fn a_terminals_long_line_loses_the_times_inside_it() {
        let piece = "x".repeat(PIECE_BYTES);
        let bytes = format!("{T1} {piece}{T1} {piece}{T1} end\r\n{T2} next\r\n");
        let texts: Vec<_> = decode(bytes.as_bytes()).into_iter().map(|line| line.1).collect();
        assert_eq!(texts, [format!("{piece}{piece}end"), "next".to_owned()]);
    }

    #[test]
    fn a_line_without_end_is_bounded_and_marked() {
        let mut decoder = Decoder::default();
        let message = Bytes::from(frame(1, &format!("{T1} {}", "y".repeat(PIECE_BYTES))));
        for _ in 0..200 {
            assert!(decoder.push(&message).unwrap().is_empty());
        }
        let line = decoder.finish().remove(0).text;
        assert!(line.ends_with(" [line cut at 1 MiB]") && line.len() < LINE_BYTES + 64);
    }

    #[test]
    fn the_engines_own_error_is_a_line_and_costs_no_others() {
        let bytes = [frame(1, &format!("{T1} a\n")), frame(3, "Error grabbing logs: EOF")].concat();
        let texts: Vec<_> = decode(&bytes).into_iter().map(|line| line.1).collect();
        assert_eq!(texts, ["a", "[docker] Error grabbing logs: EOF"]);
    }

    #[test]
    fn a_stream_out_of_step_is_an_error_not_a_guess() {
        let mut decoder = Decoder::default();
        let bytes = [frame(1, &format!("{T1} a\n")), vec![9, 9, 9, 9, 9, 9, 9, 9]].concat();
        assert!(decoder.push(&Bytes::from(bytes)).is_err());
    }

    #[test]
    fn a_snippet_keeps_the_newest_lines() {
        let line = |text: &str| LogLine { at: None, stream: LogStream::Stdout, text: text.into() };
        let lines = [line("one"), line("two"), line("three")];
        assert_eq!(snippet(&lines, 2, 100), "two\nthree");
        assert_eq!(snippet(&lines, 50, 10), "two\nthree");
        assert_eq!(snippet(&[line("žluťoučký")], 50, 6), "učký");
        assert_eq!(snippet(&[], 50, 100), "");
    }
}
