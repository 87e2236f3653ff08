//! One server: the network to it, and its process.

use std::sync::mpsc::channel;

use super::*;

#[test]
fn refused() {
    for binary in BOTH {
        let server = MemcachedServer::start(&[]);
        let cache = cache(server.url(), binary);
        drill(&cache, DOWN, || server.kill(), || server.start_again());
        server.kill();
        outage(&cache, DOWN, !binary);
        // Once it is known, it costs next to nothing.
        in_time(|| {
            let started = Instant::now();
            for _ in 0..1_000 {
                assert_eq!(cache.get::<String>("a").unwrap(), None);
            }
            (started.elapsed() < Duration::from_millis(500)).then_some(())
        });
    }
}

#[test]
fn reset_when_connecting() {
    for binary in BOTH {
        let (_server, proxy, cache) = behind_proxy(binary);
        let break_it = || {
            proxy.set(Plan::Refuse);
            proxy.drop_connections();
        };
        drill(&cache, DOWN, break_it, || proxy.set(Plan::Pass));
    }
}

#[test]
fn black_hole() {
    faulty(Plan::Hold, LATE);
    for binary in BOTH {
        let (_server, proxy, cache) = behind_proxy(binary);
        proxy.set(Plan::Hold);
        outage(&cache, LATE, !binary);
    }
}

#[test]
fn a_byte_now_and_then() {
    faulty(Plan::Drip { every: LIMIT / 7 }, LATE);
}

#[test]
fn late_answers() {
    faulty(Plan::Delay(LIMIT * 3), LATE);
}

#[test]
fn reset_in_the_middle_of_an_answer() {
    faulty(Plan::CutAfter(7), DOWN);
}

#[test]
fn truncated_answers() {
    faulty(Plan::Truncate(9), DOWN);
}

#[test]
fn answers_that_are_none() {
    // In the binary protocol they are too short for one.
    faulty(Plan::Garbage, LATE);
}

#[test]
fn a_value_cut_off_in_its_middle() {
    for plan in [Plan::CutAfter(50_000), Plan::Truncate(50_000)] {
        for binary in BOTH {
            let (_server, proxy, cache) = behind_proxy(binary);
            let cache = cache.with_timeout(PATIENCE);
            let large = "large".repeat(20_000);
            assert!(cache.set("large", &large).unwrap());
            set(&cache, "a").unwrap();
            proxy.set(plan);
            for _ in 0..10 {
                expect(timed(|| get(&cache, "large")), DOWN);
                // The greeting and a small value come through; a server that was found down meanwhile
                // is tried again soon.
                heals(|| {
                    timed(|| get(&cache, "a")).is_ok_and(|found| found == Some(value_of("a")))
                });
            }
            assert_eq!(cache.lookup::<String>("large").unwrap().cause(), Some(Cause::Down));
            proxy.set(Plan::Pass);
            heals(|| get(&cache, "large").is_ok_and(|found| found.as_ref() == Some(&large)));
        }
    }
}

#[test]
fn a_connection_half_closed() {
    // New ones get their greeting and no more.
    faulty(Plan::HalfClose, DOWN);
    for binary in BOTH {
        let (_server, proxy, cache) = behind_proxy(binary);
        let cache = cache.with_timeout(PATIENCE);
        set(&cache, "a").unwrap();
        for _ in 0..10 {
            proxy.set(Plan::HalfClose);
            // The answer arrives, and its connection is not used again.
            assert_eq!(timed(|| get(&cache, "a")).unwrap(), Some(value_of("a")));
            proxy.set(Plan::Pass);
            thread::sleep(Duration::from_millis(12));
            let before = proxy.connections();
            assert_eq!(timed(|| get(&cache, "a")).unwrap(), Some(value_of("a")));
            assert_eq!(proxy.connections(), before + 1);
        }
    }
}

#[test]
fn a_large_value_stalls_half_way() {
    for binary in BOTH {
        let server = MemcachedServer::start(&["-I", "16m", "-m", "256"]);
        let proxy = Proxy::to(&server.addr());
        let cache = cache(&url_of(&proxy), binary);
        let large = bytes::Bytes::from(vec![b'x'; 12 << 20]);
        heals(|| cache.set("a", "small").unwrap());
        proxy.set(Plan::StallWrites(100_000));
        expect(timed(|| cache.entry("a").strict().set_bytes(large)), LATE);
        // The connection it stalled on is nobody's any more; a new one takes as many bytes.
        assert!(well(|| timed(|| cache.entry("bb").strict().set("v"))));
        proxy.set(Plan::Pass);
        heals(|| get(&cache, "a").is_ok());
        goes_on(&cache, 10);
        // What was given up does not arrive later.
        thread::sleep(Duration::from_millis(100));
        assert!(server.get_raw(b"f:a").unwrap().len() < 1_000);
    }
}

#[test]
fn killed_and_started_again() {
    for binary in BOTH {
        let server = MemcachedServer::start(&[]);
        let cache = cache(server.url(), binary);
        for _ in 0..3 {
            for key in KEYS {
                well(|| set(&cache, key));
            }
            server.restart();
            let mut first = None;
            heals(|| match timed(|| get(&cache, "a")) {
                Ok(found) => {
                    first = Some(found);
                    true
                }
                Err(error) => {
                    expect::<()>(Err(error), LATE);
                    false
                }
            });
            assert_eq!(first, Some(None), "it came back empty");
        }
        // All connections of the pool were dead, and nobody noticed: no call failed because of it.
        well(|| set(&cache, "a"));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..50).for_each(|_| drop(cache.get::<String>("a").unwrap())));
            }
        });
        server.restart();
        thread::sleep(Duration::from_millis(600));
        goes_on(&cache, 1);
    }
}

/// The number the server has for an entry.
fn cas(server: &MemcachedServer, key: &str) -> u64 {
    let answer = server.command(&format!("mg f:{key} c"));
    let cas = answer.trim_end().rsplit(" c").next().and_then(|cas| cas.parse().ok());
    cas.unwrap_or_else(|| panic!("{answer}"))
}

/// Writes what others do, until the server's number of the entry is this one.
#[track_caller]
fn write_until(server: &MemcachedServer, key: &str, number: u64, write: impl Fn()) {
    for _ in 0..number {
        write();
        if cas(server, key) == number {
            return;
        }
    }
    panic!("the number {number} did not come again");
}

#[test]
fn a_lease_from_before_a_restart_fills_nothing_though_the_numbers_are_the_same() {
    for binary in BOTH {
        let server = MemcachedServer::start(&[]);
        let [cache, others] = [(); 2].map(|()| cache(server.url(), binary).with_timeout(PATIENCE));
        for n in 0..20 {
            cache.set(format!("warm{n}"), "v").unwrap();
        }
        let loaded = cache.get_or_compute("k", || {
            let number = cas(&server, "k");
            server.restart();
            heals(|| set(&others, "up").is_ok());
            write_until(&server, "k", number, || assert!(others.set("k", "theirs").unwrap()));
            "loaded".to_owned()
        });
        assert_eq!(loaded.unwrap(), "loaded");
        assert_eq!(others.get::<String>("k").unwrap().as_deref(), Some("theirs"));

        // The same with a placeholder of somebody else's, who is loading now.
        let (finish, finishes) = channel();
        thread::scope(|scope| {
            let loaded = cache.get_or_compute("p", || {
                let number = cas(&server, "p");
                server.restart();
                heals(|| set(&others, "up").is_ok());
                while cas(&server, "up") + 1 < number {
                    set(&others, "up").unwrap();
                }
                let (others, server) = (&others, &server);
                scope.spawn(move || {
                    let slow = || {
                        finishes.recv().unwrap();
                        "newer".to_owned()
                    };
                    assert_eq!(others.get_or_compute("p", slow).unwrap(), "newer");
                });
                wait_until("they are loading", || {
                    server.command("mg f:p c").starts_with("HD") && cas(server, "p") == number
                });
                "older".to_owned()
            });
            assert_eq!(loaded.unwrap(), "older");
            finish.send(()).unwrap();
        });
        assert_eq!(others.get::<String>("p").unwrap().as_deref(), Some("newer"));
    }
}

#[test]
fn a_version_from_before_a_restart_swaps_nothing_though_the_numbers_are_the_same() {
    for binary in BOTH {
        for tagged in [false, true] {
            let server = MemcachedServer::start(&[]);
            let cache = cache(server.url(), binary).with_timeout(PATIENCE);
            let put = |value: &str| {
                let entry = cache.entry("k").strict();
                if tagged { entry.tag("t").set(value) } else { entry.set(value) }
            };
            for n in 0..20 {
                cache.set(format!("warm{n}"), "v").unwrap();
            }
            put("old").unwrap();
            let version = || cache.get_versioned::<String>("k").unwrap().unwrap().1;
            let (old, number) = (version(), cas(&server, "k"));
            server.restart();
            heals(|| put("new").is_ok());
            write_until(&server, "k", number, || assert!(put("new").unwrap()));
            assert!(!timed(|| cache.entry("k").strict().swap(old, "wrong")).unwrap());
            assert_eq!(get(&cache, "k").unwrap().as_deref(), Some("new"));
            // One from after it swaps.
            assert!(cache.entry("k").strict().swap(version(), "right").unwrap());
            assert_eq!(get(&cache, "k").unwrap().as_deref(), Some("right"));
        }
    }
}

#[test]
fn stopped_for_longer_than_the_deadline() {
    for binary in BOTH {
        let server = MemcachedServer::start(&["-I", "16m", "-m", "256"]);
        let cache = cache(server.url(), binary);
        drill(&cache, LATE, || server.stop(), || server.cont());
        server.stop();
        outage(&cache, LATE, !binary);
        server.cont();
        works_again(&cache);
        // A value somebody gave up on is not stored when the server wakes up, unless it was read
        // whole.
        server.stop();
        let large = bytes::Bytes::from(vec![b'y'; 12 << 20]);
        expect(timed(|| cache.entry("large").strict().set_bytes(large)), LATE);
        server.cont();
        heals(|| get(&cache, "a").is_ok());
        thread::sleep(Duration::from_millis(100));
        assert!(!cache.exists("large").unwrap());
    }
}

#[test]
fn a_pool_exhausted_by_slow_callers() {
    for binary in BOTH {
        let (_server, proxy, cache) = behind_proxy(binary);
        for key in KEYS {
            well(|| set(&cache, key));
        }
        proxy.set(Plan::Delay(LIMIT / 3));
        // Sixteen callers, four connections: some wait too long for their turn, none for longer.
        let (served, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for index in 0..16 {
                let (cache, served, refused) = (&cache, &served, &refused);
                scope.spawn(move || {
                    let key = KEYS[index % KEYS.len()];
                    for _ in 0..3 {
                        match timed(|| get(cache, key)) {
                            Ok(found) => {
                                assert_eq!(found, Some(value_of(key)));
                                served.fetch_add(1, Ordering::Relaxed);
                            }
                            Err(error) => {
                                expect::<()>(Err(error), LATE);
                                refused.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    }
                });
            }
        });
        assert!(served.into_inner() > 0 && refused.into_inner() > 0);
        proxy.set(Plan::Pass);
        works_again(&cache);
    }
}

#[test]
fn a_late_command_is_sent_again_where_that_is_wanted() {
    for binary in BOTH {
        let server = MemcachedServer::start(&[]);
        let proxy = Proxy::to(&server.addr());
        let memcached = Memcached::builder(&url_of(&proxy)).timeout(LIMIT * 4).binary(binary);
        let cache = cache_of(memcached.retry_on_timeout(true));
        cache.set("a", "v").unwrap();
        cache.set("n", &1).unwrap();
        let heal_soon = |call: &dyn Fn()| {
            thread::scope(|scope| {
                proxy.set(Plan::Hold);
                scope.spawn(|| {
                    thread::sleep(LIMIT);
                    // What was held is lost; new connections work.
                    proxy.drop_connections();
                    proxy.set(Plan::Pass);
                });
                call();
            });
        };
        heal_soon(&|| assert_eq!(get(&cache, "a").unwrap().as_deref(), Some("v")));
        // Not one that would count twice.
        heal_soon(&|| drop(expect(cache.increment("n", 1), LATE)));
        assert!(cache.get::<i64>("n").unwrap() <= Some(2));
    }
}

#[test]
fn a_load_whose_fill_met_an_outage_keeps_nobody_waiting_for_ever() {
    for binary in BOTH {
        let (server, proxy, cache) = behind_proxy(binary);
        let others = self::cache(server.url(), binary);
        let value = timed(|| {
            cache.get_or_compute("k", || {
                proxy.set(Plan::Hold);
                "loaded".to_owned()
            })
        });
        assert_eq!(value.unwrap(), "loaded");
        proxy.drop_connections();
        proxy.set(Plan::Pass);
        // Another process waits as long as it may, and takes over from one it hears nothing more of.
        let own = || "own".to_owned();
        let late = timed(|| others.entry("k").timeout(LIMIT).get_or_compute(own));
        expect(late, &[ErrorKind::Timeout]);
        let patient = others.entry("k").timeout(PATIENCE).lease(LIMIT);
        assert_eq!(patient.get_or_compute(own).unwrap(), "own");
    }
}
