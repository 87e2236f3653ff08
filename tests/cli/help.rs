//! Help, version and completions.

use super::bare;

const COMMANDS: [&str; 18] = [
    "ping",
    "health",
    "get",
    "set",
    "delete",
    "ttl",
    "keys",
    "search",
    "invalidate",
    "clear",
    "stats",
    "migrate",
    "export",
    "import",
    "config",
    "bench",
    "doctor",
    "completions",
];

#[test]
fn every_command_has_help_and_a_part_of_the_manual() {
    let whole = bare().run("--help").ends(0).out;
    let manual = include_str!("../../docs/cli.md");
    for command in COMMANDS {
        assert!(whole.contains(&format!("\n  {command} ")), "{command}");
        let help = bare().args(&[command, "--help"]).ends(0).out;
        assert!(help.contains("Usage: yokedcache"), "{help}");
        assert!(manual.contains(&format!("# {command}")), "{command} is not in the manual");
        for option in help.split_whitespace().filter(|word| word.starts_with("--")) {
            let option = option.trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '-');
            assert!(manual.contains(option), "{option} of {command} is not in the manual");
        }
    }
}

#[test]
fn help_tells_the_exit_codes_and_where_passwords_go() {
    let help = bare().run("--help").out;
    for code in 0..=5 {
        assert!(help.contains(&format!("\n  {code}  ")), "{code}");
    }
    assert!(help.contains("--password-stdin") && help.contains("YOKEDCACHE_URL"));
    let version = bare().run("--version").ends(0).out;
    assert_eq!(version, format!("yokedcache {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn help_does_not_show_the_environment() {
    let url = format!("redis://:{}@h", super::PASSWORD);
    let cli = bare().var("YOKEDCACHE_URL", &url).var("MIGRATE_TO", &url);
    cli.run("migrate --help").ends(0);
}

#[test]
fn nothing_said_is_helped_and_is_an_error() {
    let ran = bare().args(&[]).ends(2).says("");
    assert!(ran.err.contains("Usage: yokedcache"));
}

#[test]
fn shells_get_completions() {
    for (shell, word) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef yokedcache"),
        ("fish", "complete -c yokedcache"),
    ] {
        let script = bare().run(&format!("completions {shell}")).ends(0).out;
        assert!(script.contains(word) && script.contains("invalidate"), "{shell}");
    }
    bare().run("completions cmd.com").ends(2).complains("bash");
}
