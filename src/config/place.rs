//! Where a setting was said.

use std::fmt;
use std::sync::Arc;

/// Where a setting was said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Place {
    /// In code: in an address, or a value some other reader made.
    #[default]
    Code,
    /// A line of a file.
    #[cfg(feature = "config")]
    Line(Arc<str>, u64),
    /// An environment variable.
    Variable(Arc<str>),
}

impl Place {
    pub(super) fn is_code(&self) -> bool {
        *self == Self::Code
    }

    pub(super) fn is_variable(&self) -> bool {
        self.variable().is_some()
    }

    pub(super) fn variable(&self) -> Option<&str> {
        match self {
            Self::Variable(name) => Some(name),
            _ => None,
        }
    }

    /// Says of which file a line is.
    #[cfg(feature = "config")]
    pub(super) fn name_file(&mut self, file: &Arc<str>) {
        if let Self::Line(name, _) = self {
            *name = file.clone();
        }
    }
}

/// With a colon behind it, for what is to be said of it.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code => Ok(()),
            #[cfg(feature = "config")]
            Self::Line(file, 0) => write!(f, "{file}: "),
            #[cfg(feature = "config")]
            Self::Line(file, line) => write!(f, "{file}:{line}: "),
            Self::Variable(name) => write!(f, "{name}: "),
        }
    }
}
