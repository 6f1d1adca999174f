//! The rules of the house itself: which layer may know which, what no layer may name, and whether the pages about
//! the house are true. Reads the repository as text; `docs/architecture.md` says why the rules are what they are.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The height of a top-level module; arrows point down only.
fn layer(module: &str) -> Option<u8> {
    Some(match module {
        "ical" | "xml" | "metrics" => 1,
        "store" => 2,
        "calendar" => 3,
        "http" | "auth" => 4,
        "follow" | "bridge" | "webhook" | "mail" => 5,
        "dav" | "api" | "hooks" | "feed" | "web" => 6,
        "config" | "server" | "cli" | "demo" | "main" | "sim" => 7,
        _ => return None,
    })
}

/// Arrows between modules of the same height. Everything else at the same height is refused.
const SIDEWAYS: &[(&str, &str, &str)] = &[
    ("bridge", "follow", "a mapping is a follower of the log; follow is its wake-up"),
    ("webhook", "follow", "so is what is told to programs"),
    ("mail", "bridge", "mails tell what the bridge's notices say"),
    ("mail", "follow", "it is a follower; follow is its wake-up"),
    ("api", "feed", "the API makes the links that the door for subscribers shows"),
    ("web", "api", "a page asks the API, in process, for whatever it shows or changes (decision 022)"),
    ("auth", "http", "credentials are read from a request's headers"),
    ("cli", "config", "assembly knows itself"),
    ("cli", "demo", "assembly knows itself"),
    ("cli", "server", "assembly knows itself"),
    ("cli", "sim", "assembly knows itself"),
    ("config", "server", "assembly knows itself"),
    ("demo", "config", "assembly knows itself"),
    ("demo", "server", "assembly knows itself"),
    ("demo", "sim", "a demo is a server beside simulators"),
    ("server", "config", "assembly knows itself"),
    ("server", "cli", "assembly knows itself"),
    ("main", "cli", "assembly knows itself"),
    ("main", "config", "assembly knows itself"),
    ("main", "server", "assembly knows itself"),
];

struct Source {
    /// `dav/method/put.rs`
    name: String,
    module: String,
    /// The text above the tests, without comments.
    code: String,
    /// Lines above the tests, comments counted.
    lines: usize,
}

fn sources() -> Vec<Source> {
    let base = root().join("src");
    let mut out = Vec::new();
    for path in files_below(&base) {
        if path.extension().is_none_or(|e| e != "rs") {
            continue;
        }
        let name = path.strip_prefix(&base).unwrap().to_string_lossy().into_owned();
        let stem = Path::new(&name).file_stem().unwrap().to_string_lossy().into_owned();
        if name == "lib.rs" || stem == "tests" || name.ends_with("store/contract.rs") {
            continue;
        }
        let module = name.split('/').next().unwrap().trim_end_matches(".rs").to_string();
        let text = fs::read_to_string(&path).unwrap();
        let above = above_tests(&text);
        out.push(Source { lines: above.lines().count(), code: without_comments(above), module, name });
    }
    assert!(out.len() > 10, "the sources were not found below {}", base.display());
    out
}

fn above_tests(text: &str) -> &str {
    text.match_indices("#[cfg(test)]")
        .map(|(at, _)| at)
        .find(|at| text[*at..].lines().take(4).any(|line| line.trim_start().starts_with("mod ")))
        .map_or(text, |at| &text[..at])
}

fn without_comments(text: &str) -> String {
    text.lines()
        .map(|line| if line.trim_start().starts_with("//") { "" } else { line })
        .collect::<Vec<_>>()
        .join("\n")
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![folder.to_path_buf()];
    while let Some(here) = waiting.pop() {
        let Ok(entries) = fs::read_dir(&here) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                let ours = !matches!(
                    name.as_str(),
                    "target" | ".git" | ".test-tools" | "node_modules" | "__pycache__"
                ) && !name.starts_with("kalends-data");
                if ours {
                    waiting.push(path);
                }
            } else if name != ".git" {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Places where `needle` stands as whole words, with the line number.
fn whole(text: &str, needle: &str) -> Vec<usize> {
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for (at, _) in line.match_indices(needle) {
            let before = line[..at].chars().next_back();
            let after = line[at + needle.len()..].chars().next();
            let first = needle.chars().next().unwrap();
            let last = needle.chars().next_back().unwrap();
            let free_left = !is_word(first) || before.is_none_or(|c| !is_word(c) && c != ':');
            let free_right = !is_word(last) || after.is_none_or(|c| !is_word(c));
            if free_left && free_right {
                lines.push(number + 1);
            }
        }
    }
    lines
}

/// The modules that a source names as `crate::NAME` (also inside `use crate::{…}`), with the path's second part.
fn arrows(code: &str) -> BTreeSet<(String, String)> {
    let mut out = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 1usize;
            let mut start = true;
            let mut word = String::new();
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 1 => {
                        out.insert((std::mem::take(&mut word), String::new()));
                        start = true;
                        continue;
                    }
                    c if depth == 1 && start && is_word(c) => word.push(c),
                    c if depth == 1 && !c.is_whitespace() => start = false,
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
            }
            out.insert((word, String::new()));
        } else {
            let first: String = rest.chars().take_while(|c| is_word(*c)).collect();
            let second: String = rest[first.len()..]
                .strip_prefix("::")
                .map(|more| more.chars().take_while(|c| is_word(*c)).collect())
                .unwrap_or_default();
            out.insert((first, second));
        }
    }
    out.retain(|(module, _)| !module.is_empty());
    out
}

#[test]
fn the_reader_of_arrows_sees_every_form_of_use() {
    let seen = arrows(
        "use crate::store::{Rev, Key};\nuse crate::{ical::Ical, xml};\nlet x = crate::dav::Dav::new();",
    );
    let modules: Vec<&str> = seen.iter().map(|(m, _)| m.as_str()).collect();
    assert_eq!(modules, ["dav", "ical", "store", "xml"]);
    assert_eq!(whole("use sled::Db;\nstore::sled::Sled\nlet unsled = 1", "sled::"), [1]);
    assert_eq!(above_tests("a\n#[cfg(test)]\nmod tests {\n}"), "a\n");
}

#[test]
fn arrows_point_down_only() {
    let mut wrong = Vec::new();
    for source in sources() {
        let Some(own) = layer(&source.module) else {
            wrong.push(format!("{}: the module has no layer in webdav-tests/house.rs", source.name));
            continue;
        };
        for (target, _) in arrows(&source.code) {
            if target == source.module {
                continue;
            }
            let Some(its) = layer(&target) else { continue }; // a macro or a re-export at the crate's root
            let sideways = SIDEWAYS.iter().any(|(from, to, _)| *from == source.module && *to == target);
            let texts_apart = own == 1 || source.module == "store";
            if its > own || texts_apart || (its == own && !sideways) {
                wrong.push(format!("{} uses crate::{target}: from layer {own} to layer {its}", source.name));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that do not point down:\n{}", wrong.join("\n"));
}

// S3-005, S4-093
#[test]
fn doors_see_only_the_front_of_the_bridge() {
    let rooms: BTreeSet<String> = files_below(&root().join("src/bridge"))
        .iter()
        .filter_map(|p| p.file_stem().map(|s| s.to_string_lossy().into_owned()))
        .filter(|name| name != "mod")
        .collect();
    // The nouns that the front speaks in: what is remembered, and what a far side said.
    let nouns = ["record", "provider"];
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|s| ["dav", "api", "hooks", "feed", "web"].contains(&&*s.module)) {
        for (target, second) in arrows(&source.code) {
            if target == "bridge" && rooms.contains(&second) && !nouns.contains(&second.as_str()) {
                wrong.push(format!("{} reaches into bridge::{second}", source.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

// S1-058 … S1-061, S2-102, S3-007, S3-175: each kind of far side is a module that knows nothing of the others; the engine, its
// policy, its secrets and what comes in from outside have theirs
#[test]
fn far_sides_know_nothing_of_each_other() {
    let kinds = ["google", "outlook", "caldav", "cozi", "ics"];
    let all = sources();
    for kind in kinds {
        let (folder, file) = (format!("bridge/{kind}/"), format!("bridge/{kind}.rs"));
        let own: Vec<&Source> =
            all.iter().filter(|source| source.name.starts_with(&folder) || source.name == file).collect();
        assert!(!own.is_empty(), "{kind} has no module");
        for source in own {
            for other in kinds.into_iter().filter(|other| *other != kind) {
                let paths = ["super", "bridge"].map(|from| format!("{from}::{other}::"));
                let named = paths.iter().any(|path| source.code.contains(path.as_str()));
                assert!(!named, "{} knows of {other}", source.name);
            }
        }
    }
    for part in [
        "bridge/plan.rs",
        "bridge/conflict.rs",
        "bridge/run.rs",
        "bridge/work.rs",
        "auth/grant.rs",
        "auth/oauth/client.rs",
        "hooks/google.rs",
        "hooks/outlook.rs",
        "ical/zone.rs",
    ] {
        assert!(all.iter().any(|source| source.name == part), "{part} is gone");
    }
}

// S0-019, S2-095, S4-026: the guides for whoever registers the server name, step by step, what it serves and reads
#[test]
fn the_guides_to_providers_name_what_the_server_serves() {
    let ours = fs::read_to_string(root().join("src/auth/oauth/mod.rs")).unwrap();
    for (page, kind, steps) in [
        (
            "google.md",
            "google",
            ["Google Calendar API", "consent screen", "OAuth client ID", "Web application"],
        ),
        (
            "outlook.md",
            "outlook",
            ["App registrations", "Redirect URI", "API permissions", "New client secret"],
        ),
    ] {
        let text = fs::read_to_string(root().join("docs/providers").join(page)).unwrap();
        let at = steps.map(|step| text.find(step).unwrap_or_else(|| panic!("{page} lacks {step}")));
        assert!(at.is_sorted(), "{page}: the steps are told in their order");
        let redirect = format!("oauth/{kind}/callback");
        assert!(text.contains(&format!("/{redirect}`")) && ours.contains(&redirect), "{page}: {redirect}");
        for option in ["client_id", "client_secret_file"] {
            assert!(text.contains(&format!("providers.{kind}.{option}")), "{page}: {option}");
        }
    }
}

// E29, S4-094
#[test]
fn the_licence_is_a_free_one_and_so_are_those_of_what_is_used() {
    let read = |name: &str| fs::read_to_string(root().join(name)).unwrap();
    assert!(read("Cargo.toml").contains("license = \"MIT OR Apache-2.0\""));
    assert!(read("LICENSE-MIT").contains("Permission is hereby granted, free of charge"));
    assert!(read("LICENSE-APACHE").contains("Apache License"));
    let rules = read("deny.toml");
    let allowed = rules.split_once("[licenses]").unwrap().1.split_once("allow = [").unwrap().1;
    let allowed = allowed.split_once(']').unwrap().0;
    assert!(allowed.contains("\"MIT\""), "{allowed}");
    for copyleft in ["GPL", "MPL", "EPL", "CDDL", "EUPL", "SSPL", "OSL"] {
        assert!(!allowed.contains(copyleft), "{copyleft} in {allowed}");
    }
}

/// What may be named where: the needles, the modules (or files) that may, and why nobody else.
const NAMES: &[(&[&str], &[&str], &str)] = &[
    (
        &["use http::", "hyper::", "hyper_util::", "reqwest::", "StatusCode", "HeaderMap", "HeaderValue"],
        &[
            "http", "auth", "bridge", "webhook", "mail", "dav", "api", "hooks", "feed", "web", "server",
            "sim", "demo", "cli", "main",
        ],
        "the rules, the store and the text layers do not speak HTTP",
    ),
    (&["sled::", "use sled"], &["store"], "no sled outside the store: PostgreSQL comes next to it"),
    (
        &["quick_xml::", "crate::xml"],
        &["xml", "dav", "bridge/caldav", "calendar/properties", "sim/caldav"],
        "XML is the business of DAV, of kept properties (ask calendar::Shown), of the CalDAV provider and its simulator",
    ),
    (
        &["SystemTime::now", "Timestamp::now", "Instant::now", "Zoned::now"],
        &["server", "sim", "cli", "main"],
        "time comes in through calendar::Clock, so that tests can set it",
    ),
    (
        &["google::", "outlook::", "caldav::", "cozi::", "ics::"],
        &[
            "bridge/connections",
            "bridge/mod",
            "bridge/google",
            "bridge/outlook",
            "bridge/caldav",
            "bridge/cozi",
            "dav",
            "hooks",
            "sim",
            "demo",
            "cli",
        ],
        "the engine knows a far side as a Provider only (S3-007)",
    ),
    (&["std::process::exit", "process::exit"], &["main", "cli"], "only the outermost layer ends the process"),
];

// S3-007, S4-093: among others, the engine names no provider
#[test]
fn no_layer_names_what_is_not_its_business() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (needles, allowed, why) in NAMES {
            if allowed.iter().any(|may| source.module == *may || source.name.starts_with(may)) {
                continue;
            }
            for needle in *needles {
                for line in whole(&source.code, needle) {
                    wrong.push(format!("src/{}:{line} names `{needle}`: {why}", source.name));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Files that are longer than 600 lines without their tests, each with the reason.
const LONG: &[(&str, &str)] = &[];

#[test]
fn files_stay_short_enough_to_own() {
    let mut wrong = Vec::new();
    for source in sources() {
        let excused = LONG.iter().any(|(name, _)| *name == source.name);
        if source.lines > 600 && !excused {
            wrong.push(format!(
                "src/{} has {} lines above its tests (600 at most)",
                source.name, source.lines
            ));
        }
        if source.lines <= 600 && excused {
            wrong.push(format!("src/{} is short again: take it off the list LONG", source.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_says_what_it_owns() {
    let silent: Vec<String> = sources()
        .iter()
        .filter(|s| !fs::read_to_string(root().join("src").join(&s.name)).unwrap().starts_with("//!"))
        .map(|s| format!("src/{}", s.name))
        .collect();
    assert!(silent.is_empty(), "no module doc at the top of: {}", silent.join(", "));
}

/// Nothing in the repository may depend on, or speak of, the machine it was written on.
#[test]
fn no_path_of_a_machine_is_written_down() {
    let needles = [["/ro", "ot/"], ["/ho", "me/"], ["/wo", "rk/"], ["/tmp/", "bash"], ["C:\\", "Users"]]
        .map(|p| p.concat());
    let fine = ["/home/runner", "/home/calendar"]; // paths of DAV resources in examples
    let mut wrong = Vec::new();
    for path in files_below(&root()) {
        let inside = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for (number, line) in text.lines().enumerate() {
            for needle in &needles {
                for (at, _) in line.match_indices(needle.as_str()) {
                    let before = line[..at].chars().next_back();
                    let starts_a_path =
                        before.is_none_or(|c| !is_word(c) && !matches!(c, '/' | '.' | '-' | '}' | '*'));
                    if starts_a_path && !fine.iter().any(|ok| line[at..].starts_with(ok)) {
                        wrong.push(format!("{inside}:{}: {}", number + 1, line.trim()));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "paths of a machine:\n{}", wrong.join("\n"));
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn pages() -> Vec<(String, String)> {
    let mut out: Vec<(String, String)> =
        ["README.md", "CHANGELOG.md"].map(|n| (n.to_string(), page(n))).to_vec();
    for path in files_below(&root().join("docs")) {
        if path.extension().is_some_and(|e| e == "md") {
            let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            out.push((name.clone(), page(&name)));
        }
    }
    out
}

#[test]
fn links_between_the_pages_lead_somewhere() {
    let mut wrong = Vec::new();
    // The written pages are compared as a whole: see `the_written_pages_are_up_to_date`.
    for (name, text) in pages().into_iter().filter(|(n, _)| n != "docs/map.md" && n != "docs/requirements.md")
    {
        let folder = root().join(&name).parent().unwrap().to_path_buf();
        for (at, _) in text.match_indices("](") {
            let target: String = text[at + 2..].chars().take_while(|c| *c != ')').collect();
            let path = target.split('#').next().unwrap();
            if path.is_empty() || path.contains("://") || path.starts_with("mailto:") {
                continue;
            }
            if !folder.join(path).exists() {
                wrong.push(format!("{name} links to {target}"));
            }
        }
        // `code` that is a path of the repository: it has a folder of ours in front.
        for (index, code) in text.split('`').enumerate() {
            let ours =
                ["src/", "docs/", "webdav-tests/", "systemd/", ".ci/"].iter().any(|p| code.starts_with(p));
            let plain = !code.contains([' ', '*', '<', '{', '…', '\n']) && !code.contains("NNN");
            if index % 2 == 1
                && ours
                && plain
                && !root().join(code.split(['#', ':']).next().unwrap()).exists()
            {
                wrong.push(format!("{name} names `{code}`"));
            }
        }
    }
    assert!(wrong.is_empty(), "dead ends:\n{}", wrong.join("\n"));
}

/// Every `kalends …` command that a page shows exists, with the options it shows.
#[test]
fn commands_in_the_pages_exist() {
    let mut shown = BTreeMap::new();
    for (name, text) in pages() {
        if name == "CHANGELOG.md" || name.starts_with("docs/decisions") {
            continue;
        }
        let mut fenced = false;
        for line in text.lines() {
            if line.trim_start().starts_with("```") {
                fenced = !fenced;
                continue;
            }
            let codes: Vec<&str> =
                if fenced { vec![line] } else { line.split('`').skip(1).step_by(2).collect() };
            for code in codes {
                let code = code.split(" #").next().unwrap();
                let Some(at) = code.find("kalends ") else { continue };
                let before = code[..at].chars().next_back();
                if before.is_none_or(|c| c == ' ' || c == '/' || c == '(') {
                    let words: Vec<String> = code[at + 8..]
                        .split(['|', '<', '>', '&', ';', ')'])
                        .next()
                        .unwrap()
                        .split_whitespace()
                        .map(str::to_string)
                        .collect();
                    if words.first().is_some_and(|w| {
                        w != "kalends" && w.chars().all(|c| c.is_ascii_lowercase() || c == '-')
                    }) {
                        shown.insert(words, name.clone());
                    }
                }
            }
        }
    }
    let binary = env!("CARGO_BIN_EXE_kalends");
    let mut wrong = Vec::new();
    for (words, name) in shown {
        let commands: Vec<&String> = words
            .iter()
            .take_while(|w| w.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !w.starts_with('-'))
            .collect();
        // The longest run of leading words that is a command: `user add anna` → `user add`.
        let mut help = None;
        for length in (1..=commands.len().min(2)).rev() {
            let out = Command::new(binary).args(&words[..length]).arg("--help").output().unwrap();
            let text = String::from_utf8_lossy(&out.stdout).into_owned();
            if out.status.success() && text.contains(&words[..length].join(" ")) {
                help = Some(text);
                break;
            }
        }
        let Some(help) = help else {
            wrong.push(format!("{name}: `kalends {}` is no command", words.join(" ")));
            continue;
        };
        for option in words.iter().filter(|w| w.starts_with("--")) {
            let option = option.split('=').next().unwrap().trim_end_matches([']', ',']);
            if !help.contains(option) {
                wrong.push(format!("{name}: `kalends {}` has no option {option}", words.join(" ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every option that a page names, as `section.key` or as a variable of the environment, is in config.example.toml.
#[test]
fn options_in_the_pages_exist() {
    let mut known = BTreeSet::new();
    let mut section = String::new();
    for line in page("config.example.toml").lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = name.to_string();
        } else if let Some((key, _)) = line.trim_start_matches('#').split_once(" = ") {
            known.insert(format!("{section}.{key}"));
        }
    }
    assert!(known.contains("server.listen"), "config.example.toml was not understood: {known:?}");
    let sections: BTreeSet<&str> = known.iter().filter_map(|k| k.split('.').next()).collect();
    let mut wrong = Vec::new();
    for (name, text) in pages() {
        for code in text.split('`').skip(1).step_by(2) {
            let option = code.split_once('.').filter(|(s, key)| {
                sections.contains(s)
                    && !key.is_empty()
                    && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
            });
            if option.is_some() && !known.contains(code) && !code.ends_with(".rs") {
                wrong.push(format!("{name} names the option `{code}`"));
            }
        }
        for (at, _) in text.match_indices("KALENDS_") {
            let rest = &text[at + 8..];
            let word: String = rest.chars().take_while(|c| c.is_ascii_uppercase() || *c == '_').collect();
            let option = word.to_lowercase().replace("__", ".");
            if word.contains("__") && !known.contains(&option) {
                wrong.push(format!("{name} names KALENDS_{word}"));
            }
        }
    }
    assert!(wrong.is_empty(), "options that do not exist:\n{}", wrong.join("\n"));
}

#[test]
fn the_changelog_knows_this_version() {
    let version = env!("CARGO_PKG_VERSION");
    let text = page("CHANGELOG.md");
    assert!(
        text.lines().any(|l| l.starts_with("## ") && l.contains(version)),
        "CHANGELOG.md has no heading for {version}"
    );
}

#[test]
fn the_architecture_page_names_every_module() {
    let text = page("docs/architecture.md");
    let missing: BTreeSet<String> = sources()
        .iter()
        .map(|s| s.module.clone())
        .filter(|m| {
            !text.contains(&format!("`{m}/`"))
                && !text.contains(&format!("`{m}.rs`"))
                && !text.contains(&format!("`{m}`"))
        })
        .collect();
    assert!(missing.is_empty(), "docs/architecture.md does not name {missing:?}");
}

/// docs/requirements.md and docs/map.md are what their scripts write. Looked at where everything is (`CI=true`): while one works, a new
/// citation in a test must not turn another test red.
#[test]
fn the_written_pages_are_up_to_date() {
    if std::env::var("CI").is_ok_and(|v| v == "true") {
        for script in ["webdav-tests/requirements", "webdav-tests/map"] {
            let done = Command::new("python3").arg(root().join(script)).arg("--check").output().unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        }
    } else {
        assert!(page("docs/requirements.md").contains("## Q. Quirks of clients"));
    }
}

/// What a build reads has to be in the container that builds.
#[test]
fn the_container_is_built_from_all_that_a_build_reads() {
    let copied: BTreeSet<String> = page("Dockerfile")
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "))
        .filter(|line| !line.starts_with("--from"))
        .flat_map(|line| {
            let mut names: Vec<&str> = line.split(' ').collect();
            names.pop();
            names.into_iter().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    let gone: Vec<&String> = copied.iter().filter(|name| !root().join(name).exists()).collect();
    assert!(gone.is_empty(), "Dockerfile copies what is not there: {gone:?}");
    let mut needed =
        vec!["Cargo.toml".to_owned(), "Cargo.lock".to_owned(), "askama.toml".to_owned(), "src".to_owned()];
    let manifest = page("Cargo.toml");
    needed.extend(
        manifest
            .lines()
            .filter_map(|line| line.strip_prefix("path = \"")?.strip_suffix('"').map(str::to_owned)),
    );
    let missing: Vec<&String> =
        needed.iter().filter(|name| !copied.contains(*name) && !name.starts_with("src/")).collect();
    assert!(missing.is_empty(), "Dockerfile does not copy {missing:?}");
}
