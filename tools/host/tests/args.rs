// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What hvhost refuses before anything is started: one clear line, exit status 1 or 2, and nothing
//! left behind.

use std::path::Path;
use std::process::{Command, Output, Stdio};

const NOT_STARTED: i32 = 1;
const USAGE: i32 = 2;

/// Runs hvhost in `directory` with these words.
fn hvhost(directory: &Path, words: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hvhost"))
        .args(words.split_whitespace())
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// A directory with a file that is no kernel, and with nothing else.
fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("kernel"), "no kernel at all").unwrap();
    directory
}

fn files(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Refused with this status, in one line that names `part`.
fn refused(words: &str, status: i32, part: &str) {
    let directory = directory();
    let output = hvhost(directory.path(), words);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(status), "{words}: {error}");
    assert!(output.stdout.is_empty(), "{words}");
    assert_eq!(error.lines().count(), 1, "{words}: {error}");
    assert!(error.starts_with("hvhost: "), "{words}: {error}");
    assert!(error.contains(part), "{words}: {error}");
    assert!(!error.contains("panicked"), "{words}: {error}");
    assert_eq!(files(directory.path()), ["kernel"], "{words}");
}

#[test]
fn wrong_usage() {
    for (words, part) in [
        ("", "--kernel"),
        ("--kernel", "--kernel"),
        ("--frobnicate", "--frobnicate"),
        ("kernel", "kernel"),
        ("--kernel kernel --cpus 0", "1..=8"),
        ("--kernel kernel --cpus many", "many"),
        ("--kernel kernel --mem -1", "-1"),
        ("--kernel kernel --mem 1Q", "1Q"),
        ("--kernel kernel --disk a,shared", "shared"),
        ("--kernel kernel --disk ram:7", "512-byte"),
        ("--kernel kernel --nic eth0", "eth0"),
        ("--kernel kernel --nic peer=loud", "loud"),
        ("--kernel kernel --nic tap=name-that-is-too-long", "tap"),
        ("--kernel kernel --console tcp:80", "tcp:80"),
        ("--kernel kernel --vmbus-version 1.1", "2.4"),
        ("--kernel kernel --nvsp-version 3", "6.1"),
        ("--kernel kernel --storvsp-version 9", "6.2"),
        ("--kernel kernel --stimer maybe", "maybe"),
        ("--kernel kernel --on-reboot stay", "stay"),
        ("--kernel kernel --control", "--control"),
    ] {
        refused(words, USAGE, part);
    }
}

#[test]
fn files_that_are_not_there_or_no_good() {
    for (words, part) in [
        ("--kernel none", "kernel none: No such file"),
        ("--kernel .", "kernel ."),
        ("--kernel /dev/null", "is empty"),
        ("--kernel kernel", "kernel"),
        ("--kernel kernel --initrd none", "initial RAM disk none"),
        ("--kernel kernel --mem 1M", "--mem 1M"),
        ("--kernel kernel --disk none.img", "none.img"),
        ("--kernel kernel --disk kernel", "512 bytes"),
        (
            "--kernel kernel --disk ram:1M,lun=3 --disk ram:1M,lun=3",
            "LUN 3",
        ),
        (
            "--kernel kernel --nic peer --nic tap=nosuchtap0",
            "nosuchtap0",
        ),
        ("--kernel kernel --control none/s", "none/s"),
        ("--kernel kernel --control kernel", "no socket"),
        (
            "--kernel kernel --control a --console unix:a",
            "two sockets",
        ),
        ("--kernel kernel --console unix:none/s", "none/s"),
        ("--kernel kernel --console file:none/s", "none/s"),
        ("--kernel kernel --serial2 stdio", "--serial2"),
        ("--kernel kernel --log-file none/log", "none/log"),
        ("--kernel kernel --log a=b=c", "--log"),
    ] {
        refused(words, NOT_STARTED, part);
    }
}

#[test]
fn sockets_go_when_the_guest_cannot_be_started() {
    refused(
        "--kernel kernel --control c --console unix:a --serial2 unix:b",
        NOT_STARTED,
        "kernel",
    );
}

#[test]
fn help_and_version_are_no_errors() {
    let directory = directory();
    for (words, part) in [("--help", "--vmbus-version"), ("--version", "hvhost")] {
        let output = hvhost(directory.path(), words);
        assert_eq!(output.status.code(), Some(0));
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(part), "{text}");
        assert!(output.stderr.is_empty());
    }
}
