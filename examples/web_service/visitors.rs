//! An hour of visitors, and what they saw.

use std::collections::BTreeMap;

use flow_rt::sim::Sim;

use crate::service::{Request, Service};
use crate::{Failure, SECOND};

/// Answers by path and status.
#[derive(Default)]
pub(crate) struct Seen(BTreeMap<(&'static str, u16), u64>);

impl Seen {
    pub(crate) fn count(&mut self, path: &'static str, status: u16) {
        *self.0.entry((path, status)).or_default() += 1;
    }

    pub(crate) fn of(&self, path: &'static str, status: u16) -> u64 {
        self.0.get(&(path, status)).copied().unwrap_or(0)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, u16, u64)> {
        self.0
            .iter()
            .map(|((path, status), answers)| (*path, *status, *answers))
    }
}

/// Returns when all were answered.
pub(crate) async fn come(rt: &Sim, service: &Service) -> Result<Seen, Failure> {
    let mut visits = rt.task_group();
    for second in 0..3_599 {
        for request in at(second) {
            let service = service.clone();
            visits.spawn(async move {
                let path = request.path;
                (path, service.answer(request).await.status)
            });
        }
        rt.sleep(SECOND).await;
    }
    let mut seen = Seen::default();
    while let Some(visit) = visits.join_next().await {
        let (path, status) = visit?;
        seen.count(path, status);
    }
    Ok(seen)
}

/// Who comes in this second.
fn at(second: u64) -> Vec<Request> {
    let (minute, second) = (second / 60, second % 60);
    let tasks = |count| (0..count).map(move |n| Request::post("/api/tasks", minute * 100 + n));
    match (minute, second) {
        // More than fit, of everything at once.
        (0, 0) => {
            let mut all = vec![Request::post("/api/process", None)];
            all.extend((0..250).map(|_| Request::get("/api/users")));
            all.extend((0..60).map(|n| Request::post("/api/upload", n)));
            all.extend((0..30).map(|_| Request::get("/api/db/users")));
            all.extend((0..9).map(|n| Request::post("/api/process", n)));
            all.push(Request::get("/api/data"));
            all.push(Request::get("/favicon.ico"));
            all
        }
        // The rush: more tasks in a minute than end in one.
        (10..30, 0) => tasks(70).collect(),
        // Queued still when the service ends.
        (59, 58) => tasks(20).collect(),
        // One in ten has forgotten its id.
        (_, 1) => {
            let ids = (minute * 40..).take(40);
            ids.map(|id| Request::post("/api/data", (id % 10 != 9).then_some(id)))
                .collect()
        }
        (_, 2) => vec![Request::get("/health")],
        _ => Vec::new(),
    }
}
