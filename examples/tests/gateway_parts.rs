//! Parts of the gateway by themselves: their tests lie beside them, and are built here because an
//! example that is built as a test is not there to be run.
#![allow(dead_code, reason = "the parts are used as a whole by the example")]

#[path = "../gateway/access_log.rs"]
mod access_log;
#[path = "../gateway/alarm.rs"]
mod alarm;
#[path = "../gateway/in_flight.rs"]
mod in_flight;
#[path = "../gateway/jobs.rs"]
mod jobs;
#[path = "../gateway/limits.rs"]
mod limits;
#[path = "../gateway/load.rs"]
mod load;
#[path = "../gateway/net.rs"]
mod net;
#[path = "../gateway/options.rs"]
mod options;
#[path = "../gateway/progress.rs"]
mod progress;
#[path = "../gateway/report.rs"]
mod report;
#[path = "../gateway/signature.rs"]
mod signature;
#[path = "../gateway/told.rs"]
mod told;
