//! Giving settings to builders.

use std::time::Duration;

use super::fault::Fault;
use super::place::Place;
use super::values::{Real, Time};
use crate::cache::{CacheBuilder, Freshness};
use crate::error::Result;

/// Gives a setting to a builder, if there is one.
pub(super) fn given<B, T>(builder: B, setting: Option<T>, give: impl FnOnce(B, T) -> B) -> B {
    match setting {
        Some(setting) => give(builder, setting),
        None => builder,
    }
}

/// What refuses settings out of range.
pub(super) trait Checked {
    fn checked(&self) -> Result<()>;
}

impl Checked for CacheBuilder {
    fn checked(&self) -> Result<()> {
        self.check()
    }
}

impl Checked for Freshness {
    fn checked(&self) -> Result<()> {
        self.check()
    }
}

/// The same, with the name of the setting if it is refused.
pub(super) fn set<B: Checked, T>(
    builder: B,
    name: &str,
    setting: Option<T>,
    give: impl FnOnce(B, T) -> B,
) -> Result<B, Fault> {
    let builder = given(builder, setting, give);
    match builder.checked() {
        Ok(()) => Ok(builder),
        Err(error) => Err(within(error.into(), name)),
    }
}

pub(super) fn time(setting: Option<Time>) -> Option<Duration> {
    setting.map(|time| time.0)
}

pub(super) fn number(setting: Option<Real>) -> Option<f64> {
    setting.map(|number| number.0)
}

/// The same, within a setting of this name. Where that stands is looked up later.
pub(super) fn within(fault: Fault, name: &str) -> Fault {
    fault.under(name, &Place::Code)
}
