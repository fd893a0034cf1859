//! Lines of 64 bytes to a file that takes them at once.

use std::fs::File;
use std::io::{BufWriter, Write};

use flow_benches::{Bench, timed};
use flow_stream::AsyncWriter;
use tokio::runtime::Runtime;

const LINE: [u8; 64] = [b'x'; 64];
const LINES: u64 = 1000;

pub(crate) fn rows(bench: &mut Bench, runtime: &Runtime) {
    let ours = AsyncWriter::builder()
        .runtime(&crate::handle(runtime))
        .build(null())
        .expect("a valid writer");
    // As much as `AsyncWriter` gathers before it writes.
    let mut std = BufWriter::with_capacity(64 << 10, null());
    bench
        .row("write of 64 bytes, flushed every 1000")
        .batch(LINES)
        .flow(|n| {
            timed(|| {
                runtime.block_on(async {
                    for _ in 0..n {
                        for _ in 0..LINES {
                            ours.write(&LINE).await.expect("it is open");
                        }
                        ours.flush().await.expect("nothing fails here");
                    }
                });
            })
        })
        .peer("BufWriter", |n| {
            timed(|| {
                for _ in 0..n {
                    for _ in 0..LINES {
                        std.write_all(&LINE).expect("nothing fails here");
                    }
                    std.flush().expect("nothing fails here");
                }
            })
        })
        .measure();
}

fn null() -> File {
    File::options()
        .write(true)
        .open("/dev/null")
        .expect("this machine has /dev/null")
}
