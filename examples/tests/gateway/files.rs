//! Where the access log is if nobody says where.

use std::fs::read_to_string;
use std::path::Path;

use crate::redis_server::Server;
use crate::support::{Folder, Serving, gateway, refusal, text};

#[test]
fn the_check_of_itself_leaves_no_file() {
    let folder = Folder::new();
    let mut good = gateway();
    good.env("TMPDIR", folder.path());
    good.args(["--duration", "300ms", "--clients", "2"]);
    let run = good.args(["--rate", "5", "--burst", "1"]).output().unwrap();
    assert!(run.status.success(), "{}", text(&run.stderr));
    let url = Server::away().url();
    let mut bad = gateway();
    bad.env("TMPDIR", folder.path());
    refusal(bad.args(["--redis", &url]));
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
}

#[test]
fn a_gateway_that_serves_makes_a_new_file_and_leaves_it() {
    let folder = Folder::new();
    for n in 1..=2 {
        let mut command = gateway();
        command.env("TMPDIR", folder.path());
        let serving = Serving::run(command.args(["--serve", "127.0.0.1:0"]));
        assert!(serving.get("/").starts_with("HTTP/1.1 401"));
        let guess = folder.file(&format!("flow-gateway-{}.log", serving.pid()));
        assert!(!Path::new(&guess).exists(), "{guess}");
        let (code, rest) = serving.signal("-TERM");
        assert_eq!(code, Some(0), "{rest}");
        let files: Vec<_> = folder.path().read_dir().unwrap().collect();
        assert_eq!(files.len(), n);
        for file in files {
            let log = read_to_string(file.unwrap().path()).unwrap();
            assert_eq!(log.lines().count(), 1, "{log}");
        }
    }
}

#[test]
fn no_temporary_folder_gets_a_sentence() {
    let mut command = gateway();
    command.env("TMPDIR", "/nonexistent");
    let err = refusal(&mut command);
    assert!(err.contains("--access-log is \"/nonexistent/"), "{err}");
}
