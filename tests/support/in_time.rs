//! Scenes that show something only if they are over in time.

/// Many stalls in a row are no accident.
const TRIES: usize = 20;

/// Plays a scene until it shows something: `None` says that this machine was too slow for it, and that
/// what was seen says nothing. What is wrong whatever the time, a scene asserts itself.
#[track_caller]
pub fn in_time<T>(scene: impl FnMut() -> Option<T>) -> T {
    let shown = std::iter::repeat_with(scene).take(TRIES).flatten().next();
    shown.unwrap_or_else(|| panic!("this machine was too slow {TRIES} times in a row"))
}
