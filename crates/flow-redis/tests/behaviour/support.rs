//! How tests reach the server, and wait for what is not theirs.

use std::time::Duration;

use flow_redis::RedisBackend;
use flow_rt::Handle;

pub(crate) use crate::server::Server;

impl Server {
    pub(crate) fn connect(&self) -> RedisBackend {
        connect(self.url())
    }

    /// The server's clock: the one that its buckets go by.
    pub(crate) fn time(&self) -> Duration {
        let answer = self.command(&["TIME"]);
        let (seconds, micros) = answer.split_once('\n').unwrap();
        let seconds = Duration::from_secs(seconds.parse().unwrap());
        seconds + Duration::from_micros(micros.parse().unwrap())
    }
}

/// A backend that stands a busy machine: only a server that hangs reaches this timeout, and a
/// command that meets the very moment at which a connection breaks.
pub(crate) fn connect(url: String) -> RedisBackend {
    let builder = RedisBackend::builder(url).timeout(Duration::from_secs(2));
    builder.build().unwrap()
}

/// Asks again and again until the answer is yes: each try is short, and there is an end.
///
/// What is waited for is in another process or thread, so the pauses are real ones, of a blocking
/// closure: virtual time stands meanwhile.
pub(crate) async fn eventually(rt: &Handle, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..6_000 {
        if holds().await {
            return;
        }
        #[allow(clippy::disallowed_methods, reason = "the time of another process")]
        let pause = || std::thread::sleep(Duration::from_millis(10));
        rt.spawn_blocking(pause).await.unwrap();
    }
    panic!("never happened: {what}");
}
