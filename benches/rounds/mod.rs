//! Contenders that take turns, and a table of what came of it.
//!
//! A figure is the median of a contender's rounds, and a ratio the median of the ratios within a
//! round, so that a slow moment of the machine slows down both sides of it.

// Each benchmark uses a part.
#![allow(dead_code)]

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

pub const CONNECTIONS: usize = 8;
pub const KEYS: usize = 10_000;
pub const VALUE_BYTES: usize = 100;

/// The turns of a thread in a round: 0, 1, 2 and so on until time is up, or there are none left.
pub struct Turns {
    until: Instant,
    next: usize,
    left: usize,
    taken: usize,
}

impl Iterator for Turns {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.left == 0 || Instant::now() >= self.until {
            return None;
        }
        (self.next, self.left, self.taken) = (self.next + 1, self.left - 1, self.taken + 1);
        Some(self.next - 1)
    }
}

/// Who takes part in a row.
pub struct Contender<'a> {
    name: &'static str,
    /// What has to be there before a round, and how many turns that is enough for, all threads
    /// together.
    before: Option<(Box<dyn Fn() + 'a>, usize)>,
    work: Work<'a>,
}

enum Work<'a> {
    /// In each of our threads.
    Here(Box<dyn Fn(Turns) -> Turns + Sync + 'a>),
    /// Another program says how many operations a second it made in about that time.
    Elsewhere(Box<dyn Fn(usize, Duration) -> f64 + 'a>),
}

impl<'a> Contender<'a> {
    /// The loop is compiled anew for each, with its calls inlined.
    pub fn new(name: &'static str, turn: impl Fn(usize) + Sync + 'a) -> Self {
        let work = move |mut turns: Turns| {
            turns.by_ref().for_each(&turn);
            turns
        };
        Self { name, before: None, work: Work::Here(Box::new(work)) }
    }

    pub fn elsewhere(name: &'static str, rate: impl Fn(usize, Duration) -> f64 + 'a) -> Self {
        Self { name, before: None, work: Work::Elsewhere(Box::new(rate)) }
    }

    pub fn before(self, turns: usize, prepare: impl Fn() + 'a) -> Self {
        Self { before: Some((Box::new(prepare), turns)), ..self }
    }

    /// Turns a second in one round.
    fn round(&self, threads: usize, length: Duration) -> f64 {
        let left = self.before.as_ref().map_or(usize::MAX, |(prepare, turns)| {
            prepare();
            *turns / threads
        });
        let work = match &self.work {
            Work::Here(work) => work,
            Work::Elsewhere(rate) => return rate(threads, length),
        };
        let barrier = Barrier::new(threads);
        let one = |thread: usize| {
            // Threads begin at different keys.
            let next = thread * KEYS / CONNECTIONS;
            barrier.wait();
            let start = Instant::now();
            let turns = work(Turns { until: start + length, next, left, taken: 0 });
            turns.taken as f64 / start.elapsed().as_secs_f64()
        };
        thread::scope(|scope| {
            let one = &one;
            let threads: Vec<_> =
                (0..threads).map(|thread| scope.spawn(move || one(thread))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        })
    }
}

type Make<A> = for<'a> fn(&'a A) -> Vec<Contender<'a>>;

/// One line of the table.
pub struct Row<A> {
    pub name: &'static str,
    pub threads: usize,
    /// Operations in a turn.
    pub operations: usize,
    /// Ours first, then who is compared with it, the closest first.
    pub contenders: Make<A>,
}

pub const fn row<A>(name: &'static str, threads: usize, contenders: Make<A>) -> Row<A> {
    Row { name, threads, operations: 1, contenders }
}

/// How much to do.
pub struct Plan {
    rounds: usize,
    length: Duration,
    /// Only rows with one of these words in their names, if there are any.
    pub words: Vec<String>,
}

impl Plan {
    /// Rounds of this length, if it is not to be a short form.
    pub fn new(length: Duration) -> Self {
        let asked = |argument| std::env::args().any(|given| given == argument);
        let quick = std::env::var_os("YC_BENCH_QUICK").is_some();
        let words = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
        if quick || asked("--test") || !asked("--bench") {
            Self { rounds: 2, length: Duration::from_millis(20), words }
        } else {
            Self { rounds: 9, length, words }
        }
    }

    /// Whether it is only to show that it runs.
    pub fn is_short(&self) -> bool {
        self.rounds < 9
    }

    fn has<A>(&self, row: &Row<A>) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| row.name.contains(&**word))
    }

    /// Runs the rows asked for and prints them; the rates of the last.
    pub fn run<A>(&self, arena: &A, rows: &[Row<A>]) -> Option<Vec<Vec<f64>>> {
        let mut last = None;
        for row in rows.iter().filter(|row| self.has(row)) {
            let contenders = (row.contenders)(arena);
            let rates = self.measure(row, &contenders);
            print_row(row, &contenders, &rates);
            last = Some(rates);
        }
        last
    }

    /// The rates of each contender's rounds.
    fn measure<A>(&self, row: &Row<A>, contenders: &[Contender<'_>]) -> Vec<Vec<f64>> {
        let mut rates = vec![Vec::new(); contenders.len()];
        // One more than counts: in the first connections are made and scripts sent.
        for round in 0..=self.rounds {
            for (contender, rates) in contenders.iter().zip(&mut rates) {
                let rate = contender.round(row.threads, self.length) * row.operations as f64;
                rates.extend((round > 0).then_some(rate));
            }
        }
        rates
    }
}

pub fn median(numbers: impl IntoIterator<Item = f64>) -> f64 {
    let mut numbers: Vec<_> = numbers.into_iter().collect();
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// The median of the ratios within a round.
pub fn ratio(ours: &[f64], theirs: &[f64]) -> f64 {
    median(ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs))
}

pub fn print_header() {
    println!("{KEYS} keys, values of {VALUE_BYTES} bytes, {CONNECTIONS} connections");
    println!("thousands of operations a second\n");
    println!("{:<24} {:>7} {:>10}  ours/theirs", "", "threads", "yokedcache");
}

fn print_row<A>(row: &Row<A>, contenders: &[Contender<'_>], rates: &[Vec<f64>]) {
    let thousands = |rates: &Vec<f64>| median(rates.iter().copied()) / 1e3;
    print!("{:<24} {:>7} {:>10.1}", row.name, row.threads, thousands(&rates[0]));
    for (contender, theirs) in contenders.iter().zip(rates).skip(1) {
        let ratio = ratio(&rates[0], theirs);
        print!("  {ratio:>5.2} of {} {:.1}", contender.name, thousands(theirs));
    }
    println!();
}
