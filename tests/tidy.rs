//! The rules of the house that the compiler does not know, held by a test: who may say which word where.

use std::fs;
use std::path::{Path, PathBuf};

/// Words, and the only places of `within` where they may stand. A place that ends in `/` is a folder.
struct Rule {
    /// Where the rule holds.
    within: &'static [&'static str],
    /// What may not be said there…
    words: &'static [&'static str],
    /// …except here.
    except: &'static [&'static str],
    /// Why.
    because: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        within: &["src/"],
        words: &["clap::", "indicatif::", "use clap", "use indicatif"],
        except: &["src/cli/", "src/cli.rs"],
        because: "only the command line knows clap, indicatif and the terminal",
    },
    Rule {
        within: &["src/"],
        words: &["println!", "eprintln!", "print!("],
        except: &["src/cli/", "src/cli.rs"],
        because: "only the command line prints",
    },
    Rule {
        within: &["src/", "imagegen/src/", "dts/src/", "dts/fdt/src/", "bootwrap/src/"],
        words: &["process::Command", "Command::new"],
        except: &["src/run/", "src/run.rs", "src/emulate/", "src/emulate.rs"],
        because: "only run and emulate start processes",
    },
    Rule {
        within: &["tests/"],
        words: &["Command::new(\"qemu-system", "Command::new(qemu::"],
        except: &["tests/tidy.rs"],
        because: "QEMU is started by src/emulate alone, in tests too",
    },
    Rule {
        within: &["src/", "imagegen/src/", "dts/src/", "dts/fdt/src/", "bootwrap/src/"],
        words: &["ureq", "std::net::", "TcpStream"],
        except: &["src/fetch/", "src/fetch.rs", "src/emulate/"],
        because: "only fetch knows the network (emulate looks for a free port to forward)",
    },
    Rule {
        within: &["src/", "imagegen/src/"],
        words: &["OFlags::DIRECT", "/sys/block"],
        except: &["src/flash/", "src/flash.rs"],
        because: "only flash opens devices",
    },
    Rule {
        within: &["src/flash/", "src/flash.rs"],
        words: &["crate::recipe", "crate::plan", "crate::step", "crate::fetch", "crate::emulate", "crate::cli"],
        except: &[],
        because: "flashing knows images and devices, not how images come about",
    },
    Rule {
        within: &["src/delivery/", "src/delivery.rs"],
        words: &["crate::recipe", "crate::run", "crate::fetch", "crate::emulate", "crate::cli"],
        except: &[],
        because: "artifacts are verified where there is neither recipe nor cache",
    },
    Rule {
        within: &["src/recipe/", "src/recipe.rs", "src/plan/", "src/plan.rs"],
        words: &["crate::run", "crate::fetch::http", "crate::emulate", "crate::cli"],
        except: &[],
        because: "the recipe and the plan are values: they import nothing that acts on them",
    },
    Rule {
        within: &["imagegen/src/", "dts/src/", "bootwrap/src/"],
        words: &["std::env", "println!", "eprintln!", "xenbuild::"],
        except: &["dts/src/main.rs"],
        because: "libraries that somebody else could use: no terminal, no environment, no recipe",
    },
    Rule {
        within: &["src/", "imagegen/src/", "dts/src/", "dts/fdt/src/", "bootwrap/src/"],
        words: &["http://", "https://"],
        except: &["src/recipe/schema.rs", "src/delivery/schema.rs", "src/recipe/form.rs", "src/fetch/http/proxy.rs"],
        because: "no mirror or registry stands in the source: it comes from the user or the host (those files know forms, \
                  not hosts)",
    },
    Rule {
        within: &["src/", "imagegen/", "dts/", "bootwrap/", "hypervisor/", "tests/", "build.rs"],
        words: &["todo!(", "unimplemented!(", "dbg!(", "FIXME", "XXX"],
        except: &["tests/tidy.rs"],
        because: "nothing unfinished is called done",
    },
    Rule {
        within: &["hypervisor/src/arch/"],
        words: &[
            "crate::run",
            "crate::domain",
            "crate::hypercall",
            "crate::device",
            "crate::schedule",
            "crate::console",
        ],
        except: &[],
        because: "the machine never calls upward: entering a guest returns an exit",
    },
    Rule {
        within: &[
            "hypervisor/src/event/",
            "hypervisor/src/event.rs",
            "hypervisor/src/grant/",
            "hypervisor/src/grant.rs",
        ],
        words: &["crate::arch", "crate::memory", "crate::domain", "crate::hypercall"],
        except: &[],
        because: "rules of events and grants see shared pages as slices that are handed to them",
    },
    Rule {
        within: &["hypervisor/src/"],
        words: &["asm!("],
        except: &["hypervisor/src/arch/aarch64/", "hypervisor/src/arch/aarch64.rs"],
        because: "instructions are the machine's business",
    },
];

/// The only places where `unsafe` may stand, each file opening with an expectation that gives the reason.
const UNSAFE: &[&str] = &[
    "bootwrap/el3/src/",
    "hypervisor/src/arch/aarch64/",
    "hypervisor/src/arch/aarch64.rs",
    "hypervisor/src/memory/frames.rs",
    "hypervisor/src/memory/heap.rs",
    "hypervisor/src/memory/guest.rs",
    "hypervisor/src/memory/shared.rs",
    "hypervisor/src/boot.rs",
    "hypervisor/src/panic.rs",
    "hypervisor/guest/src/machine.rs",
];

/// Which of our own crates each crate may depend on.
const IMPORTS: &[(&str, &[&str])] = &[
    ("dts/fdt/Cargo.toml", &[]),
    ("dts/Cargo.toml", &["fdt"]),
    ("imagegen/Cargo.toml", &[]),
    ("bootwrap/Cargo.toml", &["bootwrap-el3", "fdt"]),
    ("bootwrap/el3/Cargo.toml", &[]),
    ("hypervisor/abi/Cargo.toml", &[]),
    ("hypervisor/Cargo.toml", &["fdt", "xen-abi"]),
    ("hypervisor/guest/Cargo.toml", &["fdt", "xen-abi"]),
    ("Cargo.toml", &["bootwrap", "dts", "fdt", "imagegen"]),
];

#[test]
fn words_stand_where_they_belong() {
    let mut broken = Vec::new();
    for rule in RULES {
        for (path, text) in sources() {
            if !is_in(&path, rule.within) || is_in(&path, rule.except) {
                continue;
            }
            for (number, line) in non_test_lines(&text) {
                for word in rule.words.iter().filter(|word| says(line, word)) {
                    broken.push(format!("{path}:{number}: `{word}`: {}", rule.because));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Says whether a line holds a word, and not only a longer one that begins with it.
fn says(line: &str, word: &str) -> bool {
    let goes_on = |letter: char| letter.is_alphanumeric() || letter == '_';
    let open = word.ends_with(goes_on);
    line.match_indices(word).any(|(at, _)| !open || !line[at + word.len()..].starts_with(goes_on))
}

#[test]
fn every_file_says_what_it_is() {
    let mut broken = Vec::new();
    for (path, text) in sources() {
        let opening = if path.ends_with(".S") { "//" } else { "//!" };
        if !text.starts_with(opening) {
            broken.push(format!("{path}: opens with no `{opening}` line that says what it is"));
        }
        if path.ends_with("/mod.rs") {
            broken.push(format!("{path}: a module is `name.rs` and `name/`"));
        }
        for (number, line) in text.lines().enumerate() {
            if line.ends_with([' ', '\t']) {
                broken.push(format!("{path}:{}: ends in blanks", number + 1));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn unsafe_is_a_place() {
    let mut broken = Vec::new();
    for (path, text) in sources() {
        let has_unsafe = text.lines().any(|line| {
            let code = line.split("//").next().unwrap_or_default();
            code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe")
        });
        if has_unsafe && path != "tests/tidy.rs" && !is_in(&path, UNSAFE) {
            broken.push(format!("{path}: has `unsafe`, which belongs in {UNSAFE:?} alone"));
        }
        if has_unsafe && is_in(&path, UNSAFE) && !text.contains("#![expect(unsafe_code, reason") {
            broken.push(format!("{path}: has `unsafe` but does not open by expecting it with a reason"));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn crates_import_only_their_neighbours() {
    let ours =
        ["xenbuild", "imagegen", "bootwrap", "bootwrap-el3", "dts", "fdt", "hypervisor", "xen-abi", "test-guest"];
    for (manifest, allowed) in IMPORTS {
        let text = fs::read_to_string(root().join(manifest)).unwrap();
        let dependencies = text.split("\n[dependencies]\n").nth(1).unwrap_or_default().split("\n[").next().unwrap();
        for line in dependencies.lines() {
            let name = line.split(['.', ' ', '=']).next().unwrap();
            assert!(!ours.contains(&name) || allowed.contains(&name), "{manifest} may not depend on {name}");
        }
    }
}

/// Leaves out what stands in a `#[cfg(test)] mod`, which by custom closes a file.
fn non_test_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line))
        .take_while(|(_, line)| line.trim() != "#[cfg(test)]")
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

fn is_in(path: &str, places: &[&str]) -> bool {
    places.iter().any(|place| if place.ends_with('/') { path.starts_with(place) } else { path == *place })
}

/// Returns every `.rs` and `.S` file of the project, by its path from the top, with its text.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for top in ["src", "imagegen", "bootwrap", "dts", "hypervisor", "tests"] {
        collect(&root().join(top), &mut found);
    }
    collect_file(&root().join("build.rs"), &mut found);
    assert!(found.len() > 20, "the walk found too little: {}", found.len());
    found.sort();
    found
}

fn collect(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() && entry.file_name().is_some_and(|name| name != "target" && name != "data") {
            collect(&entry, found);
        } else {
            collect_file(&entry, found);
        }
    }
}

fn collect_file(path: &Path, found: &mut Vec<(String, String)>) {
    if path.is_file() && path.extension().is_some_and(|extension| extension == "rs" || extension == "S") {
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        found.push((name, fs::read_to_string(path).unwrap()));
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
