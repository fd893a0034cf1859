//! Child processes: shown as they run, and read afterwards.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::cli::{Failure, Outcome};
use crate::workspace;

/// How a child ended, with both its streams in the order they came, colours removed.
pub(crate) struct Ended {
    pub(crate) success: bool,
    pub(crate) how: String,
    pub(crate) text: String,
}

/// Cargo, in the workspace.
pub(crate) fn cargo<I, S>(args: I) -> Command
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    // The one on the path is rustup's: it understands `+nightly`, and `CARGO` does not.
    let mut command = Command::new("cargo");
    command.args(args).current_dir(workspace::root());
    command
}

/// Runs a child with its streams on ours; fails unless it succeeds.
pub(crate) fn run(command: &mut Command) -> Outcome {
    announce(command);
    let status = command
        .status()
        .map_err(|error| cannot_start(command, &error))?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::failed(format!(
            "`{}` failed: {status}",
            line(command)
        )))
    }
}

/// Runs a child, shows each line as it comes and keeps it.
pub(crate) fn tee(command: &mut Command) -> Outcome<Ended> {
    announce(command);
    let mut child = spawn_piped(command)?;
    let streams = (child.stdout.take(), child.stderr.take());
    let (sender, lines) = std::sync::mpsc::channel();
    let to_stderr = sender.clone();
    let out = thread::spawn(move || forward(streams.0, &mut std::io::stdout(), &sender));
    let err = thread::spawn(move || forward(streams.1, &mut std::io::stderr(), &to_stderr));
    let text = lines.iter().collect::<String>();
    // Both ended, or the channel would still be open.
    let _ = (out.join(), err.join());
    let status = child
        .wait()
        .map_err(|error| cannot_start(command, &error))?;
    Ok(Ended {
        success: status.success(),
        how: status.to_string(),
        text: plain(&text),
    })
}

/// Runs a child and keeps what it says to itself; a child that takes longer than `limit` is
/// killed and counts as failed.
pub(crate) fn quiet(command: &mut Command, limit: Duration) -> Outcome<Ended> {
    let mut child = spawn_piped(command)?;
    let streams = (child.stdout.take(), child.stderr.take());
    let out = thread::spawn(move || slurp(streams.0));
    let err = thread::spawn(move || slurp(streams.1));
    let deadline = Instant::now() + limit;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Some(status),
            Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                break None;
            }
            Err(error) => return Err(cannot_start(command, &error)),
        }
    };
    let mut text = out.join().unwrap_or_default();
    text.push_str(&err.join().unwrap_or_default());
    Ok(Ended {
        success: status.is_some_and(|status| status.success()),
        how: status.map_or_else(
            || format!("killed: not done after {} s", limit.as_secs()),
            |status| status.to_string(),
        ),
        text: plain(&text),
    })
}

/// What a child prints on its standard output, if it succeeds.
pub(crate) fn stdout(command: &mut Command) -> Outcome<String> {
    let output = command
        .output()
        .map_err(|error| cannot_start(command, &error))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(Failure::failed(format!(
            "`{}` failed: {}\n{}",
            line(command),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )))
    }
}

/// The command as one would type it, cut short where it lists many features.
pub(crate) fn line(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(command.get_program());
    let mut text = core::iter::once(name)
        .chain(command.get_args())
        .map(|part| part.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ");
    if let Some((end, _)) = text.char_indices().nth(120) {
        text.truncate(end);
        text.push_str(" ...");
    }
    text
}

fn announce(command: &Command) {
    eprintln!("$ {}", line(command));
}

fn spawn_piped(command: &mut Command) -> Outcome<Child> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| cannot_start(command, &error))
}

fn forward(
    stream: Option<impl Read>,
    screen: &mut impl Write,
    keep: &std::sync::mpsc::Sender<String>,
) {
    let Some(stream) = stream else { return };
    let mut reader = BufReader::new(stream);
    let mut bytes = Vec::new();
    while reader
        .read_until(b'\n', &mut bytes)
        .is_ok_and(|read| read > 0)
    {
        // A screen that has gone away is no reason to stop the tests.
        let _ = screen.write_all(&bytes).and_then(|()| screen.flush());
        let _ = keep.send(String::from_utf8_lossy(&bytes).into_owned());
        bytes.clear();
    }
}

fn slurp(stream: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        let _ = stream.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn cannot_start(command: &Command, error: &std::io::Error) -> Failure {
    Failure::failed(format!("cannot run `{}`: {error}", line(command)))
}

/// Removes the colours: escape sequences that end in a letter.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\x1b' {
            chars.by_ref().find(char::is_ascii_alphabetic);
        } else {
            out.push(c);
        }
    }
    out
}
