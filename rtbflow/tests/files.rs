//! Files of JSON lines, and a process that is killed while it writes them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use rtbflow::epoch::Memory;
use rtbflow::source::IteratorSource;
use rtbflow::writer::{JsonFiles, stdout};
use rtbflow::{Job, Result};

const FOLDER: &str = "RTBFLOW_TEST_FILES";
const TEXT_BYTES: usize = 10_000;

/// Writes numbers, with a long text each.
fn job(count: u64) -> Job<IteratorSource<(u64, String)>, Memory> {
    let numbers = move || (0..count).map(|n| (n, "x".repeat(TEXT_BYTES)));
    Job::new("files").source(IteratorSource::new("numbers", numbers)).anchor(Memory::new())
}

/// Writes until it is killed, and prints the numbers of each commit before its files.
async fn write_and_print(folder: &Path) -> Result<()> {
    let files = JsonFiles::new(folder);
    let print = stdout(|(n, _): &(u64, String)| n.to_string());
    let job = job(u64::MAX).writer(print.clone()).writer(files.clone()).pipeline(move |numbers| {
        let (numbers, same) = numbers.tee();
        numbers.to(files.sink()).and(same.to(print.sink()))
    });
    job.run_until(std::future::pending()).await.map(drop)
}

/// Writes this many numbers.
async fn write(folder: &Path, count: u64) -> Result<()> {
    let files = JsonFiles::new(folder);
    let job = job(count).writer(files.clone());
    let job = job.pipeline(move |numbers| numbers.to(files.sink()));
    job.run_until(std::future::pending()).await.map(drop)
}

/// The numbers in the files of a folder, in the order of the files' names: each file is whole.
fn numbers_in(folder: &Path) -> Vec<u64> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|ending| ending == "jsonl"));
    names.sort();
    let mut numbers = Vec::new();
    for path in names {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.ends_with('\n'));
        for line in text.lines() {
            let (n, text): (u64, String) = serde_json::from_str(line).unwrap();
            assert_eq!(text.len(), TEXT_BYTES);
            numbers.push(n);
        }
    }
    numbers
}

fn has_unfinished(folder: &Path) -> bool {
    let mut files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files.any(|path| path.extension().is_some_and(|ending| ending == "unfinished"))
}

#[tokio::test]
async fn a_process_that_is_killed_while_it_writes_leaves_whole_files_and_the_next_goes_on() {
    const MOST_KILLS: u32 = 40;
    if let Some(folder) = std::env::var_os(FOLDER) {
        // The process that is killed.
        return write_and_print(Path::new(&folder)).await.unwrap();
    }
    let mut kills = 0;
    let mut in_the_middle = false;
    let mut most = 0;
    while kills < 3 || !in_the_middle {
        kills += 1;
        assert!(kills <= MOST_KILLS, "none of {MOST_KILLS} kills came while a file was written");
        let folder =
            std::env::temp_dir().join(format!("rtbflow-files-{}-{kills}", std::process::id()));
        let name =
            "a_process_that_is_killed_while_it_writes_leaves_whole_files_and_the_next_goes_on";
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .env(FOLDER, &folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut printed = vec![0; 4_000 + 211 * kills as usize];
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut printed).unwrap();
        // It must not have to wait for somebody who reads.
        let reads = thread::spawn(move || io::copy(&mut stdout, &mut io::sink()));
        // It has finished some files and goes on; the next is looked for until it is seen.
        let seen = (0..100_000).any(|_| has_unfinished(&folder));
        println!("kill {kills}: {}", if seen { "while it writes a file" } else { "at some time" });
        child.kill().unwrap();
        child.wait().unwrap();
        reads.join().unwrap().unwrap();
        in_the_middle |= has_unfinished(&folder);
        let written = numbers_in(&folder);
        assert_eq!(
            written,
            (0..written.len() as u64).collect::<Vec<_>>(),
            "in order, and each once"
        );
        most = most.max(written.len());

        write(&folder, 600).await.unwrap();
        let all: BTreeSet<u64> = numbers_in(&folder).into_iter().collect();
        assert!((0..600).all(|n| all.contains(&n)), "each at least once");
        fs::remove_dir_all(folder).unwrap();
    }
    assert!(most > 0, "files were finished before a kill");
}
