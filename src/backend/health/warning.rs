//! What an operator should know.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;

/// Something an operator should know, and what to do about it.
///
/// [`health_checks`](crate::health_checks) lists the codes. They stay what they are; the text may
/// change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HealthWarning {
    /// What it is, for programs.
    pub code: &'static str,
    /// What it means and what to do, for people.
    pub text: Cow<'static, str>,
    /// Whether the backend does not serve as it should because of it. Else it is advice: about a
    /// setting, mostly.
    pub degrades: bool,
}

impl HealthWarning {
    /// Advice.
    pub fn new(code: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code, text: text.into(), degrades: false }
    }

    /// Trouble: what it belongs to is [degraded](crate::HealthStatus::Degraded).
    pub fn trouble(code: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        Self { degrades: true, ..Self::new(code, text) }
    }
}

impl fmt::Display for HealthWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.text, self.code)
    }
}
