//! Running other people's code where its panic must harm nothing of ours.

/// Runs a hook, a destructor or a waker, and lets no panic out.
///
/// The panic hook has printed it by then.
pub(super) fn contain(f: impl FnOnce()) {
    if let Err(panic) = flow_rt::catch(f)
        && let Err(second) = flow_rt::catch(|| drop(panic))
    {
        // The payload's destructor panics too: leak it rather than try again for ever.
        core::mem::forget(second);
    }
}
