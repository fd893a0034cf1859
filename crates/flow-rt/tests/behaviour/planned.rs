//! Panics and destructors that tests plan.

/// Panics without going through the panic hook: a planned panic prints nothing.
pub(crate) fn planned_panic(message: &'static str) -> ! {
    std::panic::resume_unwind(Box::new(message))
}

/// Panics when it is dropped.
pub(crate) struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        planned_panic("planned, in a destructor");
    }
}

/// Says so when it is dropped.
pub(crate) struct SaysDropped(pub(crate) Option<tokio::sync::oneshot::Sender<()>>);

impl SaysDropped {
    /// The guard, and what is ready once it was dropped.
    pub(crate) fn new() -> (Self, tokio::sync::oneshot::Receiver<()>) {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        (Self(Some(sender)), receiver)
    }
}

impl Drop for SaysDropped {
    fn drop(&mut self) {
        if let Some(sender) = self.0.take() {
            // The test may have ended.
            let _ = sender.send(());
        }
    }
}
