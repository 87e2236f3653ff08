//! Functions whose results are cached by their arguments.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Cache, Ttl};
use crate::args;
use crate::error::{Error, ErrorKind, Result};

impl Cache {
    /// A function that remembers its results for so long, in this cache.
    ///
    /// Results are stored under `name` and the arguments: different names, or arguments, never share
    /// a key, whatever is in them. Give two functions two names. A function of several arguments
    /// takes a tuple. Each call is a [`get_or_compute`](Self::get_or_compute).
    ///
    /// `name` stands before the arguments in the key if it consists of letters, digits and `_.:/-`:
    /// the pattern `square(*` invalidates all of this one.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # fn main() -> yokedcache::Result<()> {
    /// # let cache = yokedcache::Cache::memory(10);
    /// let power = cache.memoize("power", Duration::from_secs(60), |(base, exponent): (u64, u32)| {
    ///     base.pow(exponent)
    /// });
    /// assert_eq!(power((2, 10))?, 1024);
    /// assert_eq!(power((2, 10))?, 1024, "remembered");
    /// cache.invalidate_pattern("power(*")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Calls of the function: as `get_or_compute`; [`Encode`](ErrorKind::Encode) if the arguments
    /// cannot be serialised; [`InvalidKey`](ErrorKind::InvalidKey) if the name is empty, or with the
    /// arguments longer than [`MAX_KEY`](crate::MAX_KEY).
    pub fn memoize<A, T, N, L, F>(
        &self,
        name: N,
        ttl: L,
        function: F,
    ) -> impl Fn(A) -> Result<T> + use<A, T, N, L, F>
    where
        A: Serialize,
        T: Serialize + DeserializeOwned,
        N: Into<String>,
        L: Into<Ttl>,
        F: Fn(A) -> T,
    {
        let (cache, name, ttl) = (self.clone(), name.into(), ttl.into());
        move |arguments| {
            let entry = cache.entry(key(&name, &arguments)?).ttl(ttl);
            entry.get_or_compute(|| function(arguments))
        }
    }

    /// The same for a function that may fail: its errors are the caller's, and not remembered.
    ///
    /// ```
    /// use yokedcache::Ttl;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = yokedcache::Cache::memory(10);
    /// let parse = cache.try_memoize("parse", Ttl::Never, |text: String| text.parse::<u16>());
    /// assert_eq!(parse("8080".into())??, 8080);
    /// assert!(parse("x".into())?.is_err());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As there.
    pub fn try_memoize<A, T, E, N, L, F>(
        &self,
        name: N,
        ttl: L,
        function: F,
    ) -> impl Fn(A) -> Result<Result<T, E>> + use<A, T, E, N, L, F>
    where
        A: Serialize,
        T: Serialize + DeserializeOwned,
        N: Into<String>,
        L: Into<Ttl>,
        F: Fn(A) -> Result<T, E>,
    {
        let (cache, name, ttl) = (self.clone(), name.into(), ttl.into());
        move |arguments| {
            let entry = cache.entry(key(&name, &arguments)?).ttl(ttl);
            entry.get_or_load(|| function(arguments))
        }
    }
}

/// The key of a call. A name that could be taken for more than a name is quoted.
fn key<A: Serialize>(name: &str, arguments: &A) -> Result<String> {
    if name.is_empty() {
        return Err(Error::new(ErrorKind::InvalidKey, "the name of the function is empty"));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.:/-".contains(c);
    let arguments = args::text(arguments)?;
    Ok(match name.chars().all(plain) {
        true => format!("{name}({arguments})"),
        false => format!("{}({arguments})", args::text(name)?),
    })
}
