//! A sink that does what the test says, and remembers what it got.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};

use flow_stream::BlockingSink;

/// What a call of the sink does. Without a script it takes everything.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// Takes so many bytes at the most.
    Take(usize),
    Fail,
    Interrupt,
    Panic,
}

#[derive(Clone, Default)]
pub(crate) struct TestSink(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    busy: AtomicBool,
    dropped: AtomicBool,
}

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    flushed: usize,
    calls: usize,
    script: VecDeque<Step>,
    /// What to do when the script is over.
    always: Option<Step>,
}

impl TestSink {
    pub(crate) fn script(&self, steps: impl IntoIterator<Item = Step>) {
        self.0.state.lock().unwrap().script.extend(steps);
    }

    pub(crate) fn always(&self, step: Option<Step>) {
        self.0.state.lock().unwrap().always = step;
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.state.lock().unwrap().bytes.clone()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.bytes()).unwrap()
    }

    /// What was there at the last flush.
    pub(crate) fn flushed(&self) -> usize {
        self.0.state.lock().unwrap().flushed
    }

    /// Calls of `write`.
    pub(crate) fn calls(&self) -> usize {
        self.0.state.lock().unwrap().calls
    }

    /// Whether the writer has let go of it.
    pub(crate) fn is_dropped(&self) -> bool {
        self.0.dropped.load(SeqCst)
    }

    /// The end that goes into the writer.
    pub(crate) fn sink(&self) -> ScriptedSink {
        ScriptedSink(self.0.clone())
    }
}

pub(crate) struct ScriptedSink(Arc<Inner>);

impl ScriptedSink {
    /// Every call goes through here: one at a time, or the test fails.
    fn call<T>(&self, call: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        assert!(!self.0.busy.swap(true, SeqCst), "two calls at once");
        let done = call(&mut self.0.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.busy.store(false, SeqCst);
        done
    }
}

impl BlockingSink for ScriptedSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.call(|state| {
            state.calls += 1;
            let step = state.script.pop_front().or(state.always);
            Ok(match step {
                None => Some(bytes.len()),
                Some(Step::Take(most)) => Some(most.min(bytes.len())),
                Some(Step::Fail) => return Err(io::Error::other("the disk is full")),
                Some(Step::Interrupt) => return Err(io::ErrorKind::Interrupted.into()),
                Some(Step::Panic) => None,
            }
            .inspect(|taken| state.bytes.extend_from_slice(&bytes[..*taken])))
        })?;
        Ok(taken.expect("a sink that panics"))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.call(|state| {
            state.flushed = state.bytes.len();
            Ok(())
        })
    }
}

impl Drop for ScriptedSink {
    fn drop(&mut self) {
        self.0.dropped.store(true, SeqCst);
    }
}
