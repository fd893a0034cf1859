//! What is posted goes through stages, from one channel into the next.
//!
//! A stage that is slow fills the channel before it, and so slows down those before it; several
//! workers take from one channel. What comes out of a stage is a type of its own, so no stage can
//! be left out, or come too early.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flow_metrics::Collect;
use flow_rt::sim::Sim;
use flow_rt::{Instant, TaskGroup};
use flow_stream::{Channel, Receiver, Sender, oneshot};

use crate::Failure;

pub(crate) struct Posted {
    pub(crate) id: Option<u64>,
}

struct Valid {
    id: u64,
}

struct Enriched {
    id: u64,
    country: &'static str,
}

#[derive(Clone, Copy)]
pub(crate) struct Record {
    pub(crate) country: &'static str,
    pub(crate) tier: &'static str,
    pub(crate) stored_at: Instant,
}

/// What was posted lacks its id.
pub(crate) struct Invalid;

/// All records that were stored; maintenance takes the old ones out.
#[derive(Default)]
pub(crate) struct Records {
    pub(crate) kept: BTreeMap<u64, Record>,
    pub(crate) most: usize,
    pub(crate) expired: u64,
}

/// Something on its way, and who waits for it to arrive.
struct Item<T> {
    data: T,
    reply: oneshot::Sender<Result<Record, Invalid>>,
}

#[derive(Clone)]
pub(crate) struct Pipeline {
    input: Sender<Item<Posted>>,
    pub(crate) records: Arc<Mutex<Records>>,
    pub(crate) collectors: Arc<[Arc<dyn Collect>]>,
}

impl Pipeline {
    /// The way in, and the tasks of the stages.
    pub(crate) fn start(rt: &Sim) -> Result<(Self, TaskGroup<()>), Failure> {
        let mut building = Building {
            stages: rt.task_group(),
            collectors: Vec::new(),
        };
        let (input, posted) = building.channel("posted")?;
        let valid = building.stage("valid", 1, &posted, async |posted: Posted| {
            posted.id.map(|id| Valid { id }).ok_or(Invalid)
        })?;
        let lookup = rt.clone();
        let enriched = building.stage("enriched", 4, &valid, move |valid: Valid| {
            let rt = lookup.clone();
            async move {
                // Another service is asked, which answers late now and then.
                let late = valid.id % 500 == 250;
                rt.sleep(Duration::from_millis(if late { 15_000 } else { 20 }))
                    .await;
                let (id, country) = (valid.id, ["DE", "FR", "PL"][valid.id as usize % 3]);
                Ok(Enriched { id, country })
            }
        })?;
        let clock = rt.clone();
        let records = building.stage("transformed", 1, &enriched, move |enriched: Enriched| {
            let tier = match enriched.id {
                0..100 => "premium",
                100..1_000 => "standard",
                _ => "basic",
            };
            let (country, stored_at) = (enriched.country, clock.now());
            let record = Record {
                country,
                tier,
                stored_at,
            };
            async move { Ok((enriched.id, record)) }
        })?;
        let store = Arc::new(Mutex::new(Records::default()));
        building.stages.spawn(persist(records, store.clone()));
        let pipeline = Self {
            input,
            records: store,
            collectors: building.collectors.into(),
        };
        Ok((pipeline, building.stages))
    }

    /// Waits until it is stored; `None` if the pipeline ends.
    pub(crate) async fn run(&self, data: Posted) -> Option<Result<Record, Invalid>> {
        let (reply, stored) = oneshot::channel();
        self.input.send(Item { data, reply }).await.ok()?;
        stored.await.ok()
    }

    /// Takes nothing more in, and waits until all that is on its way has arrived.
    pub(crate) async fn close(&self, mut stages: TaskGroup<()>) -> Result<(), Failure> {
        // Each stage ends when the channel before it is closed and empty, and closes its own.
        self.input.close();
        while let Some(ended) = stages.join_next().await {
            ended?;
        }
        Ok(())
    }
}

/// The last stage: nothing comes after it but the answer.
async fn persist(input: Receiver<Item<(u64, Record)>>, records: Arc<Mutex<Records>>) {
    while let Ok(Item { data, reply }) = input.recv().await {
        let (id, record) = data;
        // Stored only for somebody who hears of it; the lock keeps the two together.
        let mut records = records.lock().expect("nobody panics");
        if reply.send(Ok(record)).is_ok() {
            records.kept.insert(id, record);
            records.most = records.most.max(records.kept.len());
        }
    }
}

struct Building {
    stages: TaskGroup<()>,
    collectors: Vec<Arc<dyn Collect>>,
}

type Ends<T> = (Sender<Item<T>>, Receiver<Item<T>>);

impl Building {
    fn channel<T: Send + 'static>(&mut self, name: &'static str) -> Result<Ends<T>, Failure> {
        let (tx, rx) = Channel::builder().name(name).capacity(8).build()?;
        self.collectors.push(rx.collector());
        Ok((tx, rx))
    }

    /// So many workers, between a channel and one of the stage's name.
    fn stage<I, O, Fut>(
        &mut self,
        name: &'static str,
        workers: usize,
        input: &Receiver<Item<I>>,
        work: impl Fn(I) -> Fut + Clone + Send + Sync + 'static,
    ) -> Result<Receiver<Item<O>>, Failure>
    where
        I: Send + 'static,
        O: Send + 'static,
        Fut: Future<Output = Result<O, Invalid>> + Send + 'static,
    {
        let (tx, output) = self.channel(name)?;
        for _ in 0..workers {
            let (input, tx, work) = (input.clone(), tx.clone(), work.clone());
            self.stages.spawn(async move {
                while let Ok(Item { data, reply }) = input.recv().await {
                    match work(data).await {
                        // Who waited for it may have gone: then nothing more is done for it.
                        Ok(_) if reply.is_closed() => {}
                        Ok(data) => {
                            if tx.send(Item { data, reply }).await.is_err() {
                                break;
                            }
                        }
                        Err(invalid) => drop(reply.send(Err(invalid))),
                    }
                }
            });
        }
        Ok(output)
    }
}
