//! What a channel does when it is full: each answer, on the same ten events.
//!
//! Run with `cargo run --example on_full`. An event comes each millisecond, its consumer needs
//! three, and three fit into the channel. The program prints, for each answer, which events were
//! received, which were not and who was told, and how long the sender took. It runs in virtual
//! time, so it takes no time and prints the same each time.
#![allow(clippy::print_stdout)] // a program for people

mod answers;

use std::process::ExitCode;

use answers::Answer;

fn main() -> ExitCode {
    for answer in Answer::ALL {
        match answers::show(answer) {
            Ok(report) => println!("{report}\n"),
            Err(failure) => {
                eprintln!("{failure}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
