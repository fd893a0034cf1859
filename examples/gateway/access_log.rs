//! The access log: a bounded channel from the requests to one task, which writes through an
//! `AsyncWriter`. A slow disk slows requests down instead of losing lines.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use flow_rt::{Handle, JoinHandle};
use flow_stream::{AsyncWriter, Channel, Receiver, Sender};
use hyper::{Method, Uri};

use crate::options::WrongOption;

/// Who asks for what.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) client: String,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
}

/// One request, as the log tells it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) at: SystemTime,
    pub(crate) asked: Arc<Asked>,
    pub(crate) status: u16,
    pub(crate) took: Duration,
}

/// The sending side, cheap to clone, and the task behind it.
pub(crate) struct AccessLog {
    pub(crate) entries: Sender<Entry>,
    /// What shows the writer in a registry.
    pub(crate) writer: Arc<dyn flow_metrics::Collect>,
    task: JoinHandle<Result<u64, String>>,
}

impl AccessLog {
    pub(crate) fn open(
        rt: &Handle,
        path: &Path,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let file = std::fs::File::create(path).map_err(|error| {
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
        let (entries, receiver) = Channel::<Entry>::builder()
            .name("access-log")
            .capacity(4_096)
            .build()?;
        let task = rt.spawn_named("access log", write_all(receiver, writer));
        Ok(Self {
            entries,
            writer: shown,
            task,
        })
    }

    /// Writes what was sent so far to the file, and returns how many lines that is.
    pub(crate) async fn close(self) -> Result<u64, String> {
        self.entries.close();
        self.task.await.map_err(|error| error.to_string())?
    }
}

async fn write_all(entries: Receiver<Entry>, log: AsyncWriter) -> Result<u64, String> {
    let mut lines = 0;
    let mut batch = Vec::with_capacity(64);
    let mut text = String::new();
    while entries.recv_many(&mut batch, 64).await > 0 {
        lines += batch.len() as u64;
        text.clear();
        for entry in batch.drain(..) {
            entry.line(&mut text);
        }
        log.write(text.as_bytes())
            .await
            .map_err(|error| error.to_string())?;
    }
    let report = log.shutdown(Duration::from_secs(5)).await;
    if !report.is_clean() || report.timed_out || report.dropped_writes > 0 || report.errors > 0 {
        return Err(format!("the access log is not complete: {report}"));
    }
    Ok(lines)
}

impl Entry {
    /// Appends the entry's line, in the field order of the Common Log Format.
    pub(crate) fn line(&self, text: &mut String) {
        use std::fmt::Write;
        let at = self
            .at
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{} - - [{}.{:06}] \"{} {} HTTP/1.1\" {} {}us",
            self.asked.client,
            at.as_secs(),
            at.subsec_micros(),
            self.asked.method,
            Quoted(self.asked.uri.path()),
            self.status,
            self.took.as_micros()
        );
    }
}

/// A text inside a line's quotes: what could end them is escaped.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
        if self.0.bytes().all(is_plain) {
            return f.write_str(self.0);
        }
        write!(f, "{}", self.0.escape_default())
    }
}
