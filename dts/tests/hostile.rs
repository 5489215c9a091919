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

/// What small sources make much of is bounded in all, and the message names the place. Returns what is said of `x.dts`.
fn refused(loader: MemoryLoader, text: &str) -> String {
    let options = Options { symbols: true, ..Options::default() };
    let error = dts::compile(&loader.with("x.dts", text), "x.dts", &options).unwrap_err();
    assert_eq!(error.items.len(), 1, "one cause, one message: {error}");
    error.to_string()
}

#[test]
fn values_are_bounded_in_all() {
    let loader = || MemoryLoader::new().with("b", vec![7; 32 << 20]);
    let values = r#"a = /incbin/("b"), /incbin/("b"); "#;
    let text =
        |count: usize| format!("/dts-v1/;\n/ {{ {values}\n{} }};", "n { b = /incbin/(\"b\"); };\n".repeat(count));
    let error = refused(loader(), &text(7));
    assert!(error.contains("--> x.dts:9:17\n") && error.contains("grow beyond 256 MiB"), "{error}");
    // The last straw is a byte, a cell, a string.
    let most = format!("{}\nn {{ a = /incbin/(\"b\", 0, 0x1fffff0); }};\n", "n { b = /incbin/(\"b\"); };\n".repeat(7));
    for straw in ["[0011223344]", "<0 1 2>", "\"0123\""] {
        let values =
            |count: usize| format!("/dts-v1/;\n/ {{ {most}o {{ a = {}; }}; }};", vec![straw; count].join(", "));
        let error = refused(loader(), &values(4));
        assert!(error.contains("--> x.dts:11:") && error.contains("grow beyond 256 MiB"), "{error}");
    }
}

#[test]
fn text_is_bounded_in_all() {
    // Each file includes itself before its long rest is read.
    let rest = format!("/* {} */\n", "x".repeat(4 << 20));
    for (line, place) in [("/include/ \"i\"\n", "--> i:1:1\n"), ("#include \"i\"\n", "--> i:1:10\n")] {
        let error = refused(MemoryLoader::new().with("i", line.to_owned() + &rest), line);
        assert!(error.contains(place) && error.contains("with all that is included"), "{error}");
    }
}

#[test]
fn expanded_text_is_bounded() {
    // Many laughs, each a long string: few tokens, much text.
    let text = format!("#define S \"{}\"\n/dts-v1/;\n/ {{ a =\n{} S; }};", "x".repeat(1 << 20), "S, S,\n".repeat(300));
    let error = refused(MemoryLoader::new(), &text);
    assert!(error.contains("--> x.dts:131:4\n") && error.contains("256 MiB at once"), "{error}");
}

#[test]
fn parts_are_bounded_in_all() {
    let nodes = "l:".repeat(100_000) + "a{};";
    let text = format!("/dts-v1/;\n/ {{ {} }};", "\nn { /include/ \"i\"\n};".repeat(100));
    let error = refused(MemoryLoader::new().with("i", nodes), &text);
    assert!(error.contains("--> i:1:") && error.contains("too many"), "{error}");
}

#[test]
fn paths_are_bounded_in_all() {
    let name = "n".repeat(1000);
    let deep = |inner: &str| {
        format!("/dts-v1/;\n/ {{ {} {inner} {} }};", format!("{name} {{ ").repeat(100), "}; ".repeat(100))
    };
    let error =
        refused(MemoryLoader::new(), &format!("{}\n/ {{ r = {} &l; }};", deep("l: a { };"), "&l, ".repeat(3000)));
    assert!(error.contains("--> x.dts:3:") && error.contains("grow beyond 256 MiB"), "{error}");
    let labels: String = (0..3000).map(|index| format!("\nl{index}: a{index} {{ }};")).collect();
    let error = refused(MemoryLoader::new(), &deep(&labels));
    assert!(error.contains("grow beyond 256 MiB"), "{error}");
    let error = refused(MemoryLoader::new(), &format!("/dts-v1/;\n/ {{ {} {{ }}; }};", "n".repeat(1025)));
    assert!(error.contains("this name is longer than 1024 bytes"), "{error}");
}

/// A token that doubles with each level of nesting stays one token.
#[test]
fn pasting_is_bounded() {
    for body in ["x##x", "#x", "s x##x"] {
        let text = format!(
            "#define P(x) {body}\n#define D(x) P(x)\n/dts-v1/;\n/ {{ a = {}a{}; }};",
            "D(".repeat(60),
            ")".repeat(60)
        );
        let error = dts::compile(&MemoryLoader::new().with("x.dts", text), "x.dts", &Options::default()).unwrap_err();
        assert!(body == "#x" || error.to_string().contains("--> x.dts:4:9\n"), "{error}");
    }
    let chain = format!("#define C {}a\n/dts-v1/;\n/ {{ C; }};", "a##".repeat(1_000_000));
    let error = dts::compile(&MemoryLoader::new().with("x.dts", chain), "x.dts", &Options::default()).unwrap_err();
    assert!(error.to_string().contains("--> x.dts:3:5\n"), "{error}");
}
