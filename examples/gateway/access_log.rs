//! The access log: a bounded channel from the requests to one task, which writes through an
//! `AsyncWriter`. A slow disk slows requests down instead of losing lines.
//!
//! The channel holds lines, not what they are made of: that is part of the buffer which the request
//! was read into, and the connection is to have that again for its next one. Lines gather there
//! before the task takes them, so that under load a request at its end wakes nobody.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use flow_rt::{Handle, JoinHandle};
use flow_stream::{AsyncWriter, Channel, Receiver, Sender};
use hyper::Method;
use hyper::header::HeaderValue;
use hyper::http::uri::PathAndQuery;

use crate::options::WrongOption;

/// Who asks for what: parts of what was read.
#[derive(Debug)]
pub(crate) struct Asked {
    /// Its name, or its address: visible ASCII.
    pub(crate) client: HeaderValue,
    pub(crate) method: Method,
    pub(crate) target: Option<PathAndQuery>,
    /// What is to prove it.
    pub(crate) signature: Option<HeaderValue>,
}

impl Asked {
    /// Who asks.
    pub(crate) fn client(&self) -> &str {
        self.client.to_str().unwrap_or_default()
    }

    /// What for.
    pub(crate) fn path(&self) -> &str {
        self.target.as_ref().map_or("", PathAndQuery::path)
    }
}

/// One request, as the log tells it.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) at: SystemTime,
    pub(crate) asked: &'a Asked,
    pub(crate) status: u16,
    pub(crate) took: Duration,
}

/// A line of the log, with its end.
pub(crate) type Line = Vec<u8>;

/// The sending side, cheap to clone, and the task behind it.
pub(crate) struct AccessLog {
    pub(crate) lines: Sender<Line>,
    /// What shows the writer in a registry.
    pub(crate) writer: Arc<dyn flow_metrics::Collect>,
    /// Where it is written.
    pub(crate) path: PathBuf,
    task: JoinHandle<Result<u64, String>>,
}

impl AccessLog {
    /// Empties the file, or makes a new one in the temporary folder if none was named.
    pub(crate) fn open(
        rt: &Handle,
        path: Option<&Path>,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let (path, file) = if let Some(path) = path {
            (path.to_owned(), File::create(path))
        } else {
            // Others can make files there, too: none that would be taken for this one.
            let nobody_guesses = RandomState::new().hash_one(0);
            let name = format!("flow-gateway-{nobody_guesses:016x}.log");
            let path = std::env::temp_dir().join(name);
            let file = File::create_new(&path);
            (path, file)
        };
        let file = file.map_err(|error| {
            WrongOption(format!(
                "--access-log is {:?}, which cannot be written: {error}",
                path.display().to_string()
            ))
        })?;
        let writer = AsyncWriter::builder()
            .name("access-log")
            .capacity(1 << 20)
            .runtime(rt)
            .build(file)?;
        let shown = writer.collector();
        let (lines, receiver) = Channel::<Line>::builder()
            .name("access-log")
            .capacity(CAPACITY)
            .build()?;
        let task = rt.spawn_named("access log", write_all(rt.clone(), receiver, writer));
        Ok(Self {
            lines,
            writer: shown,
            path,
            task,
        })
    }

    /// Writes what was sent so far to the file, and returns how many lines that is.
    pub(crate) async fn close(self) -> Result<u64, String> {
        self.lines.close();
        self.task.await.map_err(|error| error.to_string())?
    }
}

/// Lines that wait for the log's task at most; requests wait for room when there are more.
const CAPACITY: usize = 8_192;

/// Lines that the task takes at once.
const BATCH: usize = 512;

/// How long lines gather after a batch that was not full. The channel has room for what 400 000
/// requests a second leave there meanwhile.
const GATHER: Duration = Duration::from_millis(20);

async fn write_all(rt: Handle, lines: Receiver<Line>, log: AsyncWriter) -> Result<u64, String> {
    let mut written = 0;
    let mut batch = Vec::with_capacity(BATCH);
    let mut text = Vec::new();
    while lines.recv_many(&mut batch, BATCH).await > 0 {
        let has_all = batch.len() < BATCH;
        written += batch.len() as u64;
        text.clear();
        for line in batch.drain(..) {
            text.extend_from_slice(&line);
        }
        log.write(&text).await.map_err(|error| error.to_string())?;
        if has_all && !lines.is_closed() {
            rt.sleep(GATHER).await.map_err(|error| error.to_string())?;
        }
    }
    let report = log.shutdown(Duration::from_secs(5)).await;
    if !report.is_clean() || report.timed_out || report.dropped_writes > 0 || report.errors > 0 {
        return Err(format!("the access log is not complete: {report}"));
    }
    Ok(written)
}

impl Entry<'_> {
    /// The entry's line, in the field order of the Common Log Format:
    /// `client - - [seconds.micros] "GET /path HTTP/1.1" 200 340us`.
    ///
    /// Piece by piece, without `fmt`: there is one for each request.
    pub(crate) fn line(&self) -> Line {
        let (client, path) = (self.asked.client.as_bytes(), self.asked.path());
        let mut line = Vec::with_capacity(client.len() + path.len() + REST);
        let text = &mut line;
        let at = self.at.duration_since(SystemTime::UNIX_EPOCH);
        let at = at.unwrap_or_default();
        text.extend_from_slice(client);
        text.extend_from_slice(b" - - [");
        push_number(text, at.as_secs(), 1);
        text.push(b'.');
        push_number(text, at.subsec_micros().into(), 6);
        text.extend_from_slice(b"] \"");
        text.extend_from_slice(self.asked.method.as_str().as_bytes());
        text.push(b' ');
        push_escaped(text, path);
        text.extend_from_slice(b" HTTP/1.1\" ");
        push_number(text, self.status.into(), 1);
        text.push(b' ');
        let micros = self.took.as_micros();
        push_number(text, micros.try_into().unwrap_or(u64::MAX), 1);
        text.extend_from_slice(b"us\n");
        line
    }
}

/// What a line takes beside its client and path, as a rule.
const REST: usize = 64;

/// Appends a number, with zeros before it if it has fewer digits than these.
fn push_number(text: &mut Vec<u8>, number: u64, digits: usize) {
    let mut buffer = itoa::Buffer::new();
    let number = buffer.format(number);
    text.resize(text.len() + digits.saturating_sub(number.len()), b'0');
    text.extend_from_slice(number.as_bytes());
}

/// Appends a text that stands in quotes: what could end them is escaped.
fn push_escaped(line: &mut Vec<u8>, text: &str) {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    if text.bytes().all(is_plain) {
        line.extend_from_slice(text.as_bytes());
    } else {
        line.extend_from_slice(text.escape_default().to_string().as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_when_who_what_and_how_long() {
        let line = |path: &'static str, micros| {
            let asked = Asked {
                client: HeaderValue::from_static("polite-1"),
                method: Method::GET,
                target: Some(PathAndQuery::from_static(path)),
                signature: None,
            };
            let entry = Entry {
                at: SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 42_000_999),
                asked: &asked,
                status: 200,
                took: Duration::from_micros(micros),
            };
            String::from_utf8(entry.line()).unwrap()
        };
        assert_eq!(
            line("/a/b?c=d", 340),
            "polite-1 - - [1700000000.042000] \"GET /a/b HTTP/1.1\" 200 340us\n"
        );
        let escaped = line("/say/\"hi\"", 0);
        assert!(
            escaped.ends_with("\"GET /say/\\\"hi\\\" HTTP/1.1\" 200 0us\n"),
            "{escaped}"
        );
    }
}
