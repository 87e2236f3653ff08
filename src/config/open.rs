//! Caches made of configurations at once.

use super::Config;
use crate::cache::Cache;
use crate::error::Result;

impl Cache {
    /// A cache at an address, which has the settings of the backend and of the cache behind a
    /// question mark: see [`Config::from_url`] and [Configuration](crate::configuration).
    ///
    /// ```
    /// use yokedcache::Cache;
    ///
    /// # fn main() -> yokedcache::Result<()> {
    /// let cache = Cache::open("memory://?max_size=1000&default_ttl=300")?;
    /// cache.set("k", "v")?;
    ///
    /// let error = Cache::open("memory://?max_sise=1000").unwrap_err();
    /// assert!(error.to_string().ends_with("did you mean max_size?"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for an address or a setting that cannot be
    /// used, and for a scheme whose feature is off.
    pub fn open(url: &str) -> Result<Self> {
        Config::from_url(url)?.open()
    }

    /// A cache as environment variables say: see [`Config::from_variables`].
    ///
    /// # Errors
    /// As [`Config::from_env`] and [`Config::builder`].
    pub fn from_env() -> Result<Self> {
        Config::from_env()?.open()
    }

    /// A cache as an environment of a file says, with environment variables over it: see
    /// [`Config::load`].
    ///
    /// # Errors
    /// As [`Config::load`] and [`Config::builder`].
    #[cfg(feature = "config")]
    pub fn from_config(path: impl AsRef<std::path::Path>, environment: &str) -> Result<Self> {
        Config::load(path, environment)?.open()
    }
}
