//! One row: a workload, its contenders, and how they are measured.

use std::time::Duration;

use crate::bench::Bench;
use crate::callgrind;
use crate::measured::Measured;

/// A contender: runs that many batches and says how long they took.
type Run<'f> = Box<dyn FnMut(u64) -> Duration + 'f>;

/// A row being put together; see [`Bench::row`].
#[must_use = "a row is measured by `measure`"]
pub struct Row<'b, 'f> {
    bench: &'b mut Bench,
    name: String,
    batch: u64,
    instructions: Option<u64>,
    contenders: Vec<(String, Run<'f>)>,
}

impl<'b, 'f> Row<'b, 'f> {
    pub(crate) fn new(bench: &'b mut Bench, name: String) -> Self {
        Self {
            bench,
            name,
            batch: 1,
            instructions: None,
            contenders: Vec::new(),
        }
    }

    /// Says that one batch is so many operations; one, unless told otherwise.
    ///
    /// Contenders are asked for batches, and figures are per operation.
    pub fn batch(mut self, operations: u64) -> Self {
        self.batch = operations.max(1);
        self
    }

    /// Also counts instructions, when asked to, over so many batches.
    ///
    /// For contenders that run on one thread: valgrind serializes threads.
    pub fn instructions(mut self, batches: u64) -> Self {
        self.instructions = Some(batches.max(1));
        self
    }

    /// Flow's contender.
    pub fn flow(self, run: impl FnMut(u64) -> Duration + 'f) -> Self {
        self.peer(FLOW, run)
    }

    /// A peer's contender.
    pub fn peer(mut self, name: &str, run: impl FnMut(u64) -> Duration + 'f) -> Self {
        self.contenders.push((name.to_owned(), Box::new(run)));
        self
    }

    /// Measures all contenders in interleaved rounds, and reports the row.
    pub fn measure(mut self) {
        // Flow first, wherever it was named.
        self.contenders.sort_by_key(|(name, _)| name != FLOW);
        if self.run_fixed() || !self.bench.wants(&self.name) {
            return;
        }
        let samples = self.sample();
        let Some(((_, flow), peers)) = samples.split_first() else {
            return;
        };
        let mut measured = Measured::from_rounds(&self.name, "ns", flow, peers);
        if let Some(batches) = self
            .instructions
            .filter(|_| self.bench.counts_instructions())
        {
            let per_operation = |contender: &str| {
                let total = callgrind::per_batch(&self.name, contender, batches)?;
                Some(total / self.batch as f64)
            };
            measured.flow_instructions = per_operation(FLOW);
            for peer in &mut measured.peers {
                peer.instructions = per_operation(&peer.name);
            }
        }
        self.bench.push(measured);
    }

    /// Under callgrind: runs the one contender that is asked for, and ends the process.
    fn run_fixed(&mut self) -> bool {
        let Some(fixed) = self.bench.fixed() else {
            return false;
        };
        if fixed.row == self.name {
            let wanted = self
                .contenders
                .iter_mut()
                .find(|(name, _)| *name == fixed.contender);
            if let Some((_, run)) = wanted {
                run(fixed.batches);
                std::process::exit(0);
            }
        }
        true
    }

    /// Nanoseconds per operation, by contender and round.
    fn sample(&mut self) -> Vec<(String, Vec<f64>)> {
        let round = self.bench.round();
        let counts: Vec<u64> = self
            .contenders
            .iter_mut()
            .map(|(_, run)| calibrate(run, round))
            .collect();
        let mut samples: Vec<(String, Vec<f64>)> = self
            .contenders
            .iter()
            .map(|(name, _)| (name.clone(), Vec::new()))
            .collect();
        let contenders = self.contenders.len();
        for first in 0..self.bench.rounds() {
            for turn in 0..contenders {
                // Whoever goes first goes last in the next round.
                let who = (first + turn) % contenders;
                let took = self.contenders[who].1(counts[who]);
                let operations = counts[who] as f64 * self.batch as f64;
                samples[who].1.push(took.as_nanos() as f64 / operations);
            }
        }
        samples
    }
}

/// How many batches fill a round; warms up on the way.
fn calibrate(run: &mut Run<'_>, round: Duration) -> u64 {
    let mut batches = 1;
    loop {
        let took = run(batches);
        if took * 4 >= round || batches >= 1 << 40 {
            let filled = u128::from(batches) * round.as_nanos() / took.as_nanos().max(1);
            // A round of a few milliseconds holds fewer than 2^64 of anything.
            return (filled as u64).max(1);
        }
        batches *= 2;
    }
}

pub(crate) const FLOW: &str = "flow";
