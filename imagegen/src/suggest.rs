//! "Did you mean": the known name that a misspelt one is closest to.

/// Returns the closest of some names, if it is close: a third of the letters may differ.
pub(crate) fn closest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = wrong.chars().count().div_ceil(3).min(4);
    let in_reach = known.into_iter().filter(|name| name.len().abs_diff(wrong.len()) <= 4 * limit);
    let rated = in_reach.map(|name| (strsim::damerau_levenshtein(wrong, name), name));
    rated.filter(|(distance, _)| *distance <= limit).min().map(|(_, name)| name)
}

/// Returns `; did you mean X?`, or nothing.
pub(crate) fn hint<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    closest(wrong, known).map_or(String::new(), |name| format!("; did you mean `{name}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_close_is_suggested() {
        let known = ["ext4", "ext2", "xfs", "virtio_blk"];
        assert_eq!(closest("ext5", known), Some("ext2"));
        assert_eq!(closest("virtio-block", known), Some("virtio_blk"));
        assert_eq!(closest("nothing", known), None);
        assert_eq!(closest("", known), None);
    }
}
