//! One row: a workload, its contenders, and how they are measured.

use std::time::Duration;

use crate::bench::Bench;
use crate::goflow::GOFLOW;
use crate::instructions;
use crate::measured::Measured;

/// A contender: runs that many batches and says how long they took.
type Run<'f> = Box<dyn FnMut(u64) -> Duration + 'f>;

/// By contender and round.
type Samples = Vec<(String, Vec<f64>)>;

/// How often all contenders have their turns, there and back, in a round of a row that goes on
/// [until it is steady](Row::until_steady).
const LAPS: usize = 6;

/// How far the quartiles of a steady cost are from each other at most, as a share of it.
const STEADY: f64 = 0.1;

/// A row being put together; see [`Bench::row`].
#[must_use = "a row is measured by `measure`"]
pub struct Row<'b, 'f> {
    bench: &'b mut Bench,
    name: String,
    unit: &'static str,
    batch: u64,
    /// Batches to count instructions over.
    counted: Option<u64>,
    is_until_steady: bool,
    contenders: Vec<(String, Run<'f>)>,
}

impl<'b, 'f> Row<'b, 'f> {
    pub(crate) fn new(bench: &'b mut Bench, name: String) -> Self {
        Self {
            bench,
            name,
            unit: "ns",
            batch: 1,
            counted: None,
            is_until_steady: false,
            contenders: Vec::new(),
        }
    }

    /// Says what the figures are, if contenders return another time than that on the clock.
    pub fn unit(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }

    /// Says that one batch is so many operations; one, unless told otherwise.
    ///
    /// Contenders are asked for batches, and figures are per operation.
    pub fn batch(mut self, operations: u64) -> Self {
        self.batch = operations.max(1);
        self
    }

    /// For contenders whose figure changes from turn to turn by more than what is asked of their
    /// ratio, as that of a server on few cores does.
    ///
    /// A round is six laps then. In each all contenders have a turn of the same number of
    /// batches, one after the other, and then another one the other way round (A B B A), so that
    /// what drifts meets them alike; a round's figure is that of all its turns. The first round
    /// warms up. Then the rounds go on, to twice as many as there are of others, until the
    /// quartiles of each cost are within a tenth of it; a note below the table says after how many
    /// that was.
    pub fn until_steady(mut self) -> Self {
        self.is_until_steady = true;
        self
    }

    /// Also counts instructions, when asked to, over so many batches.
    ///
    /// For contenders that run on one thread, as valgrind serializes threads, or that are programs
    /// of their own, which start, do so many batches and end.
    pub fn instructions(mut self, batches: u64) -> Self {
        self.counted = Some(batches.max(1));
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

    /// goflow's own code, if it is there: a contender of `benches/goflow/main.go`, by its name.
    ///
    /// Where it is not, a note below the table says why.
    pub fn goflow(self, contender: &'f str) -> Self {
        if self.bench.fixed().is_some() || !self.bench.wants(&self.name) {
            return self;
        }
        match self.bench.goflow.process() {
            Some(process) => self.peer(GOFLOW, move |n| process.run(contender, n)),
            None => self,
        }
    }

    /// Measures all contenders in interleaved rounds, and reports the row.
    pub fn measure(mut self) {
        // Flow first, wherever it was named.
        self.contenders.sort_by_key(|(name, _)| name != FLOW);
        if self.run_fixed() || !self.bench.wants(&self.name) {
            return;
        }
        let samples = self.sample();
        let Some(mut measured) = self.measured(&samples) else {
            return;
        };
        if self.is_until_steady {
            self.bench.note(format!(
                "{}: after {} rounds the quartiles of its cost were {:.0} % of it apart.",
                self.name,
                samples[0].1.len(),
                measured.spread() * 100.0
            ));
        }
        if self.bench.counts_instructions() {
            measured.flow_instructions = self.count(FLOW);
            for peer in &mut measured.peers {
                peer.instructions = self.count(&peer.name);
            }
        }
        self.bench.push(measured);
    }

    /// Instructions of one operation, if the row counts them; it is told why they could not be.
    fn count(&self, contender: &str) -> Option<f64> {
        // goflow is not ours to start.
        let batches = self.counted.filter(|_| contender != GOFLOW)?;
        match instructions::per_batch(&self.name, contender, batches) {
            Ok(batch) => Some(batch / self.batch as f64),
            Err(why) => {
                let row = &self.name;
                eprintln!("instructions of {row} / {contender} are not counted: {why}");
                None
            }
        }
    }

    /// In a counted process: runs the one contender that is asked for, and ends.
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

    /// Figures per operation, by contender and round.
    fn sample(&mut self) -> Samples {
        let length = self.bench.round();
        let mut counts: Vec<u64> = self
            .contenders
            .iter_mut()
            .map(|(_, run)| calibrate(run, length))
            .collect();
        let names = self.contenders.iter().map(|(name, _)| name.clone());
        let mut samples: Samples = names.map(|name| (name, Vec::new())).collect();
        let contenders = samples.len();
        let rounds = self.bench.rounds();
        if !self.is_until_steady {
            for first in 0..rounds {
                // Whoever goes first goes last in the next round.
                let order = (0..contenders).map(|turn| (first + turn) % contenders);
                self.round(order, &counts, &mut samples);
            }
            return samples;
        }
        // The same for all: a server that has more to do at once may do it for less.
        let most = counts.iter().copied().max().unwrap_or(1);
        counts.fill(most);
        let lap = || (0..contenders).chain((0..contenders).rev());
        let laps = || (0..LAPS).flat_map(|_| lap());
        self.round(laps(), &counts, &mut samples.clone());
        for round in 0..2 * rounds {
            let is_steady = |row: Measured| row.spread() <= STEADY;
            if round >= rounds && self.measured(&samples).is_none_or(is_steady) {
                break;
            }
            self.round(laps(), &counts, &mut samples);
        }
        samples
    }

    /// Gives contenders their turns in this order, and takes a sample of each.
    fn round(&mut self, order: impl Iterator<Item = usize>, counts: &[u64], samples: &mut Samples) {
        let mut ran = vec![(0, Duration::ZERO); counts.len()];
        for who in order {
            ran[who].0 += counts[who];
            ran[who].1 += self.contenders[who].1(counts[who]);
        }
        for ((_, samples), (batches, took)) in samples.iter_mut().zip(ran) {
            samples.push(took.as_nanos() as f64 / (batches as f64 * self.batch as f64));
        }
    }

    /// What so many rounds say; nothing without a contender.
    fn measured(&self, samples: &Samples) -> Option<Measured> {
        let ((_, flow), peers) = samples.split_first()?;
        Some(Measured::from_rounds(&self.name, self.unit, flow, peers))
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
