//! What the checks found.

use serde::Serialize;
use serde_json::json;

use crate::exit::{Exit, Outcome};
use crate::output::{Cell, Out, Tone};
use crate::words::without_secrets;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Pass,
    Warn,
    Fail,
    Skip,
}

#[derive(Serialize)]
struct Check {
    check: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<String>,
    verdict: Verdict,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

/// The checks done so far.
#[derive(Default)]
pub struct Report {
    checks: Vec<Check>,
    server: Option<String>,
}

impl Report {
    /// Whom the checks from here on are about.
    pub fn about(&mut self, server: Option<String>) {
        self.server = server;
    }

    pub fn pass(&mut self, check: &'static str, found: impl Into<String>) {
        self.add(check, Verdict::Pass, found.into(), None);
    }

    /// It works, and could be better or will not last.
    pub fn warn(&mut self, check: &'static str, found: impl Into<String>, advice: &str) {
        self.add(check, Verdict::Warn, found.into(), Some(advice.to_owned()));
    }

    pub fn fail(&mut self, check: &'static str, found: impl Into<String>, advice: &str) {
        self.add(check, Verdict::Fail, found.into(), Some(advice.to_owned()));
    }

    /// These cannot be done before another succeeds.
    pub fn skip(&mut self, checks: &[&'static str], needs: &str) {
        for check in checks {
            self.add(check, Verdict::Skip, format!("needs {needs}"), None);
        }
    }

    /// Which of these were not made of the current server yet, and the last that was.
    pub fn left<'c>(&self, checks: &'c [&'static str]) -> (Vec<&'static str>, &'c str) {
        let is_done = |check: &&'static str| {
            self.checks.iter().any(|done| done.server == self.server && done.check == *check)
        };
        let last = checks.iter().rfind(|check| is_done(check));
        let left = checks.iter().filter(|check| !is_done(check)).copied().collect();
        (left, last.map_or("", |last| last))
    }

    fn add(
        &mut self,
        check: &'static str,
        verdict: Verdict,
        found: String,
        advice: Option<String>,
    ) {
        let found = without_secrets(&found);
        self.checks.push(Check { check, server: self.server.clone(), verdict, found, advice });
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.checks.iter().filter(|check| check.verdict == verdict).count()
    }

    /// Shows all of it.
    pub fn finish(&self, out: Out) -> Outcome {
        let [passed, warned, failed, skipped] =
            [Verdict::Pass, Verdict::Warn, Verdict::Fail, Verdict::Skip].map(|v| self.count(v));
        out.document(&json!({"ok": failed == 0, "passed": passed, "warned": warned,
            "failed": failed, "skipped": skipped, "checks": self.checks}))?;
        let head = ["VERDICT", "CHECK", "SERVER", "FOUND"];
        let shown = head.into_iter().filter(|name| *name != "SERVER" || self.has_servers());
        out.table(&shown.collect::<Vec<_>>(), self.rows())?;
        out.aside(format!(
            "{passed} passed, {warned} to think about, {failed} failed, {skipped} skipped"
        ))?;
        Ok(if failed == 0 { Exit::Done } else { Exit::No })
    }

    /// Whether there is more than one server to be told apart.
    fn has_servers(&self) -> bool {
        let mut servers = self.checks.iter().filter_map(|check| check.server.as_ref());
        let first = servers.next();
        servers.any(|server| Some(server) != first)
    }

    /// A row a check; those that were skipped for one reason share one.
    fn rows(&self) -> Vec<Vec<Cell>> {
        let groups = self.checks.chunk_by(|a, b| {
            let skipped = a.verdict == Verdict::Skip && b.verdict == Verdict::Skip;
            skipped && a.server == b.server && a.found == b.found
        });
        groups.filter_map(|group| self.row(group)).collect()
    }

    fn row(&self, group: &[Check]) -> Option<Vec<Cell>> {
        let first = group.first()?;
        let verdict = match first.verdict {
            Verdict::Pass => Cell::toned("pass", Tone::Good),
            Verdict::Warn => Cell::toned("warn", Tone::Doubtful),
            Verdict::Fail => Cell::toned("FAIL", Tone::Bad),
            Verdict::Skip => "skip".into(),
        };
        let names: Vec<_> = group.iter().map(|check| check.check).collect();
        let found = match (&first.advice, &names[..]) {
            (Some(advice), _) => format!("{}; {advice}", first.found),
            (None, [_]) => first.found.clone(),
            (None, names) => format!("{}: {}", first.found, names.join(", ")),
        };
        let name = if names.len() > 1 { "(several)" } else { first.check };
        let mut row = vec![verdict, name.into()];
        if self.has_servers() {
            row.push(first.server.clone().unwrap_or_default().into());
        }
        row.push(found.into());
        Some(row)
    }
}
