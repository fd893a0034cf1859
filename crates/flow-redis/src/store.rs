//! What limiters ask of a server, so that the client behind it can be swapped.

use core::future::Future;
use core::pin::Pin;

use crate::error::RedisError;

/// A script, and the name under which a server keeps it.
pub(crate) struct Script {
    pub(crate) text: &'static str,
    /// SHA-1 of the text, in hexadecimal.
    pub(crate) sha: String,
}

/// An answer to come. Dropping it leaves the command to end by itself, within the timeout.
pub(crate) type Reply<T> = Pin<Box<dyn Future<Output = Result<T, RedisError>> + Send>>;

/// A server.
pub(crate) trait Store: Send + Sync {
    /// Runs a script that touches one key and answers with an integer.
    ///
    /// A server that does not know the script, having been restarted or flushed, is sent it.
    fn eval(&self, script: &Script, key: String, args: Vec<i64>) -> Reply<i64>;

    /// Deletes a key.
    fn delete(&self, key: String) -> Reply<()>;

    /// Asks whether the server answers.
    fn ping(&self) -> Reply<()>;
}
