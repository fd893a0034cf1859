//! SIGINT and SIGTERM as a cancellation, on every runtime: a thread of its own waits for them.

use std::io;

use flow_rt::CancellationToken;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Cancels `stop` at the first signal; a second one ends the process at once.
pub(crate) fn cancel_on_signal(stop: CancellationToken) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                if stop.is_cancelled() {
                    // Asked twice: the person does not want to wait for the drain.
                    std::process::exit(128 + signal);
                }
                stop.cancel_with("a signal asked to stop");
            }
        })?;
    Ok(())
}
