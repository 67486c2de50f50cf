//! The known word an unknown one was probably meant to be.

/// The closest of `known` to `word`, when no more than a third of it is different.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.chars().take(LENGTH_MAX).collect();
    let allowed = (word.len() / 3).max(1);
    known
        .into_iter()
        .map(|known| (distance(&word, known), known))
        .filter(|(distance, known)| *distance <= allowed && *distance < known.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// Longer words are compared by their beginning: the cost is the product of both lengths.
const LENGTH_MAX: usize = 64;

/// Insertions, removals, replacements and swaps of neighbours between the two.
fn distance(from: &[char], to: &str) -> usize {
    let to: Vec<char> = to.chars().take(LENGTH_MAX).collect();
    let mut rows = vec![vec![0_usize; to.len() + 1]; from.len() + 1];
    for (at, row) in rows.iter_mut().enumerate() {
        row[0] = at;
    }
    for (at, cell) in rows[0].iter_mut().enumerate() {
        *cell = at;
    }
    for i in 1..=from.len() {
        for j in 1..=to.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = least;
        }
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised_and_a_stranger_is_not() {
        let known = ["destination", "source", "peer", "gw2"];
        assert_eq!(nearest("destinaton", known), Some("destination"));
        assert_eq!(nearest("gw9", known), Some("gw2"));
        assert_eq!(nearest("pere", known), Some("peer"));
        assert_eq!(nearest("lifetime", known), None);
    }
}
