//! Entries from one cache to another, into a file, and back.
//!
//! - [`listing`] goes through the keys of the source, [`pump`] makes batches of them, [`copier`] says
//!   what becomes of each key of a batch, [`renaming`] what it is called at the target;
//! - [`run`] counts, tells, waits and stops; [`pace`] says how fast and how many at once;
//! - [`overlap`] refuses a target that lies within the source;
//! - [`primary`] sees to it that a cache is not taken for what stands in for it;
//! - [`verify`] compares; [`file`] is the format of an export.

mod copier;
mod export;
mod file;
mod import;
mod listing;
mod migration;
mod overlap;
mod pace;
mod primary;
mod pump;
mod renaming;
mod report;
mod run;
mod settings;
mod verify;

use std::io::{BufRead, Write};

pub use export::Export;
pub use file::{FaultKind, FileFault};
pub use import::Import;
pub use migration::Migration;
pub use report::{
    Difference, Differs, Incomplete, Phase, Progress, Report, Skip, Skipped, Verified,
};

use crate::Cache;

impl Cache {
    /// Copies the entries of this namespace to another cache: of another backend, under another
    /// prefix, or both. What the target has already stays.
    ///
    /// Entries keep what is left of their time, their tags, schema, codec and compression; stale ones
    /// and negative ones are copied, too. See [`migration`](crate::migration) for what is promised, and
    /// which tool is for what. Costs a listing of the keys, and per batch three reads of the source
    /// and of the target together with a write of the target.
    ///
    /// ```
    /// use yokedcache::{Cache, Memory};
    ///
    /// # fn main() -> yokedcache::Result<()> {
    /// let old = Cache::builder(Memory::builder().build()?).key_prefix("shop").build()?;
    /// let new = Cache::memory(10_000);
    /// old.entry("user:1").tags(["users"]).set("Ann")?;
    ///
    /// let report = old.migrate_to(&new).verify().run()?;
    /// assert!(report.is_complete());
    /// assert_eq!((report.copied, report.skipped), (1, 0));
    /// assert_eq!(new.get::<String>("user:1")?.as_deref(), Some("Ann"));
    /// assert_eq!(new.invalidate_tags(["users"])?.entries, Some(1));
    /// # Ok(())
    /// # }
    /// ```
    pub fn migrate_to(&self, to: &Cache) -> Migration<'static> {
        Migration::new(self.clone(), to.clone())
    }

    /// Writes the entries of this namespace to a file. See [`migration`](crate::migration) for the
    /// format. Lines are written one by one: give it a [`BufWriter`](std::io::BufWriter). Costs a
    /// listing of the keys, and a read per batch.
    ///
    /// ```
    /// use yokedcache::Cache;
    ///
    /// # fn main() -> yokedcache::Result<()> {
    /// let cache = Cache::memory(10);
    /// cache.set("user:1", "Ann")?;
    /// let mut file = Vec::new();
    /// assert_eq!(cache.export(&mut file).run()?.copied, 1);
    ///
    /// let other = Cache::memory(10).namespace("copy");
    /// assert_eq!(other.import(&file[..]).run()?.copied, 1);
    /// assert_eq!(other.get::<String>("user:1")?.as_deref(), Some("Ann"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn export<'a>(&self, to: impl Write + 'a) -> Export<'a> {
        Export::new(self.clone(), to)
    }

    /// Stores what an [export](Self::export) wrote, under this cache's prefix. What this cache has
    /// already stays. Costs per batch a read and a write.
    pub fn import<'a>(&self, from: impl BufRead + 'a) -> Import<'a> {
        Import::new(self.clone(), from)
    }
}
