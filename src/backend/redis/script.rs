//! The scripts. Each has one key, so a cluster never refuses it.
//!
//! An empty string, which only another program would store, counts as nothing.
//!
//! What lies under a key is told by its first 18 bytes: a value of ours with its write id, a
//! placeholder with its token, or another program's bytes. A script acts only on what the caller
//! has seen. An answer of 1 means it was done; otherwise it is the beginning of what lies there
//! (nil if nothing does), so that the caller knows why not.
//!
//! A caller that sends a script again, not knowing whether it was carried out, finds its own new
//! bytes there: that counts as done.

use std::sync::LazyLock;

use redis::Script;

/// A script after what all share: `set` stores a value for some milliseconds, for ever (empty) or as
/// long as the older one (`KEEP`), `act` carries out an action, `found` shows what lies there.
macro_rules! script {
    ($code:literal) => {
        LazyLock::new(|| {
            Source::new(concat!(
                "local k = KEYS[1]
local function set(v, px)
  if px == 'KEEP' then redis.call('SET', k, v, 'KEEPTTL')
  elseif px == '' then redis.call('SET', k, v)
  else redis.call('SET', k, v, 'PX', px) end
  return 1
end
local function act(action, a, b)
  if action == 'SET' then return set(a, b) end
  if action == 'PEXPIRE' then redis.call('PEXPIRE', k, a) else redis.call(action, k) end
  return 1
end
local function found()
  local h = redis.call('GETRANGE', k, 0, 4095)
  return h ~= '' and h
end
",
                $code
            ))
        })
    };
}

/// A script as it is sent.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) code: &'static str,
    pub(super) hash: String,
}

impl Source {
    fn new(code: &'static str) -> Self {
        Self { code, hash: Script::new(code).get_hash().to_owned() }
    }
}

/// A script that is known by its name here.
pub(super) type Known = LazyLock<Source>;

/// Stores where nothing lies, or what was seen: `new px seen over`. With `over` set to 1
/// placeholders count as nothing.
pub(super) static ACQUIRE: Known = script!(
    "local new, px, seen, over = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local h = redis.call('GETRANGE', k, 0, 17)
if h == '' or h == seen or h == string.sub(new, 1, 18) and string.byte(h) == 193
   or (over == '1' and string.sub(h, 1, 2) == '\\193P') then return set(new, px) end
return found()"
);

/// Changes what was seen: `seen action ...`, where the action is `SET new px`, `PEXPIRE px`,
/// `PERSIST` or `UNLINK`. What was seen is the first 18 bytes of ours, all of another program's.
pub(super) static SWAP: Known = script!(
    "local seen, action = ARGV[1], ARGV[2]
local last = #seen - 1
if string.byte(seen) ~= 193 or #seen < 18 then last = #seen end
local h = redis.call('GETRANGE', k, 0, last)
if h ~= seen or h == '' then
  if action == 'SET' and string.byte(ARGV[3]) == 193
     and redis.call('GETRANGE', k, 0, 17) == string.sub(ARGV[3], 1, 18) then return 1 end
  return found()
end
return act(action, ARGV[3], ARGV[4])"
);

/// Changes an entry that is there, if that can be told without its tags and times: `action ...` as
/// in [`SWAP`].
pub(super) static PRESENT: Known = script!(
    "local h = redis.call('GETRANGE', k, 0, 19)
if h == '' then return false end
if string.byte(h) == 193 then
  local flags = string.byte(h, 20)
  if string.byte(h, 2) ~= 86 or not flags or flags % 16 >= 4 or flags >= 64 then return found() end
end
return act(ARGV[1], ARGV[2], ARGV[3])"
);

/// Removes whatever is there and answers its beginning.
pub(super) static DELETE: Known = script!(
    "local h = redis.pcall('GETRANGE', k, 0, 4095)
if type(h) == 'table' then h = 'another type' end
if redis.call('UNLINK', k) == 0 then return false end
return h"
);

/// Adds to a whole number: `by first px new`, where `first` is the number where nothing lies (empty
/// if it would be too large), and `new` is what is stored for it then. Answers with the number as
/// text after a `+`, with a `!` if there is nothing to store, or with what is there.
pub(super) static ADD: Known = script!(
    "local h = redis.call('GETRANGE', k, 0, 17)
if h == '' or string.sub(h, 1, 2) == '\\193P' then
  if ARGV[2] == '' then return '!' end
  set(ARGV[4], ARGV[3])
  return '+' .. ARGV[2]
end
if string.byte(h) == 193 then return found() end
local sum = redis.pcall('INCRBY', k, ARGV[1])
if type(sum) == 'table' then return found() end
return '+' .. redis.call('GET', k)"
);

/// Makes a tag's record outlive its entries: `px`, empty for ever.
pub(super) static EXTEND: Known = script!(
    "local left = redis.call('PTTL', k)
if left >= 0 then
  if ARGV[1] == '' then redis.call('PERSIST', k)
  elseif left < tonumber(ARGV[1]) then redis.call('PEXPIRE', k, ARGV[1]) end
end
return 1"
);
