//! A subscriber of `tracing` that writes down what it is told. Tests of other crates use it too.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, LazyLock, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Metadata, Subscriber};

/// A subscriber that nobody uses. As long as a program has made one only, `tracing` takes that of
/// the thread that comes to an event first for everybody's, and other tests' threads have none.
static UNUSED: LazyLock<Dispatch> = LazyLock::new(|| {
    Dispatch::new(Notebook {
        of: "",
        lines: Arc::default(),
    })
});

/// What the crate `of` tells while `act` runs on this thread: of each event its level, and its
/// fields.
pub(crate) fn told(of: &'static str, act: impl FnOnce()) -> Vec<String> {
    LazyLock::force(&UNUSED);
    let lines = Arc::default();
    let notebook = Notebook {
        of,
        lines: Arc::clone(&lines),
    };
    tracing::subscriber::with_default(notebook, act);
    lines.lock().unwrap().split_off(0)
}

struct Notebook {
    of: &'static str,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Subscriber for Notebook {
    fn enabled(&self, about: &Metadata<'_>) -> bool {
        about.target().starts_with(self.of)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.lines.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}
