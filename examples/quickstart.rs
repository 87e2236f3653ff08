//! Reads every file of a directory through a cache, and shows what the cache saves.
//!
//! `cargo run --example quickstart [DIR]`

use std::collections::BTreeMap;
use std::error::Error;
use std::panic::resume_unwind;
use std::path::{MAIN_SEPARATOR, Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, io, thread};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use yokedcache::{Cache, Removed, Stats};

const WORKERS: usize = 4;
const LARGEST: u64 = 4 << 20;
const SHOWN: usize = 8;

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// What is worth keeping: reading and hashing a file costs more than asking the cache.
#[derive(Debug, Serialize, Deserialize)]
struct Summary {
    sha256: String,
    lines: usize,
    words: usize,
}

fn summarise(path: &Path) -> io::Result<Summary> {
    let bytes = fs::read(path)?;
    let sha256 = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let lines = bytes.split_inclusive(|byte| *byte == b'\n').count();
    let words = bytes.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).count();
    Ok(Summary { sha256, lines, words })
}

struct File {
    path: PathBuf,
    /// The path below the root: the key in the cache.
    key: String,
    tag: String,
}

impl File {
    fn new(path: PathBuf, root: &Path) -> Option<Self> {
        let key = path.strip_prefix(root).ok()?.to_str()?.replace(MAIN_SEPARATOR, "/");
        let extension = path.extension().and_then(|extension| extension.to_str());
        let tag = format!("ext:{}", extension.unwrap_or("none").to_lowercase());
        Some(Self { path, key, tag })
    }
}

#[derive(Default)]
struct Found {
    files: Vec<File>,
    left_out: usize,
}

fn walk(root: &Path, folder: &Path, found: &mut Found) -> io::Result<()> {
    for entry in fs::read_dir(folder)?.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        // About the entry itself: symbolic links are not followed.
        match entry.metadata() {
            Ok(data) if data.is_dir() => {
                let skipped = matches!(name.to_str(), Some("target" | ".git"));
                let failed = !skipped && walk(root, &path, found).is_err();
                found.left_out += usize::from(failed);
            }
            Ok(data) if data.is_file() => {
                let file = File::new(path, root).filter(|_| data.len() <= LARGEST);
                found.left_out += usize::from(file.is_none());
                found.files.extend(file);
            }
            Ok(_) => {}
            Err(_) => found.left_out += 1,
        }
    }
    Ok(())
}

/// What one pass over all files took, and what the cache counted meanwhile.
struct Pass {
    time: Duration,
    before: Stats,
    after: Stats,
}

impl Pass {
    fn run(cache: &Cache, files: &[File]) -> Result<Self> {
        let (before, started, next) = (cache.stats(), Instant::now(), AtomicUsize::new(0));
        thread::scope(|scope| {
            let work = || work(cache, files, &next);
            let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
            let mut ends = workers.into_iter().map(|worker| worker.join());
            ends.try_for_each(|end| end.unwrap_or_else(|panic| resume_unwind(panic)))
        })?;
        Ok(Self { time: started.elapsed(), before, after: cache.stats() })
    }

    fn counted(&self, count: impl Fn(&Stats) -> u64) -> u64 {
        count(&self.after) - count(&self.before)
    }

    fn print(&self, name: &str, files: usize) {
        let backend = &self.after.backend;
        println!(
            "{name:<6}{:>9.1} ms{:>11.0}{:>8}{:>8}{:>8}{:>9}{:>10}{:>12}",
            self.time.as_secs_f64() * 1e3,
            files as f64 / self.time.as_secs_f64(),
            self.counted(|stats| stats.hits),
            self.counted(|stats| stats.misses.total()),
            self.counted(|stats| stats.loads),
            backend.entries.unwrap_or(0),
            backend.bytes.unwrap_or(0),
            self.counted(|stats| stats.load_errors),
        );
    }
}

/// Takes files until none are left.
fn work(cache: &Cache, files: &[File], next: &AtomicUsize) -> yokedcache::Result<()> {
    while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
        let entry = cache.entry(&file.key).tags([&file.tag]);
        // The outer error is the cache's. The inner one is about this file only: the cache counts
        // it, and keeps nothing for the key.
        let _unreadable = entry.get_or_load(|| summarise(&file.path))?.is_err();
    }
    Ok(())
}

fn two_passes(cache: &Cache, files: &[File]) -> Result<()> {
    let counts = "hits  misses   loads  entries     bytes  unreadable";
    println!("\npass        time    files/s    {counts}");
    for name in ["cold", "warm"] {
        Pass::run(cache, files)?.print(name, files.len());
    }
    Ok(())
}

/// How many files there are of each name that `name` gives, the most first.
fn most<'f>(
    files: &'f [File],
    name: impl Fn(&'f File) -> Option<&'f str>,
) -> Vec<(&'f str, usize)> {
    let mut counts = BTreeMap::new();
    for name in files.iter().filter_map(name) {
        *counts.entry(name).or_insert(0) += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts
}

fn totals(cache: &Cache, files: &[File]) -> Result<()> {
    let tags = most(files, |file| Some(&file.tag));
    println!("\nextension     files     lines     words");
    for (tag, count) in tags.iter().take(SHOWN) {
        let keys = files.iter().filter(|file| file.tag == *tag).map(|file| &file.key);
        let found: Vec<Summary> = cache.get_many(keys)?.into_iter().flatten().collect();
        let lines: usize = found.iter().map(|summary| summary.lines).sum();
        let words: usize = found.iter().map(|summary| summary.words).sum();
        println!("{:<10.10}{count:>9}{lines:>10}{words:>10}", tag.trim_start_matches("ext:"));
    }
    if tags.len() > SHOWN {
        println!("and {} more", tags.len() - SHOWN);
    }
    Ok(())
}

fn invalidate(cache: &Cache, files: &[File]) -> Result<()> {
    let tags = most(files, |file| Some(&file.tag));
    let rust = tags.iter().find(|(tag, _)| *tag == "ext:rs").or(tags.first());
    let tag = rust.map_or("ext:none", |(tag, _)| tag);
    let folders = most(files, |file| file.key.split_once('/').map(|(folder, _)| folder));
    let glob = folders.first().map_or("*".into(), |(folder, _)| format!("{}/*", literal(folder)));

    println!("\ninvalidated            dry run  removed  loads of the next pass");
    let recompute = |what: String, named: Vec<String>, removed: Removed| -> Result<()> {
        let loads = Pass::run(cache, files)?.counted(|stats| stats.loads);
        println!("{what:<20}{:>10}{:>9}{loads:>8}", named.len(), removed.entries.unwrap_or(0));
        Ok(())
    };
    let named = cache.dry_run().invalidate_tags([tag])?;
    recompute(format!("tag {tag}"), named, cache.invalidate_tags([tag])?)?;
    let named = cache.dry_run().invalidate_pattern(&glob)?;
    recompute(format!("pattern {glob}"), named, cache.invalidate_pattern(&glob)?)
}

/// A glob that matches this text: folders may have names such as `[old]`.
fn literal(text: &str) -> String {
    let escape = |c| if "*?[]\\".contains(c) { vec!['\\', c] } else { vec![c] };
    text.chars().flat_map(escape).collect()
}

fn expiry() -> Result<()> {
    let (cache, ttl) = (Cache::memory(1), Duration::from_millis(150));
    cache.entry("note").ttl(ttl).set("soon gone")?;
    println!("\nan entry with a time to live of {ttl:?}");
    println!("  at once       {:?}, {:?}", cache.get::<String>("note")?, cache.ttl("note")?);
    thread::sleep(ttl + Duration::from_millis(10));
    println!("  160 ms later  {:?}", cache.get::<String>("note")?);
    Ok(())
}

#[cfg(feature = "fuzzy")]
fn misspelt(cache: &Cache, files: &[File]) -> Result<()> {
    let names = files.iter().filter_map(|file| file.path.file_name()?.to_str());
    let Some(name) = names.max_by_key(|name| name.len()) else { return Ok(()) };
    let mut letters: Vec<char> = name.chars().take(40).collect();
    let middle = letters.len() / 3;
    if let Some(at) = (middle..letters.len() - 1).find(|&at| letters[at] != letters[at + 1]) {
        letters.swap(at, at + 1);
    }
    let query: String = letters.into_iter().collect();
    println!("\nfuzzy search for \"{query}\"\n score   lines  sha-256   file");
    for found in cache.search(&query).threshold(40).limit(3).find()? {
        let Some(Summary { lines, sha256, .. }) = found.value()? else { continue };
        println!("{:>6.1}{lines:>8}  {sha256:.8}  {}", found.score, found.key);
    }
    Ok(())
}

fn run(root: &Path) -> Result<()> {
    let mut found = Found::default();
    walk(root, root, &mut found)
        .map_err(|error| format!("cannot read {}: {error}", root.display()))?;
    let Found { mut files, left_out } = found;
    files.sort_by(|a, b| a.key.cmp(&b.key));
    if files.is_empty() {
        eprintln!("quickstart: {} has no files to read", root.display());
        return Ok(());
    }
    println!("{} files, {WORKERS} threads", files.len());
    println!("{left_out} left out: over {} MiB, or not to be read", LARGEST >> 20);
    let cache = Cache::memory(files.len());
    two_passes(&cache, &files)?;
    totals(&cache, &files)?;
    invalidate(&cache, &files)?;
    expiry()?;
    #[cfg(feature = "fuzzy")]
    misspelt(&cache, &files)?;
    Ok(())
}

fn main() -> ExitCode {
    let root = env::args_os().nth(1).map_or(env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    match run(&root) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quickstart: {error}");
            ExitCode::from(2)
        }
    }
}
