//! Puts hunks where they belong in one file's text: at their line, else at the nearest place that fits.

use super::parse::{Hunk, Line};
use super::{Moved, PatchError};

/// Applies a file's hunks in order; returns the new text.
pub fn hunks(
    text: &[u8],
    hunks: &[Hunk],
    fuzz: usize,
    file: &str,
    moved: &mut Vec<Moved>,
) -> Result<Vec<u8>, PatchError> {
    let lines: Vec<&[u8]> = text.split_inclusive(|&byte| byte == b'\n').collect();
    let mut out: Vec<u8> = Vec::with_capacity(text.len());
    // Lines before this one are written.
    let mut done = 0;
    // How far the last hunk went from where it should have.
    let mut drift: i64 = 0;
    for (number, hunk) in hunks.iter().enumerate() {
        let Some((at, lost)) = place(&lines, hunk, done, drift, fuzz) else {
            let reason = why(&lines, hunk, done);
            return Err(PatchError { file: Some(file.into()), hunk: Some(number + 1), line: hunk.line, reason });
        };
        // Where a hunk without old lines says "after line N" the others say "from line N".
        let wanted = first_guess(hunk);
        let offset = at as i64 - wanted;
        drift = offset;
        let (cut_front, cut_back) = cuts(hunk, lost);
        if offset != 0 || cut_front + cut_back > 0 {
            moved.push(Moved { file: file.into(), hunk: number + 1, offset, fuzz: lost });
        }
        let body = &hunk.lines[cut_front..hunk.lines.len() - cut_back];
        let start = at + cut_front;
        out.extend(lines[done..start].concat());
        let mut next = start;
        for line in body {
            match line {
                Line::Context(_) => {
                    out.extend_from_slice(lines[next]);
                    next += 1;
                }
                Line::Old(_) => next += 1,
                Line::New(new) => out.extend_from_slice(new),
            }
        }
        done = next;
    }
    out.extend(lines[done..].concat());
    Ok(out)
}

/// Returns the old lines of a hunk.
fn pattern(hunk: &Hunk) -> Vec<&[u8]> {
    hunk.lines
        .iter()
        .filter_map(|line| match line {
            Line::Context(text) | Line::Old(text) => Some(text.as_slice()),
            Line::New(_) => None,
        })
        .collect()
}

/// Returns the index of the line where a hunk says that it begins.
fn first_guess(hunk: &Hunk) -> i64 {
    let has_old = hunk.lines.iter().any(|line| !matches!(line, Line::New(_)));
    hunk.start as i64 - i64::from(has_old)
}

/// Returns the lengths of the context in front and behind.
fn context(hunk: &Hunk) -> (usize, usize) {
    let is_context = |line: &&Line| matches!(line, Line::Context(_));
    let front = hunk.lines.iter().take_while(is_context).count();
    let back = hunk.lines.iter().rev().take_while(is_context).count();
    (front, back)
}

/// Returns how many lines of context this fuzz takes off, in front and behind.
fn cuts(hunk: &Hunk, fuzz: usize) -> (usize, usize) {
    let (front, back) = context(hunk);
    let most = front.max(back);
    // The longer side loses first: a hunk at the edge of its file has less context there.
    ((fuzz + front).saturating_sub(most).min(front), (fuzz + back).saturating_sub(most).min(back))
}

/// Finds where a hunk goes: the index of its first line, and the fuzz it took.
fn place(lines: &[&[u8]], hunk: &Hunk, done: usize, drift: i64, fuzz: usize) -> Option<(usize, usize)> {
    let pattern = pattern(hunk);
    let guess = first_guess(hunk) + drift;
    if pattern.is_empty() {
        // Nothing to compare with: it goes where it says.
        let at = usize::try_from(guess).ok().filter(|&at| at >= done && at <= lines.len());
        return at.map(|at| (at, 0));
    }
    let (front, back) = context(hunk);
    let most = front.max(back);
    (0..=fuzz.min(most)).find_map(|fuzz| Some((search(lines, hunk, &pattern, (done, guess, fuzz))?, fuzz)))
}

fn search(lines: &[&[u8]], hunk: &Hunk, pattern: &[&[u8]], (done, guess, fuzz): (usize, i64, usize)) -> Option<usize> {
    let (front, back) = context(hunk);
    let most = front.max(back);
    let (cut_front, cut_back) = cuts(hunk, fuzz);
    let fits = |at: i64| -> Option<usize> {
        // With context cut off, only what is left has to lie in the file.
        let start = usize::try_from(at + cut_front as i64).ok()?;
        let wanted = &pattern[cut_front..pattern.len() - cut_back];
        let found = lines.get(start..start.checked_add(wanted.len())?)?;
        (start >= done && found == wanted).then(|| usize::try_from(at).ok()).flatten()
    };
    // Less context in front than behind says: this is the start of the file; and the other way round, its end.
    if fuzz + front < most && hunk.start <= 1 {
        return fits(0).filter(|_| fuzz + back >= most || lines.len() == pattern.len());
    }
    if fuzz + back < most {
        return fits(lines.len() as i64 - pattern.len() as i64);
    }
    let reach = lines.len() as i64 + guess.abs() + 1;
    (0..=reach).find_map(|offset| fits(guess + offset).or_else(|| fits(guess - offset)))
}

/// Says why a hunk goes nowhere: with the first line that differs at the place where the most agree.
fn why(lines: &[&[u8]], hunk: &Hunk, done: usize) -> String {
    let pattern = pattern(hunk);
    let guess = usize::try_from(first_guess(hunk)).unwrap_or(0);
    let equal = |at: usize| (0..pattern.len()).filter(|&n| lines.get(at + n) == Some(&pattern[n])).count();
    let near = guess.saturating_sub(1000).max(done)..=(guess + 1000).min(lines.len());
    let best = near.max_by_key(|&at| (equal(at), std::cmp::Reverse(at.abs_diff(guess))));
    let show = |line: Option<&&[u8]>| match line {
        None => "the end of the file".to_string(),
        Some(line) => format!("`{}`", String::from_utf8_lossy(line).trim_end().replace('\t', " ")),
    };
    match best.filter(|&at| equal(at) > 0) {
        Some(at) => {
            let first = (0..pattern.len()).find(|&n| lines.get(at + n) != Some(&pattern[n])).unwrap_or(0);
            let (wanted, found) = (show(pattern.get(first)), show(lines.get(at + first)));
            format!(
                "does not apply: nearest at line {}, where line {} should be {wanted} and is {found}",
                at + 1,
                at + first + 1
            )
        }
        None => format!("does not apply: nothing near line {} looks like it", guess + 1),
    }
}
