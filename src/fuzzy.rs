//! How alike a query and a key are, from 0 (nothing in common) to 100.
//!
//! One word is scored with the *partial ratio*, as `fuzz.partial_ratio` of the
//! Python package RapidFuzz defines it: the shorter text slides along the
//! longer one, and the best normalised Indel similarity of any window counts.
//! A typo-laden part of a long key thus still scores high.
//!
//! Several words, parted by whitespace, score the mean of their partial ratios
//! weighted by length, so that `usr 1` finds `user:1`; the partial ratio of the
//! query as a whole counts instead where it is higher.
//!
//! A character is a Unicode scalar value, as in Python.

use std::cmp::Ordering;

use rapidfuzz::distance::lcs_seq::BatchComparator;

const PERFECT: f64 = 100.0;

/// Scores many keys against one query; what depends on the query is made once.
pub(crate) struct Scorer {
    whole: Text,
    /// Empty when the query holds no whitespace: `whole` says it all then.
    words: Vec<Text>,
    ignore_case: bool,
    /// The key in hand, kept so that its memory serves the next key too.
    key: Vec<char>,
}

impl Scorer {
    /// With `ignore_case`, query and keys are compared in lower case, character
    /// by character (no rule looks at neighbours, such as that of final sigma).
    pub(crate) fn new(query: &str, ignore_case: bool) -> Scorer {
        let text = |part| Text::new(fold(part, ignore_case));
        let mut words = Vec::new();
        if query.contains(char::is_whitespace) {
            words.extend(query.split_whitespace().map(text));
        }
        Scorer { whole: text(query), words, ignore_case, key: Vec::new() }
    }

    /// The score of `key`, 0 to 100; takes `&mut self` only to reuse memory.
    pub(crate) fn score(&mut self, key: &str) -> f64 {
        self.key.clear();
        fold_into(&mut self.key, key, self.ignore_case);
        let whole = partial_ratio(&self.whole, &self.key);
        whole.max(weighted_mean(&self.words, &self.key))
    }
}

fn fold(text: &str, ignore_case: bool) -> Vec<char> {
    let mut chars = Vec::new();
    fold_into(&mut chars, text, ignore_case);
    chars
}

fn fold_into(chars: &mut Vec<char>, text: &str, ignore_case: bool) {
    if ignore_case {
        chars.extend(text.chars().flat_map(char::to_lowercase));
    } else {
        chars.extend(text.chars());
    }
}

fn weighted_mean(words: &[Text], key: &[char]) -> f64 {
    let length: usize = words.iter().map(|word| word.chars.len()).sum();
    let weighted = |word: &Text| word.chars.len() as f64 * partial_ratio(word, key);
    let total: f64 = words.iter().map(weighted).sum();
    total / length.max(1) as f64
}

/// The query or one of its words, in both parts it can play.
struct Text {
    chars: Vec<char>,
    needle: Needle,
}

impl Text {
    fn new(chars: Vec<char>) -> Text {
        let needle = Needle::new(&chars);
        Text { chars, needle }
    }
}

/// The partial ratio is symmetric: whichever text is shorter is the needle, and
/// with equal lengths each one is tried.
fn partial_ratio(query: &Text, key: &[char]) -> f64 {
    let forward = || query.needle.best_window(key);
    let backward = || Needle::new(key).best_window(&query.chars);
    match query.chars.len().cmp(&key.len()) {
        Ordering::Less => forward(),
        Ordering::Greater => backward(),
        Ordering::Equal => forward().max(backward()),
    }
}

/// The text which slides along a longer (or equally long) one, the haystack.
struct Needle {
    len: usize,
    /// Bit-parallel tables of the needle, which any window is run through.
    comparator: BatchComparator<char>,
}

impl Needle {
    fn new(chars: &[char]) -> Needle {
        Needle { len: chars.len(), comparator: BatchComparator::new(chars.iter().copied()) }
    }

    fn best_window(&self, haystack: &[char]) -> f64 {
        if self.len == 0 {
            return if haystack.is_empty() { PERFECT } else { 0.0 };
        }
        let lcs = self.best_full_window(haystack);
        let full = self.similarity(lcs, self.len);
        let prefixes = self.best_edge(lcs, full, |len| &haystack[..len]);
        self.best_edge(lcs, prefixes, |len| &haystack[haystack.len() - len..])
    }

    /// The longest common subsequence with any window of the needle's length.
    ///
    /// One step of the window gains one character at most, so the windows which
    /// cannot catch up with the best one are jumped over.
    fn best_full_window(&self, haystack: &[char]) -> usize {
        let (mut best, mut start) = (0, 0);
        while best < self.len && start + self.len <= haystack.len() {
            let lcs = self.lcs(&haystack[start..start + self.len]);
            best = best.max(lcs);
            start += best - lcs + 1;
        }
        best
    }

    /// `best`, or the similarity of a better window which is cut short by the
    /// haystack's edge: `window` gives the one of a length.
    ///
    /// Each window holds the shorter ones, so their common subsequence is no
    /// longer than its own (`lcs`, of a full window at first). At best a window
    /// is made of just that subsequence; when even this does not help, stop.
    fn best_edge<'a>(
        &self,
        mut lcs: usize,
        mut best: f64,
        window: impl Fn(usize) -> &'a [char],
    ) -> f64 {
        for len in (1..self.len).rev() {
            let bound = lcs.min(len);
            if self.similarity(bound, bound) <= best {
                break;
            }
            lcs = self.lcs(window(len));
            best = best.max(self.similarity(lcs, len));
        }
        best
    }

    fn lcs(&self, window: &[char]) -> usize {
        self.comparator.similarity(window.iter().copied())
    }

    /// The normalised Indel similarity with a window of `len` characters:
    /// the share of characters which need neither insertion nor deletion.
    fn similarity(&self, lcs: usize, len: usize) -> f64 {
        let total = self.len + len;
        let distance = total - 2 * lcs;
        (1.0 - distance as f64 / total as f64) * PERFECT
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use proptest::prelude::*;

    use super::Scorer;

    struct Row {
        query: &'static str,
        key: &'static str,
        score: f64,
    }

    fn table() -> Vec<Row> {
        let table = include_str!("../tests/data/partial_ratio.tsv");
        let rows = table.lines().filter(|line| !line.starts_with("# "));
        rows.map(row).collect()
    }

    fn row(line: &'static str) -> Row {
        let fields: Vec<&str> = line.split('\t').collect();
        let [query, key, score] = fields[..] else { panic!("not three fields: {line}") };
        let score = score.parse().unwrap();
        Row { query, key, score }
    }

    fn score(query: &str, key: &str) -> f64 {
        Scorer::new(query, false).score(key)
    }

    fn ranked(rows: &[Row], score: impl FnMut(&Row) -> f64) -> Vec<&str> {
        let scores = rows.iter().map(score);
        let mut ranked: Vec<_> = scores.zip(rows.iter().map(|row| row.key)).collect();
        ranked.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        ranked.into_iter().map(|(_, key)| key).collect()
    }

    #[test]
    fn scores_as_rapidfuzz_does() {
        for Row { query, key, score } in table() {
            let ours = self::score(query, key);
            assert!((ours - score).abs() < 1e-9, "{query:?} in {key:?}: {ours}, not {score}");
        }
    }

    #[test]
    fn ranks_as_rapidfuzz_does() {
        let table = table();
        for rows in table.chunk_by(|a, b| a.query == b.query) {
            let mut scorer = Scorer::new(rows[0].query, false);
            let ours = ranked(rows, |row| scorer.score(row.key));
            assert_eq!(ours, ranked(rows, |row| row.score), "{}", rows[0].query);
        }
    }

    #[test]
    fn a_very_long_query_is_found_despite_its_gaps() {
        let key = "src/backend/memory/".repeat(60);
        assert_eq!(score(&key[7..900], &key), 100.0);
        let query = key[7..900].replace("ack", "k");
        assert!((80.0..100.0).contains(&score(&query, &key)));
    }

    #[test]
    fn several_words_score_their_weighted_mean() {
        // "usr" scores 80 (with "us") and "1" scores 100: (3 * 80 + 100) / 4.
        assert!((score("usr 1", "user:1") - 85.0).abs() < 1e-9);
        assert!(score("usr 1", "user:1") > score("usr 1", "user:2"));
        assert_eq!(score("reviews 42", "product:42:reviews"), 100.0);
    }

    #[test]
    fn several_words_score_no_less_than_the_whole() {
        // "ab" and "cd" score 2 / 3 each, but all of the key is in the query.
        assert_eq!(score("ab cd", "b c"), 100.0);
    }

    #[test]
    fn whitespace_around_one_word_costs_nothing() {
        assert_eq!(score(" user ", "user:1"), 100.0);
    }

    #[test]
    fn empty_texts() {
        assert_eq!(score("", ""), 100.0);
        assert_eq!(score("", "user:1"), 0.0);
        assert_eq!(score("user", ""), 0.0);
        assert_eq!(score(" ", "user:1"), 0.0);
    }

    #[test]
    fn case_counts_unless_ignored() {
        assert_eq!(score("USER", "user:1"), 0.0);
        assert_eq!(Scorer::new("USER", true).score("User:1"), 100.0);
        assert_eq!(Scorer::new("straße", true).score("STRAẞE:ÜBER"), 100.0);
    }

    /// Every window of either text against all of the other, by the book.
    fn plain_partial_ratio(a: &str, b: &str) -> f64 {
        let [a, b]: [Vec<char>; 2] = [a, b].map(|text| text.chars().collect());
        let best = |needle: &[char], haystack: &[char]| {
            let windows = windows(haystack, needle.len());
            let ratios = windows.map(|window| plain_ratio(needle, window));
            ratios.fold(0.0, f64::max)
        };
        match a.len().cmp(&b.len()) {
            Ordering::Less => best(&a, &b),
            Ordering::Greater => best(&b, &a),
            Ordering::Equal => best(&a, &b).max(best(&b, &a)),
        }
    }

    fn windows(text: &[char], len: usize) -> impl Iterator<Item = &[char]> {
        let prefixes = (1..len).map(|end| &text[..end]);
        let suffixes = (1..len).map(|cut| &text[text.len() - cut..]);
        prefixes.chain(text.windows(len)).chain(suffixes)
    }

    fn plain_ratio(a: &[char], b: &[char]) -> f64 {
        let mut lcs = vec![vec![0; b.len() + 1]; a.len() + 1];
        for (i, j) in (0..a.len()).flat_map(|i| (0..b.len()).map(move |j| (i, j))) {
            let matched = lcs[i][j] + usize::from(a[i] == b[j]);
            lcs[i + 1][j + 1] = matched.max(lcs[i][j + 1]).max(lcs[i + 1][j]);
        }
        200.0 * lcs[a.len()][b.len()] as f64 / (a.len() + b.len()) as f64
    }

    proptest! {
        #[test]
        fn any_score_is_between_0_and_100(
            query in any::<String>(),
            key in any::<String>(),
            ignore_case: bool,
        ) {
            let score = Scorer::new(&query, ignore_case).score(&key);
            prop_assert!((0.0..=100.0).contains(&score));
        }

        #[test]
        fn scores_as_the_plain_definition_does(
            query in "[ab:é]{1,16}",
            key in "[ab:é]{1,16}",
        ) {
            let ours = score(&query, &key);
            prop_assert!((ours - plain_partial_ratio(&query, &key)).abs() < 1e-9);
        }

        #[test]
        fn a_part_of_the_key_scores_100(
            (before, part, after) in (any::<String>(), ".+", any::<String>()),
            ignore_case: bool,
        ) {
            let key = format!("{before}{part}{after}");
            prop_assert_eq!(Scorer::new(&part, ignore_case).score(&key), 100.0);
        }

        #[test]
        fn a_reused_scorer_scores_as_a_new_one(
            query in "[a-d ]{0,12}",
            keys in proptest::collection::vec("[a-d:]{0,20}", 1..8),
        ) {
            let mut scorer = Scorer::new(&query, false);
            for key in keys {
                prop_assert_eq!(scorer.score(&key), score(&query, &key));
            }
        }
    }
}
