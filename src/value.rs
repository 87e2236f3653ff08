//! Stored bytes, and what the codec made of them.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

/// The bytes of an entry. A clone shares them.
///
/// A backend that keeps values in this process may make one [shared](Self::share): it then also
/// carries, once somebody asked for it, the decoded value, which dies with the entry.
#[derive(Clone)]
pub struct Value(Kind);

#[derive(Clone)]
enum Kind {
    Bytes(Bytes),
    Shared(Arc<Shared>),
}

struct Shared {
    bytes: Bytes,
    decoded: OnceLock<Decoded>,
}

type Decoded = Arc<dyn Any + Send + Sync>;

impl Value {
    /// The bytes as stored.
    #[inline]
    pub fn bytes(&self) -> &Bytes {
        match &self.0 {
            Kind::Bytes(bytes) => bytes,
            Kind::Shared(shared) => &shared.bytes,
        }
    }

    /// The bytes, taken out where nobody shares them.
    #[inline]
    pub(crate) fn take_bytes(&mut self) -> Bytes {
        match &mut self.0 {
            Kind::Bytes(bytes) => std::mem::take(bytes),
            Kind::Shared(shared) => shared.bytes.clone(),
        }
    }

    /// Gives the value a place for its decoded form, shared by all clones made afterwards.
    pub fn share(&mut self) {
        if let Kind::Bytes(bytes) = &mut self.0 {
            let shared = Shared { bytes: std::mem::take(bytes), decoded: OnceLock::new() };
            self.0 = Kind::Shared(Arc::new(shared));
        }
    }

    /// The decoded form, if one of this type is kept.
    pub(crate) fn decoded<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let Kind::Shared(shared) = &self.0 else { return None };
        Arc::downcast(shared.decoded.get()?.clone()).ok()
    }

    /// Keeps the decoded form for the next caller; the first one kept stays.
    pub(crate) fn keep<T: Send + Sync + 'static>(&self, decoded: &Arc<T>) {
        if let Kind::Shared(shared) = &self.0 {
            let _ = shared.decoded.set(decoded.clone());
        }
    }
}

impl<B: Into<Bytes>> From<B> for Value {
    fn from(bytes: B) -> Self {
        Self(Kind::Bytes(bytes.into()))
    }
}

/// The length only: values are nobody's business in a log.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({} bytes)", self.bytes().len())
    }
}
