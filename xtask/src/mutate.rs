//! Proves that the loom models notice mistakes: each listed mutation must make its model fail.
//!
//! Works on a copy of the tree. A failing model may abort its process, so each runs in one of
//! its own; one that does not end in time counts as noticed, one that does not compile as an
//! error in the list.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::cli::{Failure, Outcome};
use crate::loom;
use crate::process::{self, Ended};
use crate::workspace;

const LIMIT: Duration = Duration::from_secs(600);

const MODEL: &str = "`model` is no text `test_file::test_name`, nor a list of such";

/// One mutation for one of the models that it names.
#[derive(Clone)]
struct Mutant {
    name: String,
    package: String,
    /// Relative to the copy's root.
    file: PathBuf,
    find: String,
    replace: String,
    test_file: String,
    test: String,
}

enum Verdict {
    Noticed(String),
    Survived,
}

/// Runs all mutants, or those of the named packages' models, with `text` in their name or model,
/// and names the survivors.
pub(crate) fn run(packages: &[String], text: &str) -> Outcome {
    let mut mutants = load()?;
    mutants.retain(|mutant| {
        let model = format!("{}::{}", mutant.test_file, mutant.test);
        (packages.is_empty() || packages.contains(&mutant.package))
            && (mutant.name.contains(text) || model.contains(text))
    });
    if mutants.is_empty() {
        return Err(Failure::failed(
            "there is no crates/*/loom-mutations.toml with a [[mutant]] for that",
        ));
    }
    let copy = copy_tree()?;
    println!("{} mutants", mutants.len());
    let mut sound = BTreeSet::new();
    let mut bad = Vec::new();
    for mutant in &mutants {
        let model = (&mutant.package, &mutant.test_file, &mutant.test);
        let verdict = if sound.contains(&model) {
            try_out(mutant, &copy)
        } else {
            // What fails unchanged proves nothing when it fails changed.
            check_model(mutant, &copy).and_then(|()| {
                sound.insert(model);
                try_out(mutant, &copy)
            })
        };
        let label = format!("{}: {}", mutant.package, mutant.name);
        match verdict {
            Ok(Verdict::Noticed(how)) => println!("noticed   {label} ({how})"),
            Ok(Verdict::Survived) => {
                println!("SURVIVED  {label} ({} passes)", mutant.test);
                bad.push(label);
            }
            Err(failure) => {
                println!("ERROR     {label}: {}", failure.sentence());
                bad.push(label);
            }
        }
    }
    println!("{} noticed, {} not", mutants.len() - bad.len(), bad.len());
    if bad.is_empty() {
        Ok(())
    } else {
        Err(Failure::failed(format!(
            "not noticed by their models: {}",
            bad.join("; ")
        )))
    }
}

fn check_model(mutant: &Mutant, copy: &Path) -> Outcome {
    build(mutant, copy)?;
    let ended = run_model(mutant, copy)?;
    match (ended.success, loom::passed(&ended.text)) {
        (true, 1) => Ok(()),
        (true, _) => Err(Failure::failed(format!(
            "{}::{} is no test of {}",
            mutant.test_file, mutant.test, mutant.package
        ))),
        (false, _) => Err(Failure::failed(format!(
            "{}::{} fails without the mutation:\n{}",
            mutant.test_file, mutant.test, ended.text
        ))),
    }
}

fn try_out(mutant: &Mutant, copy: &Path) -> Outcome<Verdict> {
    let file = copy.join(&mutant.file);
    let original = read(&file)?;
    let places = original.matches(&mutant.find).count();
    if places != 1 {
        return Err(Failure::failed(format!(
            "`find` occurs {places} times in {}, not once",
            mutant.file.display()
        )));
    }
    write(&file, &original.replacen(&mutant.find, &mutant.replace, 1))?;
    let ended = build(mutant, copy).and_then(|()| run_model(mutant, copy));
    write(&file, &original)?;
    let ended = ended?;
    Ok(if ended.success {
        Verdict::Survived
    } else {
        Verdict::Noticed(ended.how)
    })
}

fn build(mutant: &Mutant, copy: &Path) -> Outcome {
    let ended = process::quiet(command(mutant, copy).arg("--no-run"), LIMIT)?;
    if ended.success {
        Ok(())
    } else {
        Err(Failure::failed(format!(
            "does not compile:\n{}",
            ended.text
        )))
    }
}

fn run_model(mutant: &Mutant, copy: &Path) -> Outcome<Ended> {
    let mut command = command(mutant, copy);
    command.args(["--", "--exact", &mutant.test]);
    process::quiet(&mut command, LIMIT)
}

fn command(mutant: &Mutant, copy: &Path) -> Command {
    let mut command = loom::test_command(&mutant.package);
    command
        .args(["--test", &mutant.test_file])
        .current_dir(copy)
        .env("CARGO_TARGET_DIR", copy.join("target"));
    command
}

fn load() -> Outcome<Vec<Mutant>> {
    let mut mutants = Vec::new();
    for folder in entries(&workspace::root().join("crates"))? {
        let list = folder.join("loom-mutations.toml");
        if !list.is_file() {
            continue;
        }
        let shown = list.display();
        let table: toml::Table = read(&list)?
            .parse()
            .map_err(|error| Failure::failed(format!("{shown}: {error}")))?;
        let items = table.get("mutant").and_then(toml::Value::as_array);
        for item in items.map_or(&[] as &[_], Vec::as_slice) {
            let field = |name: &str| {
                item.get(name)
                    .and_then(toml::Value::as_str)
                    .map(str::to_owned)
                    .ok_or_else(|| {
                        Failure::failed(format!("{shown}: a [[mutant]] has no text `{name}`"))
                    })
            };
            field("why")?;
            let package = field("package")?;
            let file = field("file")?;
            let file = if file.starts_with("crates/") {
                PathBuf::from(file)
            } else {
                Path::new("crates").join(&package).join(file)
            };
            let one = Mutant {
                name: field("name")?,
                file,
                find: field("find")?,
                replace: field("replace")?,
                test_file: String::new(),
                test: String::new(),
                package,
            };
            for (test_file, test) in models(item)
                .ok_or_else(|| Failure::failed(format!("{shown}: `{}`: {MODEL}", one.name)))?
            {
                mutants.push(Mutant {
                    test_file,
                    test,
                    ..one.clone()
                });
            }
        }
    }
    Ok(mutants)
}

/// Test files and tests that a mutation names: one text or several.
fn models(item: &toml::Value) -> Option<Vec<(String, String)>> {
    let model = item.get("model")?;
    let several = model
        .as_array()
        .map_or(core::slice::from_ref(model), Vec::as_slice);
    let named: Option<Vec<_>> = several
        .iter()
        .map(|one| {
            let (test_file, test) = one.as_str()?.split_once("::")?;
            Some((test_file.to_owned(), test.to_owned()))
        })
        .collect();
    // Without a model the mutation would never be tried.
    named.filter(|models| !models.is_empty())
}

/// Copies the tree without what was built; what the copy has built stays, to be built upon.
fn copy_tree() -> Outcome<PathBuf> {
    let copy = workspace::root().join("target/mutants");
    for entry in entries(workspace::root())? {
        let name = entry.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with("target") && name != ".git" {
            let to = copy.join(&*name);
            // A file deleted from the tree must go from the copy too.
            if to.is_dir() {
                fs::remove_dir_all(&to).map_err(|error| io(&to, &error))?;
            }
            copy_all(&entry, &to)?;
        }
    }
    Ok(copy)
}

fn copy_all(from: &Path, to: &Path) -> Outcome {
    if from.is_dir() {
        fs::create_dir_all(to).map_err(|error| io(to, &error))?;
        for entry in entries(from)? {
            copy_all(&entry, &to.join(entry.file_name().unwrap_or_default()))?;
        }
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(|error| io(folder, &error))?;
    }
    fs::copy(from, to).map_err(|error| io(to, &error))?;
    Ok(())
}

fn entries(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let list = fs::read_dir(folder).map_err(|error| io(folder, &error))?;
    let mut paths = list
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| io(folder, &error))?;
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Outcome<String> {
    fs::read_to_string(path).map_err(|error| io(path, &error))
}

fn write(path: &Path, text: &str) -> Outcome {
    fs::write(path, text).map_err(|error| io(path, &error))
}

fn io(path: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was moved or reworded since would only be noticed when the mutants are run.
    #[test]
    fn every_mutant_finds_its_text_once() {
        let lost: Vec<_> = load()
            .expect("the lists of mutants")
            .into_iter()
            .filter(|mutant| {
                let text = fs::read_to_string(workspace::root().join(&mutant.file));
                !text.is_ok_and(|text| text.matches(&mutant.find).count() == 1)
            })
            .map(|mutant| format!("{}: {}", mutant.package, mutant.name))
            .collect();
        assert!(lost.is_empty(), "{lost:#?}");
    }

    #[test]
    fn a_mutant_names_one_model_or_several() {
        let names = |model: &str| {
            let item: toml::Table = model.parse().expect("TOML");
            models(&toml::Value::Table(item))
        };
        let pair = |test: &str| ("loom_a".to_owned(), test.to_owned());
        assert_eq!(names("model = 'loom_a::b'"), Some(vec![pair("b")]));
        assert_eq!(
            names("model = ['loom_a::b', 'loom_a::c']"),
            Some(vec![pair("b"), pair("c")])
        );
        for wrong in ["", "model = []", "model = 'b'", "model = ['loom_a::b', 1]"] {
            assert_eq!(names(wrong), None, "{wrong}");
        }
    }

    /// Models that no mutant names, and why. They may assert too little: the list is to get
    /// shorter.
    const UNNAMED: &[(&str, &[&str])] = &[
        (
            "a mistake or two were tried, and it did not notice them",
            &[
                "flow-ratelimit::loom_breaker::the_last_outcome_meets_one_who_comes",
                "flow-ratelimit::loom_credits::set_burst_meets_a_batch_of_a_shard",
                "flow-ratelimit::loom_keyed::two_keys_come_at_once",
                "flow-ratelimit::loom_keyed::a_larger_burst_meets_a_kept_key",
                "flow-ratelimit::loom_keyed_waiting::a_close_meets_one_who_comes",
                "flow-ratelimit::loom_keyed_waiting::a_runtime_that_is_gone_is_told",
                "flow-ratelimit::loom_multi::two_takers_and_one_token",
                "flow-ratelimit::loom_multi::a_refund_runs_over_meanwhile",
                "flow-ratelimit::loom_reservations::a_newcomer_meets_its_end",
                "flow-ratelimit::loom_runtimes::the_primary_is_blocked",
                "flow-ratelimit::loom_waiting::close_meets_a_leaving_driver",
                "flow-sched::loom_pool::a_shutdown_meets_a_slot_that_retires",
                "flow-sched::loom_pool::a_close_above_meets_a_push_to_a_sub_pool",
                "flow-sched::loom_pool::a_resize_meets_a_push",
                "flow-sched::loom_pool::a_stop_meets_a_submitter_that_drops_its_task",
                "flow-sync::loom_sole::a_sleep_that_is_given_up_meets_a_send",
            ],
        ),
        (
            "no mistake was tried yet",
            &[
                "flow-ratelimit::loom_breaker::a_bad_trial_meets_its_timeout",
                "flow-ratelimit::loom_credits::set_burst_meets_a_batch",
                "flow-sched::loom_pool::a_stop_meets_a_task_without_a_handle",
                "flow-sched::loom_pool::an_abort_meets_the_run",
                "flow-sched::loom_pool::a_slot_of_a_hand_off_is_lent_with_its_place",
                "flow-sched::loom_pool::a_close_meets_a_submitter_that_runs_its_task",
            ],
        ),
    ];

    /// What no mutation makes fail may assert nothing.
    #[test]
    fn every_model_is_named_by_a_mutant() {
        let named: BTreeSet<_> = load()
            .expect("the lists of mutants")
            .into_iter()
            .map(|mutant| format!("{}::{}::{}", mutant.package, mutant.test_file, mutant.test))
            .collect();
        let there = all_models();
        assert!(there.len() > 100, "the models are found: {}", there.len());
        let unnamed: BTreeSet<_> = there.difference(&named).map(String::as_str).collect();
        let listed: BTreeSet<_> = UNNAMED
            .iter()
            .flat_map(|(_why, models)| *models)
            .copied()
            .collect();
        let wanting: Vec<_> = unnamed.difference(&listed).collect();
        assert!(wanting.is_empty(), "no mutant names {wanting:#?}");
        let needless: Vec<_> = listed.difference(&unnamed).collect();
        assert!(
            needless.is_empty(),
            "named after all, or gone: {needless:#?}"
        );
        let gone: Vec<_> = named.difference(&there).collect();
        assert!(gone.is_empty(), "named by mutants, but gone: {gone:#?}");
    }

    /// The tests of `crates/*/tests/loom_*.rs`, as `package::test_file::test`.
    fn all_models() -> BTreeSet<String> {
        let mut models = BTreeSet::new();
        for folder in entries(&workspace::root().join("crates")).expect("the crates") {
            let package = folder.file_name().unwrap_or_default().to_string_lossy();
            // A crate without tests has none of these either.
            for file in entries(&folder.join("tests")).unwrap_or_default() {
                let test_file = file.file_stem().unwrap_or_default().to_string_lossy();
                if !test_file.starts_with("loom_") || !file.is_file() {
                    continue;
                }
                let text = read(&file).expect("a model's file");
                let tests = text.split("#[test]\n").skip(1).filter_map(|rest| {
                    let (_, after) = rest.split_once("fn ")?;
                    after.split_once('(').map(|(name, _)| name)
                });
                models.extend(tests.map(|test| format!("{package}::{test_file}::{test}")));
            }
        }
        models
    }
}
