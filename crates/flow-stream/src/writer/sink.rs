//! Where a writer's bytes go.

use std::io;

/// A sink whose calls may block; a writer runs them where the runtime allows that.
///
/// Every `std::io::Write` that is `Send` is one: a `File`, a `BufWriter`, a `TcpStream`.
/// One call is made at a time, ever.
pub trait BlockingSink: Send + 'static {
    /// Takes some of `bytes` and says how many.
    ///
    /// Fewer than all is fine: the rest is offered next. `Ok(0)` counts as the error
    /// `WriteZero`; `Interrupted` is tried again at once.
    ///
    /// # Errors
    /// None of `bytes` was taken. They are kept and offered again.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Brings all that was taken to where it belongs.
    ///
    /// # Errors
    /// Some of it may not be there yet; it is called again before a flush succeeds.
    fn flush(&mut self) -> io::Result<()>;
}

impl<W: io::Write + Send + 'static> BlockingSink for W {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::Write::write(self, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::Write::flush(self)
    }
}
