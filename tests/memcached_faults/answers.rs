//! What servers say: errors, answers to something else, and what is none.

use super::*;

/// A server that says to each command what it is told to.
struct Fake {
    addr: String,
    connections: Arc<AtomicUsize>,
    answer: Arc<Mutex<Answer>>,
}

/// From the words of a command to the bytes of its answer.
type Answer = Box<dyn Fn(&[&str]) -> Vec<u8> + Send>;

impl Fake {
    fn start(answer: impl Fn(&[&str]) -> Vec<u8> + Send + 'static) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let answer: Arc<Mutex<Answer>> = Arc::new(Mutex::new(Box::new(answer)));
        let connections = Arc::new(AtomicUsize::new(0));
        let fake = Fake { addr, connections: connections.clone(), answer: answer.clone() };
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                connections.fetch_add(1, Ordering::Relaxed);
                let answer = answer.clone();
                thread::spawn(move || Fake::serve(client, &answer));
            }
        });
        fake
    }

    fn serve(mut client: TcpStream, answer: &Mutex<Answer>) {
        client.set_nodelay(true).unwrap();
        let mut reader = BufReader::new(client.try_clone().unwrap());
        let mut line = String::new();
        while reader.read_line(&mut line).is_ok_and(|read| read > 0) {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            if let ["ms", _, length, ..] = words[..] {
                let mut data = vec![0; length.parse::<usize>().unwrap() + 2];
                if reader.read_exact(&mut data).is_err() {
                    return;
                }
            }
            let reply = match words[..] {
                ["stats"] => b"STAT pid 7\r\nSTAT time 900\r\nSTAT uptime 100\r\nEND\r\n".to_vec(),
                ["stats", "settings"] => b"STAT item_size_max 1048576\r\nEND\r\n".to_vec(),
                ["mn"] => b"MN\r\n".to_vec(),
                _ => answer.lock().unwrap()(&words),
            };
            if client.write_all(&reply).is_err() {
                return;
            }
            line.clear();
        }
    }

    fn says(&self, answer: impl Fn(&[&str]) -> Vec<u8> + Send + 'static) {
        *self.answer.lock().unwrap() = Box::new(answer);
    }

    fn url(&self) -> String {
        format!("memcached://{}", self.addr)
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// The flag by which an answer is known to be that to a command.
fn opaque(words: &[&str]) -> u32 {
    let flag = words.iter().skip(2).find_map(|word| word.strip_prefix('O'));
    flag.expect("each command has an opaque").parse().unwrap()
}

/// What a server without entries says, which stores what it is given.
fn empty(words: &[&str]) -> Vec<u8> {
    let word = if words[0] == "mg" || words[0] == "md" { "EN" } else { "HD" };
    let word = if words[0] == "md" { "NF" } else { word };
    format!("{word} O{}\r\n", opaque(words)).into_bytes()
}

/// The number 1, to whoever asks.
fn one(words: &[&str]) -> Vec<u8> {
    format!("VA 1 c5 t-1 O{}\r\n1\r\n", opaque(words)).into_bytes()
}

#[test]
fn what_a_server_says_against_a_command_is_an_error_of_that_kind() {
    let lines: &[(&str, ErrorKind)] = &[
        ("SERVER_ERROR out of memory storing object", ErrorKind::Full),
        ("SERVER_ERROR Out of memory allocating new item", ErrorKind::Full),
        ("SERVER_ERROR out of memory reading request", ErrorKind::Full),
        ("SERVER_ERROR object too large for cache", ErrorKind::TooLarge),
        ("CLIENT_ERROR unauthenticated", ErrorKind::Denied),
        ("CLIENT_ERROR bad data chunk", ErrorKind::Backend),
        ("CLIENT_ERROR bad command line format", ErrorKind::Backend),
        ("SERVER_ERROR temporary failure", ErrorKind::Backend),
        ("ERROR", ErrorKind::Backend),
        ("ERROR Too many open connections", ErrorKind::Unavailable),
    ];
    for (line, kind) in lines {
        let fake = Fake::start(empty);
        let cache = cache(&fake.url(), false).with_timeout(PATIENCE);
        assert!(timed(|| cache.entry("a").strict().set("v")).unwrap());
        assert_eq!(timed(|| get(&cache, "a")).unwrap(), None);
        fake.says(move |_| format!("{line}\r\n").into_bytes());
        for _ in 0..3 {
            let error = expect(timed(|| cache.entry("a").strict().set("v")), &[*kind]);
            assert!(error.to_string().contains("memcached"), "{error}");
            expect(timed(|| get(&cache, "a")), &[*kind]);
            expect(timed(|| cache.increment("n", 1)), &[*kind]);
            expect(timed(|| cache.invalidate_tags(["t"])), &[*kind]);
            expect(timed(|| cache.delete("a")), &[*kind]);
        }
        // An outage is a miss to those who are not strict, and nothing else is.
        let lookup = timed(|| cache.lookup::<String>("a"));
        let stored = timed(|| cache.set("a", "v"));
        match kind {
            ErrorKind::Full | ErrorKind::Denied | ErrorKind::Unavailable => {
                assert_eq!(lookup.unwrap().cause(), Some(Cause::Down), "{line}");
                assert!(!stored.unwrap(), "{line}");
            }
            _ => {
                expect(lookup, &[*kind]);
                expect(stored, &[*kind]);
            }
        }
        fake.says(empty);
        heals(|| timed(|| cache.entry("a").strict().set("v")).is_ok());
        assert_eq!(timed(|| get(&cache, "a")).unwrap(), None);
    }
}

#[test]
fn an_error_that_closes_a_connection_costs_nobody_else_an_answer() {
    let fake = Fake::start(empty);
    let cache = cache(&fake.url(), false).with_timeout(PATIENCE);
    for _ in 0..5 {
        // Of a batch the first command is refused, and what follows is not looked at.
        fake.says(|words| match words[1] {
            "f:a" => b"CLIENT_ERROR bad data chunk\r\nERROR\r\n".to_vec(),
            _ => one(words),
        });
        let before = fake.connections();
        let found = timed(|| cache.get_many::<i64>(["a", "bb"]));
        assert!(found.is_err(), "{found:?}");
        fake.says(one);
        heals(|| timed(|| cache.entry("bb").strict().get::<i64>()).is_ok_and(|n| n == Some(1)));
        assert!(fake.connections() > before, "the connection was not used again");
    }
}

#[test]
fn an_answer_to_something_else_is_nobodys_value() {
    let replies: [Answer; 5] = [
        Box::new(|words| format!("VA 1 c5 t-1 O{}\r\n2\r\n", opaque(words) + 1_000).into_bytes()),
        Box::new(|words| format!("VA 1 c5 t-1 O{}\r\n2\r\n", opaque(words) + 77_000).into_bytes()),
        Box::new(|_| b"VA 1 c5 t-1\r\n2\r\n".to_vec()),
        Box::new(|_| b"VA 1 c5 t-1 O\r\n2\r\n".to_vec()),
        Box::new(|_| b"EN O99999999\r\n".to_vec()),
    ];
    for reply in replies {
        let fake = Fake::start(one);
        let cache = cache(&fake.url(), false).with_timeout(PATIENCE);
        assert_eq!(timed(|| cache.get::<i64>("a")).unwrap(), Some(1));
        *fake.answer.lock().unwrap() = reply;
        for _ in 0..5 {
            expect(timed(|| cache.entry("a").strict().get::<i64>()), DOWN);
            assert_eq!(timed(|| cache.get_many::<i64>(["a", "bb"])).unwrap(), [None, None]);
            let lookup = timed(|| cache.lookup::<i64>("a")).unwrap();
            assert_eq!(lookup.cause(), Some(Cause::Down));
            expect(timed(|| cache.entry("a").strict().get_or_compute(|| 3)), DOWN);
            expect(timed(|| cache.increment("a", 1)), DOWN);
            expect(timed(|| cache.delete("a")), DOWN);
            thread::sleep(Duration::from_millis(20));
        }
        fake.says(one);
        heals(|| timed(|| cache.entry("a").strict().get::<i64>()).is_ok_and(|n| n == Some(1)));
    }
}

#[test]
fn answers_in_another_order_are_nobodys_values() {
    let held = Mutex::new(Vec::new());
    let fake = Fake::start(move |words| {
        // Each answer comes after that to the next command.
        let mut held = held.lock().unwrap();
        let own = format!("VA 1 O{}\r\n{}\r\n", opaque(words), words[1].len()).into_bytes();
        if held.is_empty() {
            *held = own;
            return Vec::new();
        }
        [own, std::mem::take(&mut held)].concat()
    });
    let cache = cache(&fake.url(), false).with_timeout(PATIENCE);
    for _ in 0..10 {
        let found = timed(|| cache.get_many::<i64>(["a", "bb"])).unwrap();
        assert!(found[0].is_none_or(|n| n == 3) && found[1].is_none_or(|n| n == 4), "{found:?}");
        thread::sleep(Duration::from_millis(20));
    }
    fake.says(|words| format!("VA 1 O{}\r\n{}\r\n", opaque(words), words[1].len()).into_bytes());
    heals(|| timed(|| cache.get_many::<i64>(["a", "bb"])).unwrap() == [Some(3), Some(4)]);
}

#[test]
fn more_answers_than_questions_end_the_connection() {
    let fake = Fake::start(|words| {
        let again = format!("VA 1 O{}\r\n2\r\n", opaque(words) + 1).into_bytes();
        [one(words), again].concat()
    });
    let cache = cache(&fake.url(), false).with_timeout(PATIENCE);
    for _ in 0..5 {
        // The second one is nobody's.
        assert_eq!(cache.get::<i64>("a").unwrap(), Some(1));
    }
    assert_eq!(fake.connections(), 5);
}

#[test]
fn answers_that_make_no_sense_are_errors() {
    for reply in [
        "VA 99999999999999999999 O%\r\n1\r\n",
        "VA -1 O%\r\n1\r\n",
        "VA x O%\r\n1\r\n",
        "VA\r\n",
        "VA 1 cx O%\r\n1\r\n",
        "VA 1 tx O%\r\n1\r\n",
        "VA 1 c O%\r\n1\r\n",
        "ZZ O%\r\n",
        "va 1 O%\r\n1\r\n",
        "VA 1 O%\n1\r\n",
        "\r\n",
        "VA 1 O%\r\n1xx",
    ] {
        let fake =
            Fake::start(move |words| reply.replace('%', &opaque(words).to_string()).into_bytes());
        let cache = cache(&fake.url(), false);
        for _ in 0..3 {
            expect(timed(|| cache.entry("a").strict().get::<i64>()), LATE);
            assert_eq!(timed(|| cache.get::<i64>("a")).unwrap(), None, "{reply:?}");
            thread::sleep(Duration::from_millis(20));
        }
        fake.says(one);
        heals(|| timed(|| cache.entry("a").strict().get::<i64>()).is_ok_and(|n| n == Some(1)));
    }
}

/// A server that answers each line with the same bytes without end, once it has greeted.
#[test]
fn an_answer_without_end_ends_at_the_deadline() {
    for (start, more) in [
        ("VA 1 O0\r\n1\r\n", "VA 1 O0\r\n1\r\n"),
        ("VA 900000000 O%\r\n", "xxxxxxxxxxxxxxxx"),
        ("VA ", "11111111111111111"),
        ("HD ", "f1 f1 f1 f1 f1 f1 "),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("memcached://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                thread::spawn(move || {
                    let mut reader = BufReader::new(client.try_clone().unwrap());
                    let mut line = String::new();
                    while reader.read_line(&mut line).is_ok_and(|read| read > 0) {
                        let words: Vec<&str> = line.split_ascii_whitespace().collect();
                        if words[0] == "stats" {
                            client.write_all(b"END\r\n").unwrap();
                        } else {
                            let first = start.replace('%', &opaque(&words).to_string());
                            let more = more.repeat(1_000);
                            let until = Instant::now() + Duration::from_secs(5);
                            let mut going = client.write_all(first.as_bytes()).is_ok();
                            while going && Instant::now() < until {
                                going = client.write_all(more.as_bytes()).is_ok();
                                // Not faster than anybody could take it in.
                                thread::sleep(Duration::from_millis(1));
                            }
                            return;
                        }
                        line.clear();
                    }
                });
            }
        });
        let cache = cache(&url, false);
        assert_eq!(timed(|| cache.get_many::<i64>(KEYS)).unwrap(), [None; 6]);
        expect(timed(|| cache.entry("a").strict().get::<i64>()), LATE);
        expect(timed(|| cache.delete("a")), LATE);
    }
}

#[test]
fn a_greeting_that_is_none_is_an_error() {
    let greetings: &[(&'static [u8], &[ErrorKind])] = &[
        (b"ERROR\r\n", &[ErrorKind::Backend]),
        (b"SERVER_ERROR temporary failure\r\n", &[ErrorKind::Backend]),
        (b"CLIENT_ERROR unauthenticated\r\n", &[ErrorKind::Denied]),
        (b"ERROR Too many open connections\r\n", DOWN),
        (b"+OK\r\n", DOWN),
        (b"END\r\nEND\r\nEND\r\n", DOWN),
        (b"END\r\n", LATE),
        (b"STAT pid", LATE),
    ];
    for (greeting, kinds) in greetings.iter().copied() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("memcached://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            let mut open = Vec::new();
            for mut client in listener.incoming().flatten() {
                let _ = client.write_all(greeting);
                open.push(client);
            }
        });
        let cache = cache(&url, false);
        let kinds = [kinds, DOWN].concat();
        for _ in 0..5 {
            expect(timed(|| cache.entry("a").strict().get::<i64>()), &kinds);
            expect(timed(|| cache.delete("a")), &kinds);
        }
    }
}

/// A server of the binary protocol whose answers have these opaques: so much more than was asked.
fn binary_fake(off_by: u32, status: u16) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("memcached://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut head = [0; 24];
                while client.read_exact(&mut head).is_ok() {
                    let length = u32::from_be_bytes([head[8], head[9], head[10], head[11]]);
                    let mut body = vec![0; length as usize];
                    client.read_exact(&mut body).unwrap();
                    let asked = u32::from_be_bytes([head[12], head[13], head[14], head[15]]);
                    let (opcode, get, stat) = (head[1], 0x00, 0x10);
                    let (said, status) =
                        if opcode == stat { (asked, 0) } else { (asked + off_by, status) };
                    let body: &[u8] = if opcode == get { b"\0\0\0\x001" } else { b"" };
                    let mut answer = vec![0x81, opcode, 0, 0];
                    answer.extend([if opcode == get { 4 } else { 0 }, 0]);
                    answer.extend(status.to_be_bytes());
                    answer.extend((body.len() as u32).to_be_bytes());
                    answer.extend(said.to_be_bytes());
                    answer.extend(5u64.to_be_bytes());
                    answer.extend(body);
                    if client.write_all(&answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    url
}

#[test]
fn in_the_binary_protocol_likewise() {
    let cache = |url: &str, binary| cache(url, binary).with_timeout(PATIENCE);
    assert_eq!(cache(&binary_fake(0, 0), true).get::<i64>("a").unwrap(), Some(1));
    for off_by in [1, 77] {
        let cache = cache(&binary_fake(off_by, 0), true);
        for _ in 0..5 {
            expect(timed(|| cache.entry("a").strict().get::<i64>()), DOWN);
            assert_eq!(timed(|| cache.get::<i64>("a")).unwrap(), None);
            assert_eq!(timed(|| cache.get_many::<i64>(["a", "bb"])).unwrap(), [None, None]);
            expect(timed(|| cache.delete("a")), DOWN);
            thread::sleep(Duration::from_millis(20));
        }
    }
    for (status, kind) in [
        (0x82, ErrorKind::Full),
        (0x03, ErrorKind::TooLarge),
        (0x20, ErrorKind::Denied),
        (0x85, ErrorKind::Unavailable),
        (0x86, ErrorKind::Unavailable),
        (0x84, ErrorKind::Backend),
        (0x81, ErrorKind::Backend),
    ] {
        let cache = cache(&binary_fake(0, status), true);
        for _ in 0..3 {
            expect(timed(|| cache.entry("a").strict().get::<i64>()), &[kind]);
            expect(timed(|| cache.entry("a").strict().set("v")), &[kind]);
            expect(timed(|| cache.delete("a")), &[kind]);
        }
    }
}

#[test]
fn a_list_of_keys_cut_off_is_not_taken_for_all_of_them() {
    let (_server, proxy, cache) = behind_proxy(false);
    let cache = cache.with_timeout(PATIENCE);
    let keys: Vec<String> = (0..3_000).map(|n| format!("key{n}")).collect();
    let values = || keys.iter().map(|key| (key, "v"));
    assert!(cache.set_many(values()).unwrap().is_empty());
    assert_eq!(cache.keys("*").unwrap().len(), 3_000);
    for plan in [Plan::CutAfter(50_000), Plan::Truncate(50_000)] {
        proxy.set(plan);
        let all: [&dyn Fn() -> Option<Error>; 3] =
            [&|| cache.keys("*").err(), &|| cache.invalidate_pattern("*").err(), &|| {
                cache.clear().err()
            }];
        for call in all {
            let error = call().expect("it was cut off");
            expect::<()>(Err(error), LATE);
            thread::sleep(Duration::from_millis(100));
        }
        proxy.set(Plan::Pass);
        works_again(&cache);
        assert!(cache.set_many(values()).unwrap().is_empty());
    }
    cache.clear().unwrap();
    assert!(cache.keys("*").unwrap().is_empty());
}

#[test]
fn what_is_no_list_of_keys_is_an_error_of_that_kind() {
    let lists: &[(&str, &[ErrorKind])] = &[
        ("\x7f\0this is nothing\r\n", DOWN),
        ("key=f%3Aa exp=-1 la=1 cas=5 fetch=no cls=1 size=65\r\n\x7f\0nothing\r\nEND\r\n", DOWN),
        ("HD O5\r\n", DOWN),
        ("ERROR Too many open connections\r\n", DOWN),
        ("SERVER_ERROR out of memory\r\n", &[ErrorKind::Full]),
        ("CLIENT_ERROR unauthenticated\r\n", &[ErrorKind::Denied]),
        ("CLIENT_ERROR metadump not allowed\r\n", &[ErrorKind::Unsupported]),
        ("CLIENT_ERROR lru crawler disabled\r\n", &[ErrorKind::Unsupported]),
        ("ERROR\r\n", &[ErrorKind::Unsupported]),
        ("BUSY currently processing crawler request\r\n", LATE),
    ];
    for (list, kinds) in lists {
        let fake = Fake::start(move |words| match words[0] {
            "lru_crawler" => list.as_bytes().to_vec(),
            _ => empty(words),
        });
        let cache = cache(&fake.url(), false);
        for _ in 0..3 {
            for error in [
                timed(|| cache.keys("*")).map(drop).err(),
                timed(|| cache.invalidate_pattern("*")).map(drop).err(),
                timed(|| cache.clear()).map(drop).err(),
            ] {
                let error = error.unwrap_or_else(|| panic!("{list:?} was taken for a list"));
                assert!(kinds.contains(&error.kind()), "{list:?}: {error:?}");
            }
        }
        assert!(well(|| timed(|| cache.entry("a").strict().set("v"))));
    }
}

#[test]
fn a_password_is_not_left_with_a_server_that_wants_none() {
    let server = MemcachedServer::start(&[]);
    let cache = cache(&format!("memcached://ann:open%40sesame@{}", server.addr()), false);
    drop(timed(|| cache.set("a", "v")));
    assert_eq!(server.get_raw(b"auth"), None);
    let kept = server.keys().iter().map(|key| server.get_raw(key.as_bytes())).collect::<Vec<_>>();
    let kept = format!("{kept:?}");
    assert!(!kept.contains("sesame"), "{kept}");
}

#[test]
fn a_sign_of_life_that_does_not_come() {
    for binary in BOTH {
        for (plan, kinds) in [
            (Plan::Hold, LATE),
            (Plan::Delay(LIMIT), LATE),
            (Plan::CutAfter(2), DOWN),
            (Plan::Truncate(3), DOWN),
            (Plan::Garbage, LATE),
        ] {
            let server = MemcachedServer::start(&[]);
            let proxy = Proxy::to(&server.addr());
            let memcached = memcached(&url_of(&proxy)).binary(binary);
            let cache = cache_of(memcached.health_check_interval(Duration::ZERO));
            drill(&cache, kinds, || proxy.set(plan), || proxy.set(Plan::Pass));
            // One that is late, but not too late, is no harm to the answer after it.
            proxy.set(Plan::Delay(LIMIT / 6));
            for key in KEYS {
                assert_eq!(well(|| timed(|| get(&cache, key))), Some(value_of(key)));
            }
        }
    }
}
