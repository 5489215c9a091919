//! Compressed streams as the usual programs write them: whole, joined, cut and damaged.

#[path = "support/tools.rs"]
mod tools;

use std::io::{self, Read};
use std::process::{Command, Stdio};

use imagegen::decompress::{self, Compression, DecompressError};
use tools::available;

fn unwrap(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    decompress::reader(Box::new(bytes))?.read_to_end(&mut content)?;
    Ok(content)
}

fn compress(program: &str, arguments: &[&str], text: &[u8]) -> Vec<u8> {
    let mut child =
        Command::new(program).args(arguments).arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let text = text.to_vec();
    let writer = std::thread::spawn(move || io::Write::write_all(&mut input, &text).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    output.stdout
}

/// Text that compresses, with stretches that do not.
fn sample() -> Vec<u8> {
    let mut state = 1u32;
    let mut text = Vec::new();
    while text.len() < 300_000 {
        text.extend(b"the same words again and again ");
        for _ in 0..20 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            text.push((state >> 24) as u8);
        }
    }
    text
}

const PROGRAMS: [(&str, Compression, &[&[&str]]); 4] = [
    ("gzip", Compression::Gzip, &[&["-1"], &["-9"]]),
    (
        "xz",
        Compression::Xz,
        &[
            &["-0"],
            &["-6e"],
            &["--block-size=50000"],
            &["-C", "sha256"],
            &["-C", "none"],
            &["--arm64", "--lzma2"],
            &["-T2"],
        ],
    ),
    ("zstd", Compression::Zstd, &[&["-q", "-1"], &["-q", "-19"], &["-q", "--no-check"], &["-q", "--ultra", "-22"]]),
    ("bzip2", Compression::Bzip2, &[&["-1"], &["-9"]]),
];

#[test]
fn every_program_at_every_setting() {
    let text = sample();
    for (program, compression, settings) in PROGRAMS {
        if !available(program) {
            continue;
        }
        for arguments in settings {
            // Older xz has no ARM64 filter.
            if arguments.contains(&"--arm64") && !tools::shell("xz --long-help", ".".as_ref()).contains("--arm64") {
                continue;
            }
            let bytes = compress(program, arguments, &text);
            assert_eq!(Compression::detect(&bytes), compression);
            assert!(unwrap(&bytes).unwrap() == text, "{program} {arguments:?}");
        }
        let joined =
            [compress(program, &[], b"one "), compress(program, &[], b""), compress(program, &[], b"two")].concat();
        assert_eq!(unwrap(&joined).unwrap(), b"one two", "{program}");
        let padded = [joined.as_slice(), &[0; 4096]].concat();
        assert_eq!(unwrap(&padded).unwrap(), b"one two", "{program}");
        for garbage in [&b"garbage behind it"[..], b"\0\0\0\0garbage"] {
            let error = unwrap(&[joined.as_slice(), garbage].concat()).unwrap_err().to_string();
            assert!(error.starts_with(&format!("the {compression} stream is")), "{program}: {error}");
        }
    }
}

#[test]
fn what_is_cut_is_truncated_and_what_is_damaged_is_corrupt() {
    let text = &sample()[..1500];
    for (program, compression, _) in PROGRAMS {
        if !available(program) {
            continue;
        }
        let bytes = compress(program, &[], text);
        // Every length near both ends, some between.
        let lengths = (6..60).chain((60..bytes.len() - 40).step_by(29)).chain(bytes.len() - 40..bytes.len());
        for length in lengths.filter(|length| *length < bytes.len()) {
            let error = unwrap(&bytes[..length]).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("the {compression} stream is truncated"),
                "at {length} of {}",
                bytes.len()
            );
            let inner = error.get_ref().unwrap().downcast_ref::<DecompressError>().unwrap();
            assert!(inner.truncated && inner.compression == compression);
        }
        let mut silent = 0;
        for at in (6..bytes.len()).step_by(17) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x55;
            match unwrap(&damaged) {
                Err(error) => assert!(error.to_string().contains(&format!("{compression} stream is")), "{error}"),
                // Header fields such as gzip's time mean nothing for the content.
                Ok(content) if content == text => silent += 1,
                Ok(_) => panic!("{program}: damage at {at} gave other content without an error"),
            }
        }
        assert!(silent <= 2, "{program}: {silent} damages went unnoticed");
    }
}
