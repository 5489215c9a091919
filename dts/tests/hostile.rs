//! Sources that nobody meant: always a result or messages, never a panic, never without end.

use dts::{MemoryLoader, Options};
use proptest::prelude::*;

fn compile(text: &[u8]) {
    let loader = MemoryLoader::new().with("x.dts", text).with("x.h", "#define Y 1\n");
    let options = Options { symbols: true, ..Options::default() };
    match dts::compile(&loader, "x.dts", &options) {
        Ok(output) => drop(fdt::Fdt::new(&output.dtb).expect("what is written can be read")),
        Err(diagnostics) => {
            let _ = (diagnostics.to_string(), diagnostics.render_like_dtc("-"));
        }
    }
}

/// Pieces that mean something, so that noise gets past the first token.
const WORDS: [&str; 44] = [
    "/dts-v1/;",
    "/plugin/;",
    "/ {",
    "};",
    "}",
    ";",
    "=",
    "<",
    ">",
    "[",
    "]",
    "(",
    ")",
    "&a",
    "&{/n}",
    "a:",
    "n",
    "{",
    "\"s\"",
    "'c'",
    "1",
    "0x1",
    "+",
    "/",
    "<<",
    "?",
    ":",
    ",",
    "/bits/ 16",
    "/delete-node/",
    "/delete-property/",
    "/omit-if-no-ref/",
    "/memreserve/",
    "/incbin/(\"x.h\")",
    "/include/ \"x.h\"",
    "\n#include \"x.h\"\n",
    "\n#define M(x) x M\n",
    "M(",
    "\n#if M\n",
    "\n#endif\n",
    "##",
    "#",
    "\\\n",
    "/*",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn noise_of_words(words in prop::collection::vec(prop::sample::select(&WORDS[..]), 0..60), start in any::<bool>()) {
        let head = if start { "/dts-v1/; / { n { a: b { }; }; " } else { "" };
        compile(format!("{head}{}", words.join(" ")).as_bytes());
    }

    #[test]
    fn noise_of_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        compile(&[b"/dts-v1/; / { a = ", &bytes[..]].concat());
    }

    #[test]
    fn damaged_sources(damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut text = include_bytes!("data/accept/merge.dts").to_vec();
        text.extend_from_slice(include_bytes!("data/accept/macros.h"));
        for (index, byte) in damage {
            let at = index.index(text.len());
            text[at] = byte;
        }
        compile(&text);
    }
}

#[test]
fn nesting_is_bounded() {
    let nested = |open: &str, close: &str, count: usize| open.repeat(count) + &close.repeat(count);
    for text in [
        format!("/dts-v1/; / {{ {} }};", nested("n { ", "}; ", 100_000)),
        format!("/dts-v1/; / {{ a = <{}>; }};", nested("(", ")", 100_000)),
        format!("/dts-v1/; / {{ a = <({}1)>; }};", "-".repeat(100_000)),
        format!("/dts-v1/; / {{ a = <({}1)>; }};", "1 ? ".repeat(100_000)),
        format!("#if {}\n#endif\n/dts-v1/; / {{ }};", nested("(", ")", 100_000)),
        format!("#define F(x) x\n/dts-v1/; / {{ a = <{}>; }};", nested("F(", ")", 5_000)),
        "#include \"x.dts\"\n".into(),
        "/include/ \"x.dts\"".into(),
    ] {
        compile(text.as_bytes());
    }
}

#[test]
fn expansion_is_bounded() {
    let mut text = String::from("#define M0 a a a a a a a a a a\n");
    for level in 1..30 {
        let below = format!("M{} ", level - 1).repeat(10);
        text += &format!("#define M{level} {below}\n");
    }
    text += "/dts-v1/; / { x = <M29>; };";
    let error = dts::compile(&MemoryLoader::new().with("x.dts", text), "x.dts", &Options::default()).unwrap_err();
    assert!(error.to_string().contains("never comes to an end"));
}
