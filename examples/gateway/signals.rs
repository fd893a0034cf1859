//! SIGINT and SIGTERM as a cancellation, on every runtime: a thread of its own waits for them.

use std::io;
use std::time::Duration;

use flow_rt::{CancellationToken, Handle};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Signals that follow the first within this time mean the same stop: the program `timeout` passes
/// one on to its child, and then to the group that the child is in.
const SAME_STOP: Duration = Duration::from_secs(1);

/// Cancels `stop` at the first signal; a later one ends the process at once.
pub(crate) fn cancel_on_signal(rt: Handle, stop: CancellationToken) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let mut asked = None;
            for signal in signals.forever() {
                let now = rt.now();
                let since = now.saturating_duration_since(*asked.get_or_insert(now));
                if since >= SAME_STOP {
                    // Asked again: the person does not want to wait for the drain.
                    std::process::exit(128 + signal);
                }
                stop.cancel_with("a signal asked to stop");
            }
        })?;
    Ok(())
}
