//! Every target over its corpus, and over what becomes of the corpus when it is bent. `FUZZ_CASES` asks for more than the
//! usual number of bent inputs, which are other ones then at every run.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use signalbeam_fuzz::{TARGETS, Target};

const CASES: u32 = 1_000;
/// The most ways in which one input is bent.
const MAX_BENDS: usize = 8;
/// The most bytes that are inserted at once from nowhere.
const MAX_INSERTED: usize = 40;

fn corpus(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

/// One way of bending an input; places are fractions of its length.
#[derive(Debug, Clone)]
enum Bend {
    Flip {
        at: f64,
        bit: u8,
    },
    Set {
        at: f64,
        byte: u8,
    },
    Insert {
        at: f64,
        bytes: Vec<u8>,
    },
    Remove {
        at: f64,
        length: usize,
    },
    Repeat {
        at: f64,
        length: usize,
        times: usize,
    },
    Cut {
        at: f64,
    },
    /// The rest comes from another input.
    Splice {
        at: f64,
        other: Vec<u8>,
        from: f64,
    },
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a place in a small input"
)]
fn place(at: f64, length: usize) -> usize {
    ((at * (length + 1) as f64) as usize).min(length)
}

fn bend(mut input: Vec<u8>, bend: Bend) -> Vec<u8> {
    let length = input.len();
    match bend {
        Bend::Flip { at, bit } => {
            if let Some(byte) = input.get_mut(place(at, length)) {
                *byte ^= 1 << bit;
            }
        }
        Bend::Set { at, byte } => {
            if let Some(old) = input.get_mut(place(at, length)) {
                *old = byte;
            }
        }
        Bend::Insert { at, bytes } => drop(input.splice(place(at, length)..place(at, length), bytes)),
        Bend::Remove { at, length: count } => {
            let from = place(at, length);
            input.drain(from..(from + count).min(length));
        }
        Bend::Repeat { at, length: count, times } => {
            let from = place(at, length);
            let piece = input[from..(from + count).min(length)].repeat(times);
            drop(input.splice(from..from, piece));
        }
        Bend::Cut { at } => input.truncate(place(at, length)),
        Bend::Splice { at, other, from } => {
            input.truncate(place(at, length));
            input.extend_from_slice(&other[place(from, other.len())..]);
        }
    }
    input
}

fn bends(inputs: Vec<Vec<u8>>, dictionary: &'static [&'static str]) -> impl Strategy<Value = Bend> {
    let at = || 0.0..=1.0_f64;
    let random = prop::collection::vec(any::<u8>(), 1..MAX_INSERTED);
    // A target without words gets an empty one.
    let words: Vec<Vec<u8>> = dictionary.iter().map(|word| word.as_bytes().to_vec()).chain([vec![]]).collect();
    prop_oneof![
        2 => (at(), 0..8_u8).prop_map(|(at, bit)| Bend::Flip { at, bit }),
        2 => (at(), any::<u8>()).prop_map(|(at, byte)| Bend::Set { at, byte }),
        4 => (at(), prop::sample::select(words)).prop_map(|(at, bytes)| Bend::Insert { at, bytes }),
        1 => (at(), random).prop_map(|(at, bytes)| Bend::Insert { at, bytes }),
        2 => (at(), 1..30_usize).prop_map(|(at, length)| Bend::Remove { at, length }),
        1 => (at(), 1..60_usize, 1..400_usize).prop_map(|(at, length, times)| Bend::Repeat { at, length, times }),
        1 => at().prop_map(|at| Bend::Cut { at }),
        2 => (at(), prop::sample::select(inputs), at()).prop_map(|(at, other, from)| Bend::Splice { at, other, from }),
    ]
}

fn inputs(target: &Target) -> impl Strategy<Value = Vec<u8>> {
    let seeds: Vec<Vec<u8>> = corpus(target).into_iter().map(|(_, input)| input).collect();
    let ways = prop::collection::vec(bends(seeds.clone(), target.dictionary), 1..MAX_BENDS);
    let bent = (prop::sample::select(seeds), ways).prop_map(|(seed, ways)| ways.into_iter().fold(seed, bend));
    prop_oneof![9 => bent, 1 => prop::collection::vec(any::<u8>(), 0..200)]
}

fn runner() -> TestRunner {
    let asked = std::env::var("FUZZ_CASES").ok().map(|number| number.parse().expect("FUZZ_CASES is a number"));
    let config = Config { cases: asked.unwrap_or(CASES), failure_persistence: None, ..Config::default() };
    if asked.is_some() {
        TestRunner::new(config)
    } else {
        TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
    }
}

fn check(name: &str) {
    let target = signalbeam_fuzz::target(name).unwrap();
    let corpus = corpus(target);
    assert!(corpus.len() > 1, "{name} has no corpus");
    for (path, input) in corpus {
        let judged = std::panic::catch_unwind(|| (target.run)(&input));
        assert!(judged.is_ok(), "{}", path.display());
    }
    let judged = runner().run(&inputs(target).prop_map(Input), |input| {
        (target.run)(&input.0);
        Ok(())
    });
    judged.unwrap_or_else(|failure| panic!("{name}: {failure}"));
}

/// Bytes that print as a text that can be put into a file with `printf '%b'`.
struct Input(Vec<u8>);

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

macro_rules! targets {
    ($($name:ident)+) => {
        $(#[test] fn $name() { check(stringify!($name)); })+

        #[test]
        fn every_target_is_run_and_every_corpus_has_a_target() {
            let run = BTreeSet::from([$(stringify!($name)),+]);
            assert_eq!(run, TARGETS.iter().map(|target| target.name).collect());
            let folders = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")).unwrap();
            let folders: BTreeSet<String> = folders.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            assert_eq!(folders, run.iter().map(|name| (*name).to_owned()).collect());
        }
    };
}

targets! { addresses certificate client_cert context credential csr cursor est_body hex moment ocsp_request proxy_header xfcc }
