//! flow's cron beside croner, saffron, cronexpr, cron and jiff-cron.

use core::hint::black_box;
use core::time::Duration;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::mpsc;
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, TimeZone, Utc};
use chrono_tz::{America::New_York, Tz};
use flow_benches::{Bench, repeat, timed};
use flow_sched::{Cron, CronPattern, JobHandle, Scheduler};
use jiff::{Timestamp, Zoned};

fn main() -> ExitCode {
    flow_benches::run(
        "cron",
        "`Cron` beside the crates for cron patterns: reading one, and the next occurrence.",
        &["croner", "saffron", "cronexpr", "cron", "jiff-cron"],
        |bench| {
            for (name, five, six) in PARSED.into_iter().chain(SPECIAL) {
                parse(bench, name, five, six);
            }
            for (name, five, six) in PARSED {
                next(bench, name, five, six);
            }
            for (name, pattern, zone, from) in RARE {
                rare(bench, name, pattern, zone, from);
            }
            zones(bench);
            jobs(bench);
            bench.note(
                "The rows of zone libraries show chrono-tz, of which flow makes its tables, in flow's \
                 column: of New York, and of moments 61 s apart.",
            );
            bench.note(
                "Peers read a pattern where their grammar has it; `cron` and jiff-cron take six \
                 fields, cronexpr five with the zone behind them. Flow and saffron do not allocate. \
                 Jobs are scheduled a thousand at a time, each with a name of its own, and removed \
                 outside of the measure, as the driver's share of that is, on another thread: it has \
                 taken it up before the next thousand, which is too few to wake it, and which are made of \
                 the memory of those that were removed. Their patterns are all the same, or never seen before. Goflow published 727 ns, 358 B and 13 \
                 allocations for reading a pattern, 5,362 ns, 656 B and 6 allocations for \
                 scheduling a job by one (of 4 and at most 656 B here: \
                 `tests/cron/allocations.rs`).",
            );
        },
    )
}

/// A name, five fields, and six for `cron` and jiff-cron.
const PARSED: [(&str, &str, &str); 3] = [
    ("every 5 minutes", "*/5 * * * *", "0 */5 * * * *"),
    ("weekdays at 9:30", "30 9 * * MON-FRI", "0 30 9 * * MON-FRI"),
    (
        "lists",
        "0,15,30 8-17/2 1,15 1-6 *",
        "0 0,15,30 8-17/2 1,15 1-6 *",
    ),
];

/// Nicknames, special characters, and a day that not every year has: these are only read.
const SPECIAL: [(&str, &str, &str); 4] = [
    ("@daily", "@daily", "@daily"),
    ("the month's last day", "0 0 L * *", "0 0 0 L * *"),
    ("the second Friday", "0 0 * * 5#2", "0 0 0 * * 5#2"),
    ("29 February", "0 0 29 2 *", "0 0 0 29 2 *"),
];

fn parse(bench: &mut Bench, name: &str, five: &str, six: &str) {
    let row = format!("parse, {name}");
    if !bench.wants(&row) {
        return;
    }
    let zoned = format!("{five} UTC");
    let flow = || CronPattern::parse(black_box(five)).expect("a pattern");
    let croner = || croner::Cron::from_str(black_box(five)).expect("a pattern");
    let saffron = || saffron::Cron::from_str(black_box(five)).expect("a pattern");
    let cronexpr = || cronexpr::parse_crontab(black_box(&zoned)).expect("a pattern");
    let cron = || cron::Schedule::from_str(black_box(six)).expect("a pattern");
    let jiff_cron = || jiff_cron::Schedule::from_str(black_box(six)).expect("a pattern");
    let mut row = bench
        .row(row)
        .flow(|n| repeat(n, |_| flow()))
        .peer("croner", |n| repeat(n, |_| croner()));
    // Those whose grammar has it.
    if saffron::Cron::from_str(five).is_ok() {
        row = row.peer("saffron", |n| repeat(n, |_| saffron()));
    }
    if cronexpr::parse_crontab(&zoned).is_ok() {
        row = row.peer("cronexpr", |n| repeat(n, |_| cronexpr()));
    }
    if cron::Schedule::from_str(six).is_ok() {
        row = row.peer("cron", |n| repeat(n, |_| cron()));
    }
    if jiff_cron::Schedule::from_str(six).is_ok() {
        row = row.peer("jiff-cron", |n| repeat(n, |_| jiff_cron()));
    }
    row.measure();
}

fn next(bench: &mut Bench, name: &str, five: &str, six: &str) {
    for zone in [Tz::UTC, New_York] {
        let row = format!("next, {name}, {}", zone.name());
        if !bench.wants(&row) {
            continue;
        }
        let flow = zoned(five, zone);
        let croner = croner::Cron::from_str(five).expect("a pattern");
        let cron = cron::Schedule::from_str(six).expect("a pattern");
        let jiff_cron = jiff_cron::Schedule::from_str(six).expect("a pattern");
        let jiff_zone = jiff::tz::TimeZone::get(zone.name()).expect("a zone");
        let mut row = bench
            .row(row)
            .flow(|n| repeat(n, |i| flow.next_after(system(i))))
            .peer("croner", |n| {
                repeat(n, |i| croner.find_next_occurrence(&local(zone, i), false))
            })
            .peer("cron", |n| {
                repeat(n, |i| cron.after(&local(zone, i)).next())
            })
            .peer("jiff-cron", |n| {
                repeat(n, |i| jiff_cron.after(zoned_by_jiff(&jiff_zone, i)).next())
            });
        let saffron = saffron::Cron::from_str(five).expect("a pattern");
        if zone == Tz::UTC {
            row = row.peer("saffron", move |n| {
                repeat(n, |i| {
                    saffron.next_after(local(Tz::UTC, i).with_timezone(&Utc))
                })
            });
        }
        row.measure();
    }
}

/// Occurrences that are far off, or on a day on which clocks change.
const RARE: [(&str, &str, Tz, u64); 3] = [
    ("29 February", "0 0 29 2 *", Tz::UTC, 1_800_000_000),
    (
        "1 January on a Monday",
        "0 0 1 1 +MON",
        Tz::UTC,
        1_800_000_000,
    ),
    // 2026-03-08 at midnight; 02:30 is left out that day.
    ("inside a gap", "30 2 * * *", New_York, 1_772_946_000),
];

fn rare(bench: &mut Bench, name: &str, pattern: &str, zone: Tz, from: u64) {
    let row = format!("next, {name}");
    if !bench.wants(&row) {
        return;
    }
    let flow = zoned(pattern, zone);
    let croner = croner::Cron::from_str(pattern).expect("a pattern");
    let after = UNIX_EPOCH + Duration::from_secs(from);
    let seconds = i64::try_from(from).expect("this century");
    let local = zone.timestamp_opt(seconds, 0).single().expect("a time");
    bench
        .row(row)
        .flow(|n| repeat(n, |_| flow.next_after(black_box(after))))
        .peer("croner", |n| {
            repeat(n, |_| croner.find_next_occurrence(black_box(&local), false))
        })
        .measure();
}

/// The libraries of time zones themselves: chrono-tz, which flow's tables are made of, and jiff.
fn zones(bench: &mut Bench) {
    let jiff_zone = jiff::tz::TimeZone::get(New_York.name()).expect("a zone");
    let seconds = |i| moment(i).cast_signed();
    let of_chrono = |i| DateTime::from_timestamp(seconds(i), 0).expect("in range");
    let of_jiff = |i| Timestamp::from_second(seconds(i)).expect("in range");
    bench
        .row("zone library: offset of a moment")
        .instructions(10_000)
        .flow(|n| {
            repeat(n, |i| {
                New_York.offset_from_utc_datetime(&of_chrono(i).naive_utc())
            })
        })
        .peer("jiff", |n| repeat(n, |i| jiff_zone.to_offset(of_jiff(i))))
        .measure();
    let utc = jiff::tz::TimeZone::UTC;
    bench
        .row("zone library: moment of a local time")
        .instructions(10_000)
        .flow(|n| {
            repeat(n, |i| {
                New_York
                    .from_local_datetime(&of_chrono(i).naive_utc())
                    .earliest()
                    .map(|it| it.timestamp())
            })
        })
        .peer("jiff", |n| {
            repeat(n, |i| {
                let local = utc.to_datetime(of_jiff(i));
                jiff_zone.to_ambiguous_timestamp(local).earlier().ok()
            })
        })
        .measure();
}

/// Jobs by cron: of one pattern, which the scheduler has compiled once, and each of its own.
fn jobs(bench: &mut Bench) {
    schedule(bench, "schedule by cron, interned", ("280 ns", 280), |_| {
        "30 9 * * MON-FRI".to_owned()
    });
    schedule(
        bench,
        "schedule by cron, first sight",
        ("450 ns", 450),
        |i| {
            let (minute, hour, day, month) = (i % 60, i / 60 % 24, i / 1_440 % 28, i / 40_320 % 12);
            format!("{minute} {hour} {} {} *", day + 1, month + 1)
        },
    );
}

/// Beside the time that it may take.
fn schedule(
    bench: &mut Bench,
    row: &str,
    (most, nanos): (&'static str, u64),
    pattern: fn(u64) -> String,
) {
    /// So many at a time.
    const JOBS: u64 = 1_000;

    if !bench.wants(row) {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("threads can be started");
    let _entered = runtime.enter();
    let scheduler = Scheduler::new().expect("a runtime is current");
    let start = |name: String, pattern: String| -> JobHandle {
        let job = scheduler.job(name, async |_cx| ()).cron(pattern);
        job.start().expect("its name is free")
    };
    let mut count = 0;
    let kept = start("kept".to_owned(), pattern(count));
    let row = bench
        .row(row)
        .batch(JOBS)
        .flow(|n| {
            let mut all = Duration::ZERO;
            for _ in 0..n {
                let wanted: Vec<(String, String)> = (count + 1..=count + JOBS)
                    .map(|i| (format!("job {i}"), pattern(i)))
                    .collect();
                count += JOBS;
                let mut jobs = Vec::with_capacity(wanted.len());
                take_up(&scheduler);
                all += timed(|| {
                    jobs.extend(
                        wanted
                            .into_iter()
                            .map(|(name, pattern)| start(name, pattern)),
                    );
                });
                for job in jobs {
                    drop(job.remove());
                }
            }
            all
        })
        .peer(most, |n| Duration::from_nanos(nanos * JOBS * n));
    // It reads the pattern each time, whether it is the same or not.
    row.goflow("cron").measure();
    drop(kept);
}

/// Waits until the driver has taken up all that it was handed, in order: the removal of jobs, which
/// is not to be measured, and then one that is due at once.
fn take_up(scheduler: &Scheduler) {
    let (tell, told) = mpsc::channel();
    let last = scheduler.unnamed(move |_cx| {
        let tell = tell.clone();
        async move { tell.send(()).expect("it is waited for") }
    });
    last.after(Duration::ZERO).start().expect("a job");
    told.recv().expect("it runs");
}

fn zoned(pattern: &str, zone: Tz) -> Cron {
    let cron = Cron::new(pattern).expect("a pattern");
    cron.time_zone(zone.name()).expect("a zone")
}

/// 2026-06-01, and a minute more with each call, so that none is like the one before.
fn moment(i: u64) -> u64 {
    1_780_272_000 + 61 * (i % 100_000)
}

fn system(i: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(moment(i))
}

fn local(zone: Tz, i: u64) -> DateTime<Tz> {
    let seconds = i64::try_from(moment(i)).expect("this century");
    zone.timestamp_opt(seconds, 0).single().expect("a time")
}

fn zoned_by_jiff(zone: &jiff::tz::TimeZone, i: u64) -> Zoned {
    let seconds = i64::try_from(moment(i)).expect("this century");
    let at = Timestamp::from_second(seconds).expect("this century");
    at.to_zoned(zone.clone())
}
