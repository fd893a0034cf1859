//! What the gateway does by the clock: the table `[jobs]` of a configuration file.
//!
//! ```toml
//! [jobs]
//! forget-closed = "*/5 * * * *"
//! report = "TZ=Europe/Berlin 0 9 * * MON-FRI"
//! ```

use flow_sched::Cron;

use crate::options::WrongOption;

/// The cron patterns of the jobs that were asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Jobs {
    /// Forgets connections to the upstream that were closed; without a pattern, at a fixed rate.
    pub(crate) forget_closed: Option<Cron>,
    /// Prints how many requests were admitted and limited; without a pattern, never.
    pub(crate) report: Option<Cron>,
}

impl Jobs {
    pub(crate) fn read(table: toml::Table) -> Result<Self, WrongOption> {
        let mut jobs = Self::default();
        for (name, pattern) in table {
            let job = match name.as_str() {
                "forget-closed" => &mut jobs.forget_closed,
                "report" => &mut jobs.report,
                unknown => {
                    return Err(WrongOption(format!(
                        "there is no job {unknown:?}; the names are forget-closed and report"
                    )));
                }
            };
            let toml::Value::String(pattern) = pattern else {
                return Err(WrongOption(format!(
                    "jobs.{name} is of type {}; it takes a cron pattern as a text",
                    pattern.type_str()
                )));
            };
            let cron = Cron::new(&pattern)
                .map_err(|error| WrongOption(format!("jobs.{name}: {error}")))?;
            *job = Some(cron);
        }
        Ok(jobs)
    }
}
