//! Which route a key takes: names against names, without a lock and without a backend.

/// The routes and what their keys stand behind.
#[derive(Debug)]
pub(super) struct Places {
    routes: Vec<Box<str>>,
    delimiter: char,
    /// The prefixes of the caches, none within another.
    roots: Vec<Box<str>>,
}

impl Places {
    pub(super) fn new(routes: Vec<Box<str>>, delimiter: char) -> Self {
        Self { routes, delimiter, roots: Vec::new() }
    }

    /// Takes a cache's prefix in; false if that would move keys from one place to another.
    pub(super) fn add_root(&mut self, root: &str) -> bool {
        if self.roots.iter().any(|known| root.starts_with(&**known)) {
            return true;
        }
        let moves = self.roots.iter().any(|known| known.starts_with(root));
        if !moves {
            self.roots.push(root.into());
        }
        !moves
    }

    /// The number of the route that a full key takes; one past the last for none.
    pub(super) fn of(&self, full: &str) -> usize {
        let key = self.without_root(full);
        self.longest(|route| match key.strip_prefix(route) {
            Some(rest) => rest.is_empty() || rest.starts_with(self.delimiter),
            None => false,
        })
    }

    /// Whether a full key that begins with `start` may have this place.
    ///
    /// To say yes too often costs a call; to say no too often would leave entries behind.
    pub(super) fn reaches(&self, place: usize, start: &str) -> bool {
        let begun = self.without_root(start);
        // The route that such keys take unless they go on in a way that leads into a longer one.
        let around = self.longest(|route| {
            begun.strip_prefix(route).is_some_and(|rest| rest.starts_with(self.delimiter))
        });
        place == around
            || self.routes.get(place).is_some_and(|route| route.starts_with(begun))
            || self.roots.iter().any(|root| root.len() > start.len() && root.starts_with(start))
    }

    fn without_root<'k>(&self, full: &'k str) -> &'k str {
        self.roots.iter().find_map(|root| full.strip_prefix(&**root)).unwrap_or(full)
    }

    fn longest(&self, takes: impl Fn(&str) -> bool) -> usize {
        let taking = self.routes.iter().enumerate().filter(|(_, route)| takes(route));
        let longest = taking.max_by_key(|(_, route)| route.len());
        longest.map_or(self.routes.len(), |(place, _)| place)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn places(routes: &[&str], roots: &[&str]) -> Places {
        let mut places = Places::new(routes.iter().map(|route| (*route).into()).collect(), ':');
        for root in roots {
            places.add_root(root);
        }
        places
    }

    #[test]
    fn a_start_reaches_what_lies_around_it_and_below_it() {
        let places = places(&["user", "user:eu", "session"], &["shop:"]);
        let reached = |start: &str| -> Vec<usize> {
            (0..4).filter(|place| places.reaches(*place, start)).collect()
        };
        assert_eq!(reached("shop:"), [0, 1, 2, 3]);
        assert_eq!(reached("shop:user:"), [0, 1]);
        assert_eq!(reached("shop:user:eu:"), [1]);
        assert_eq!(reached("shop:user:e"), [0, 1]);
        assert_eq!(reached("shop:user"), [0, 1, 3], "`users` is no user");
        assert_eq!(reached("shop:users:"), [3]);
        assert_eq!(reached("sho"), [0, 1, 2, 3], "a prefix may follow");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        /// No key is left out of a pattern that it matches.
        #[test]
        fn a_key_is_reached_from_each_of_its_beginnings(
            routes in vec("[a:é]{1,4}", 0..5),
            roots in vec("([aé]{1,2}:){0,2}", 0..3),
            key in "[a:é]{0,8}",
        ) {
            let routes: Vec<&str> = routes.iter().map(String::as_str).collect();
            let roots: Vec<&str> = roots.iter().map(String::as_str).collect();
            let places = places(&routes, &roots);
            let place = places.of(&key);
            for (end, _) in key.char_indices().chain([(key.len(), ' ')]) {
                prop_assert!(places.reaches(place, &key[..end]), "{} of {}", &key[..end], key);
            }
        }
    }
}
