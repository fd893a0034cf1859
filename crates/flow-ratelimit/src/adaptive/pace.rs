//! How fast a limit grows.

/// The steps by which a limit grows: small where a decrease is near, wider the longer there was
/// none, so that a service that has become larger is found in tens of windows.
///
/// The first step is the same for limits of all sizes: so the smaller of two clients gains more
/// by it than the larger, and they come to equal shares (Chiu and Jain 1989). It doubles with
/// every four windows.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    /// Steps since the last decrease.
    calm: u32,
    /// There has been a decrease: the limit is somewhere near.
    is_near: bool,
}

impl Pace {
    /// The next step from `limit`.
    pub(super) fn step(&mut self, limit: f64) -> f64 {
        let doublings = (self.calm / STEPS_EACH).min(MAX_DOUBLINGS);
        self.calm = self.calm.saturating_add(1);
        let widest = if self.is_near {
            WIDEST
        } else {
            WIDEST_AT_FIRST
        };
        let step = FIRST * f64::from(1 << doublings);
        step.min(limit * widest).max(1.0)
    }

    /// The limit is lowered, or holds: begin anew.
    pub(super) fn settle(&mut self) {
        self.calm = 0;
        self.is_near = true;
    }
}

/// The limit that permits are given by.
pub(super) fn whole(limit: f64) -> u32 {
    #[allow(clippy::cast_sign_loss)] // a limit is made by factors and steps above 0
    let whole = limit as u32;
    whole
}

const FIRST: f64 = 2.0;
const STEPS_EACH: u32 = 4;
const MAX_DOUBLINGS: u32 = 16;
/// Of the limit: what a step may overshoot the mark by.
const WIDEST: f64 = 0.08;
const WIDEST_AT_FIRST: f64 = 0.5;
