//! One key, to be loaded.

use std::convert::Infallible;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::EntryRef;
use crate::backend::Read;
use crate::cache::View;
use crate::cache::load::{Answer, Begun, Frame, Load, Loaded, Seat, Task};
use crate::cache::look::reading_to_load;
use crate::cache::lookup::Lookup;
use crate::cache::policy::Policy;
use crate::error::Result;
use crate::key::with_name;

impl<K: AsRef<str>, G: IntoIterator<Item: AsRef<str>>> EntryRef<'_, K, G> {
    /// The value; if there is none, what `loader` returns, stored with the tags and time to live
    /// given here.
    ///
    /// Threads that ask for the same key at once share one run of the loader; loads of different
    /// keys never wait for each other. If the key is deleted or invalidated while the loader runs,
    /// its value goes to this caller and is not stored: nobody who asks later gets it. `None` of an
    /// `Option` is stored as the knowledge that there is no value; to a type that cannot say so that is
    /// a value of another type, which is loaded anew and replaced. What a loader returns after its
    /// [lease](Self::lease) is not stored either.
    ///
    /// On a shared backend threads of all processes share the run. A hit takes one round trip, a load
    /// three: to look, to claim the key, to store. If the cache is down the loader runs, and the cache
    /// is not asked again.
    ///
    /// With [`stale_for`](Self::stale_for), a stale value is served while another caller loads, and if
    /// the loader fails.
    ///
    /// The result has two layers, for `??`: the outer error is the cache's, the inner one yours.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = yokedcache::Cache::memory(10);
    /// let port: u16 = cache.entry("port").get_or_load(|| "8080".parse())??;
    /// assert_eq!(port, 8080);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`LoadFailed`](crate::ErrorKind::LoadFailed) if another thread's loader failed meanwhile,
    /// [`Timeout`](crate::ErrorKind::Timeout) if it, or another process's, took too long, [`Reentrant`](crate::ErrorKind::Reentrant) if
    /// the loader asks for its own key; else as [`set`](Self::set). An outage is none: the loader
    /// runs.
    pub fn get_or_load<T, E>(self, loader: impl FnOnce() -> Result<T, E>) -> Result<Result<T, E>>
    where
        T: Serialize + DeserializeOwned,
    {
        let Self { view, key, tags, policy } = self;
        view.get_or_load(&policy, key.as_ref(), tags, loader)
    }

    /// The value; if there is none, what `compute` returns. See
    /// [`get_or_load`](Self::get_or_load).
    ///
    /// # Errors
    /// As there, but for the loader's.
    pub fn get_or_compute<T>(self, compute: impl FnOnce() -> T) -> Result<T>
    where
        T: Serialize + DeserializeOwned,
    {
        let Ok(value) = self.get_or_load(|| Ok::<_, Infallible>(compute()))?;
        Ok(value)
    }

    /// As [`get_or_load`](Self::get_or_load), with a loader that sees the [`Load`] and says more
    /// than a value. `None` means that there is no value, and that this is known.
    ///
    /// ```
    /// use std::time::Duration;
    /// use yokedcache::{Loaded, Ttl};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = yokedcache::Cache::memory(10);
    /// let body: Option<String> = cache.entry("page:7").load_with(|load| {
    ///     load.tag("pages")?;
    ///     let status = 404; // of some request
    ///     Ok::<_, yokedcache::Error>(match status {
    ///         404 => Loaded::Negative(Ttl::After(Duration::from_secs(5))),
    ///         _ => Loaded::Value("...".to_owned()),
    ///     })
    /// })??;
    /// assert_eq!(body, None);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As there, and [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for
    /// [`Loaded::NotModified`] without a previous value.
    pub fn load_with<T, E>(
        self,
        loader: impl FnOnce(&mut Load<'_>) -> Result<Loaded<T>, E>,
    ) -> Result<Result<Option<T>, E>>
    where
        T: Serialize + DeserializeOwned,
    {
        Ok(self.load_frame(true, false, loader)?.map(|answer| answer.value))
    }

    /// As [`load_with`](Self::load_with), and tells the times of the value, and whether it is stale.
    ///
    /// ```
    /// use std::time::Duration;
    /// use yokedcache::{Cache, Freshness, Loaded, Lookup, ManualClock, Memory};
    ///
    /// # fn main() -> yokedcache::Result<()> {
    /// let clock = ManualClock::new();
    /// let cache = Cache::builder(Memory::builder().clock(&clock).build()?).clock(&clock).build()?;
    /// let minute = Duration::from_secs(60);
    /// let policy = Freshness::new().ttl(minute).stale_for(60 * minute);
    ///
    /// cache.entry("rate").freshness(policy).set(&1.08)?;
    /// clock.advance(2 * minute);
    /// let answer = cache
    ///     .entry("rate")
    ///     .freshness(policy)
    ///     .lookup_or_load(|_| Err::<Loaded<f64>, _>("the source is down"))?;
    /// let Ok(Lookup::Hit(hit)) = answer else { unreachable!("the stale value is served") };
    /// assert_eq!((hit.value, hit.stale), (1.08, true));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As there.
    pub fn lookup_or_load<T, E>(
        self,
        loader: impl FnOnce(&mut Load<'_>) -> Result<Loaded<T>, E>,
    ) -> Result<Result<Lookup<T>, E>>
    where
        T: Serialize + DeserializeOwned,
    {
        Ok(self.load_frame(true, true, loader)?.map(Answer::into_lookup))
    }

    fn load_frame<T, E, F>(
        self,
        takes_none: bool,
        wants_life: bool,
        loader: F,
    ) -> Result<Result<Answer<T>, E>>
    where
        T: Serialize + DeserializeOwned,
        F: FnOnce(&mut Load<'_>) -> Result<Loaded<T>, E>,
    {
        let Self { view, key, tags, policy } = self;
        with_name(&view.prefix, key.as_ref(), |name| {
            let seat = Seat::new(&view.core, tags, takes_none).wanting_life(wants_life);
            let mut frame = Frame::new(seat, loader);
            let task = Task::new(&view.core, &policy, name)?;
            let ends = policy.ends();
            task.load(view.core.read(&policy, name, &task.want(&frame))?, &mut frame, ends)?;
            frame.answer()
        })
    }

    /// The value, or the right to store one: what [`get_or_load`](Self::get_or_load) does, for code
    /// that cannot put its loader into a closure.
    ///
    /// The slot keeps other callers waiting until it is set or dropped. If the key is deleted or
    /// invalidated meanwhile, what is set is not stored.
    ///
    /// ```
    /// use yokedcache::{Begun, Cache};
    ///
    /// # fn main() -> yokedcache::Result<()> {
    /// # let cache = Cache::memory(10);
    /// let name: String = match cache.entry("user:1").tag("users").begin()? {
    ///     Begun::Hit(name) => name,
    ///     Begun::Slot(slot) => {
    ///         let name = "Ann".to_owned(); // from the database
    ///         slot.set(&name)?;
    ///         name
    ///     }
    /// };
    /// assert_eq!(name, "Ann");
    /// assert!(matches!(cache.entry("user:1").begin::<String>()?, Begun::Hit(_)));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`get_or_load`](Self::get_or_load). A slot taken twice by one thread is
    /// [`Reentrant`](crate::ErrorKind::Reentrant).
    pub fn begin<T: DeserializeOwned>(self) -> Result<Begun<T>> {
        let Self { view, key, tags, policy } = self;
        with_name(&view.prefix, key.as_ref(), |name| {
            let mut seat = Seat::new(&view.core, tags, false);
            let task = Task::new(&view.core, &policy, name)?;
            match task.begin(&view.core, &mut seat)? {
                Some(slot) => Ok(Begun::Slot(slot)),
                None => seat.answer().map(Begun::Hit),
            }
        })
    }
}

impl View {
    /// See [`EntryRef::get_or_load`].
    #[inline]
    pub(in crate::cache) fn get_or_load<T, E, G>(
        &self,
        policy: &Policy,
        key: &str,
        tags: G,
        loader: impl FnOnce() -> Result<T, E>,
    ) -> Result<Result<T, E>>
    where
        T: Serialize + DeserializeOwned,
        G: IntoIterator<Item: AsRef<str>>,
    {
        let core = &*self.core;
        with_name(&self.prefix, key, |name| {
            let task = Task::new(core, policy, name)?;
            let (ends, mut read) = (policy.ends(), Read::Unanswered);
            core.read_into(policy, name, &reading_to_load(policy, false), &mut read)?;
            if let Some(value) = core.hit(policy, &mut read) {
                return Ok(Ok(value));
            }
            let seat = Seat::new(core, tags, false);
            let mut frame = Frame::new(seat, |_: &mut Load<'_>| loader().map(Loaded::Value));
            task.load(read, &mut frame, ends)?;
            match frame.answer()? {
                Ok(answer) => answer.into_value().map(Ok),
                Err(error) => Ok(Err(error)),
            }
        })
    }
}
