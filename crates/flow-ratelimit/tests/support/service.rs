//! A service to find the limit of, in time moved by hand: as many servers as it has work at once,
//! the rest waits in one queue, and clients with a limiter each ask for as much as these let
//! through. Equal seeds make equal runs.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use flow_ratelimit::{AdaptiveLimiter, AdaptiveOwnedPermit};
use flow_rt::{Instant, ManualClock};

/// How long the service works on a request, around its mean.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Noise {
    /// Always the mean.
    None,
    /// Half of it, and an exponential half.
    Half,
    /// Exponential: M/M/c.
    Exponential,
}

/// The service, its clients, and the time.
pub(crate) struct Service {
    clock: ManualClock,
    random: Random,
    noise: Noise,
    servers: usize,
    mean: Duration,
    /// How many may wait; more are refused.
    room: usize,
    clients: Vec<AdaptiveLimiter<ManualClock>>,
    busy: BinaryHeap<Reverse<(u64, usize)>>,
    requests: Vec<Option<Request>>,
    vacant: Vec<usize>,
    queue: VecDeque<usize>,
    now: u64,
    /// Requests answered, and the time they took.
    answered: (u64, Duration),
}

struct Request {
    permit: AdaptiveOwnedPermit<ManualClock>,
    since: u64,
}

impl Service {
    /// A service without clients.
    pub(crate) fn new(seed: u64, servers: usize, mean: Duration, noise: Noise) -> Self {
        Self {
            clock: ManualClock::new(),
            random: Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            noise,
            servers,
            mean,
            room: usize::MAX,
            clients: Vec::new(),
            busy: BinaryHeap::new(),
            requests: Vec::new(),
            vacant: Vec::new(),
            queue: VecDeque::new(),
            now: 0,
            answered: (0, Duration::ZERO),
        }
    }

    /// What a client's limiter must go by.
    pub(crate) fn clock(&self) -> ManualClock {
        self.clock.clone()
    }

    /// A client asks from now on for all that its limiter lets through.
    pub(crate) fn join(&mut self, client: AdaptiveLimiter<ManualClock>) {
        self.clients.push(client);
    }

    /// From now on so many servers, as slow as this.
    pub(crate) fn change(&mut self, servers: usize, mean: Duration) {
        (self.servers, self.mean) = (servers, mean);
    }

    /// From now on it refuses what finds so many waiting.
    pub(crate) fn refuse_beyond(&mut self, waiting: usize) {
        self.room = waiting;
    }

    /// The mean time from asking to the answer since this was last asked.
    pub(crate) fn take_latency(&mut self) -> Duration {
        let (count, sum) = std::mem::take(&mut self.answered);
        sum / u32::try_from(count.max(1)).expect("no more in a test")
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let until = self.now + u64::try_from(time.as_nanos()).expect("short");
        loop {
            self.ask();
            match self.busy.peek() {
                Some(Reverse((at, _))) if *at <= until => self.answer(),
                _ => break,
            }
        }
        self.set(until);
    }

    /// Clients in turn, beginning with any, until nobody may.
    fn ask(&mut self) {
        let first = self.random.below(self.clients.len());
        let mut refused = 0;
        let mut turn = 0;
        while refused < self.clients.len() {
            let client = &self.clients[(first + turn) % self.clients.len()];
            turn += 1;
            let Ok(permit) = client.try_acquire_owned() else {
                refused += 1;
                continue;
            };
            if self.busy.len() + self.queue.len() >= self.servers.saturating_add(self.room) {
                // Once an answer: whoever is refused does not ask again at once.
                permit.failure();
                refused += 1;
                continue;
            }
            refused = 0;
            let request = Some(Request {
                permit,
                since: self.now,
            });
            let id = self.vacant.pop().unwrap_or(self.requests.len());
            if id == self.requests.len() {
                self.requests.push(request);
            } else {
                self.requests[id] = request;
            }
            self.queue.push_back(id);
            self.serve();
        }
    }

    fn serve(&mut self) {
        while self.busy.len() < self.servers {
            let Some(id) = self.queue.pop_front() else {
                return;
            };
            let part = match self.noise {
                Noise::None => 1.0,
                Noise::Half => f64::midpoint(1.0, self.random.exponential()),
                Noise::Exponential => self.random.exponential(),
            };
            let took = self.mean.mul_f64(part).as_nanos() as u64;
            self.busy.push(Reverse((self.now + took.max(1), id)));
        }
    }

    fn answer(&mut self) {
        let Reverse((at, id)) = self.busy.pop().expect("somebody is at work");
        self.set(at);
        let request = self.requests[id].take().expect("it was asked for");
        self.vacant.push(id);
        self.answered.0 += 1;
        self.answered.1 += Duration::from_nanos(at - request.since);
        request.permit.success();
        self.serve();
    }

    fn set(&mut self, now: u64) {
        self.now = now;
        self.clock.set(Instant::from_nanos(now));
    }
}

/// xorshift64*.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// Above 0 and up to 1.
    fn part(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// Around 0, with a deviation of 1: a sum of twelve is normal enough.
    pub(crate) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.part()).sum::<f64>() - 6.0
    }

    fn exponential(&mut self) -> f64 {
        -self.part().ln()
    }
}
