//! What a person at a terminal sees and is asked, at one that these tests hold the other end of.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::support::{RedisServer, wait_until};
use super::{Cli, PASSWORD, at, code, redis};

/// A terminal with a run of the program on it.
struct Terminal {
    keyboard: File,
    screen: Arc<Mutex<String>>,
    reader: JoinHandle<()>,
    child: Child,
}

impl Terminal {
    /// Starts the program on a terminal of this width.
    fn start(mut cli: Cli, columns: u16, line: &str) -> Self {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&keyboard, size).unwrap();
        let name = ptsname(&keyboard, Vec::new()).unwrap();
        let ours = open(&name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty());
        let ours = ours.unwrap();
        let end = |fd: &OwnedFd| Stdio::from(fd.try_clone().unwrap());
        cli.0.stdin(end(&ours)).stdout(end(&ours)).stderr(end(&ours)).env("TERM", "xterm-256color");
        // Afterwards only the program has it, and what it shows ends with it.
        let child = cli.start(&line.split(' ').collect::<Vec<_>>());
        drop(ours);
        let keyboard = File::from(keyboard);
        let screen = Arc::new(Mutex::new(String::new()));
        let reader = thread::spawn({
            let (from, to) = (keyboard.try_clone().unwrap(), Arc::clone(&screen));
            move || read_all(from, &to)
        });
        Self { keyboard, screen, reader, child }
    }

    fn waits_for(self, text: &str) -> Self {
        wait_until(&format!("{text:?} is shown"), || self.screen.lock().unwrap().contains(text));
        self
    }

    fn types(mut self, keys: &str) -> Self {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
        self
    }

    /// Its exit code, and all that was shown.
    fn ends(mut self) -> (i32, String) {
        let mut status = None;
        wait_until("it ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        let code = code(status.unwrap());
        self.reader.join().unwrap();
        let shown = std::mem::take(&mut *self.screen.lock().unwrap());
        assert!(!shown.contains(PASSWORD), "{shown}");
        (code, shown)
    }
}

/// Reads until nobody has the terminal open any more, which is an error of its own.
fn read_all(mut from: File, to: &Mutex<String>) {
    let mut bytes = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        to.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
}

fn shown(cli: Cli, columns: u16, line: &str) -> String {
    Terminal::start(cli, columns, line).ends().1
}

#[test]
fn colours_are_on_a_terminal_unless_they_are_not_wanted() {
    let (_server, url) = redis();
    assert!(shown(at(&url), 100, "doctor").contains("\u{1b}[38;5;10mpass"));
    for (cli, line) in [
        (at(&url).var("NO_COLOR", "1"), "doctor"),
        (at(&url), "doctor --color never"),
        (at(&url), "doctor --json"),
    ] {
        let shown = shown(cli, 100, line);
        assert!(shown.contains("pass") && !shown.contains('\u{1b}'), "{line}: {shown}");
    }
}

#[test]
fn tables_keep_to_the_width_of_a_terminal() {
    let (_server, url) = redis();
    for columns in [60, 200] {
        let shown = shown(at(&url).var("NO_COLOR", "1"), columns, "doctor");
        let longest = shown.lines().map(|line| line.trim_end().chars().count()).max().unwrap();
        assert!(longest <= columns.into(), "{shown}");
        let is_whole = shown.contains("it grows until the machine has no memory left");
        assert_eq!(is_whole, columns == 200, "{shown}");
    }
}

#[test]
fn clearing_asks_and_takes_nothing_but_a_yes() {
    let (_server, url) = redis();
    at(&url).run("set a 1").ends(0);
    for answer in ["\n", "n\n", "maybe\n", "yess\n", "\u{4}"] {
        let asked = Terminal::start(at(&url), 100, "clear").waits_for("[y/N] ").types(answer);
        let (code, shown) = asked.ends();
        assert_eq!(code, 1, "{shown}");
        assert!(shown.starts_with("Remove 1 entry under \"shop:\" at redis://***@"), "{shown}");
        assert!(shown.ends_with("nothing was removed\r\n"), "{shown}");
    }
    at(&url).run("get a").says("1\n");
    let asked = Terminal::start(at(&url), 100, "clear").waits_for("[y/N] ").types("y\n");
    let (code, shown) = asked.ends();
    assert!(code == 0 && shown.ends_with("1 entry removed\r\n"), "{shown}");
    at(&url).run("keys").says("");
}

#[test]
fn a_long_command_shows_how_far_it_is_and_clears_it_away() {
    let (server, url) = redis();
    let there = RedisServer::start(&[]);
    for n in 0..300 {
        server.command(&["SET", &format!("shop:{n}"), "1"]).expect_ok();
    }
    let line = format!("migrate --to {}?key_prefix=shop --batch 20 --rate 600", there.url());
    let (code, shown) = Terminal::start(at(&url), 100, &line).ends();
    assert_eq!(code, 0, "{shown}");
    let (bar, result) = shown.rsplit_once("\u{1b}[2K").unwrap_or_else(|| panic!("{shown}"));
    assert!(bar.contains("copying") && bar.contains("/s"), "{shown}");
    assert!(result.trim_start().starts_with("copied          300, "), "{shown}");
    let (code, shown) = Terminal::start(at(&url), 100, &format!("{line} --quiet")).ends();
    assert!(code == 0 && !shown.contains("copying"), "{shown}");
}

#[test]
fn a_password_is_asked_for_and_not_shown_while_it_is_typed() {
    let (server, _) = redis();
    let url = format!("{}?key_prefix=shop", server.url().replace(&format!(":{PASSWORD}@"), ""));
    let asked = Terminal::start(at(&url), 100, "--password-stdin ping").waits_for("password: ");
    let (code, shown) = asked.types(&format!("{PASSWORD}\n")).ends();
    assert_eq!(code, 0, "{shown}");
    assert!(shown.starts_with("password: \r\nok, "), "{shown:?}");
    let asked = Terminal::start(at(&url), 100, "--password-stdin ping").waits_for("password: ");
    let (code, shown) = asked.types("\n").ends();
    assert!(code == 2 && shown.contains("no password came"), "{shown}");
}

#[test]
fn what_a_terminal_would_obey_is_not_shown_on_one() {
    let (_server, url) = redis();
    at(&url).fed(&["set", "b", "--bytes"], b"\0\xff\x1b[31mred").ends(0);
    assert_eq!(shown(at(&url), 100, "get b"), "<10 B that are no text>\r\n");
    at(&url).args(&["set", "t", "--text", "\u{1b}[31mred"]).ends(0);
    assert_eq!(shown(at(&url), 100, "get t"), "\"\\u001b[31mred\"\r\n");
    assert_eq!(shown(at(&url), 100, "get t --text"), "<8 B that are no text>\r\n");
    at(&url).args(&["set", "\u{1b}[31mred", "1"]).ends(0);
    let keys = shown(at(&url), 100, "keys");
    assert!(keys.contains("\\u{1b}[31mred") && !keys.contains('\u{1b}'), "{keys:?}");
}

#[test]
fn what_needs_a_file_or_a_pipe_does_not_wait_at_a_terminal() {
    for (line, what) in [
        ("export -", "an export is not for a terminal"),
        ("import -", "nothing comes from a terminal"),
        ("set k", "no value: give one"),
    ] {
        let (code, shown) = Terminal::start(at("memory://"), 100, line).ends();
        assert!(code == 2 && shown.contains(what) && shown.lines().count() == 1, "{shown}");
    }
}
