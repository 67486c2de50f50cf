//! Rust text with comments and the insides of literals blanked out, line by line: enough to look for words in code
//! without a parser.

/// The same number of lines; comments, strings and character literals are spaces.
pub fn code_only(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    while at < chars.len() {
        let end = skipped(&chars, at).unwrap_or(at);
        if end > at {
            // Line ends stay, so that line numbers do.
            out.extend(chars[at..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
            at = end;
        } else {
            out.push(chars[at]);
            at += 1;
        }
    }
    out
}

/// Where the comment or literal that starts here ends; `None` where code stands.
fn skipped(chars: &[char], at: usize) -> Option<usize> {
    let rest = &chars[at..];
    let is_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    match rest {
        ['/', '/', ..] => Some(at + rest.iter().position(|&c| c == '\n').unwrap_or(rest.len())),
        ['/', '*', ..] => Some(at + block_comment(rest)),
        ['r', '"' | '#', ..] | ['b', 'r', '"' | '#', ..] if !is_word => {
            raw_string(rest).map(|length| at + length)
        }
        ['"', ..] => Some(at + quoted(rest, '"')),
        // A lifetime has no second quote: 'a is code, 'a' and '\n' are not.
        ['\'', '\\', ..] | ['\'', _, '\'', ..] => Some(at + quoted(rest, '\'')),
        _ => None,
    }
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn raw_string(rest: &[char]) -> Option<usize> {
    let start = rest.iter().position(|&c| c == 'r')? + 1;
    let hashes = rest[start..].iter().take_while(|&&c| c == '#').count();
    if rest.get(start + hashes) != Some(&'"') {
        return None;
    }
    let mut at = start + hashes + 1;
    while at < rest.len() {
        let closes =
            rest[at] == '"' && rest[at + 1..].iter().take(hashes).filter(|&&c| c == '#').count() == hashes;
        at += 1;
        if closes {
            return Some(at + hashes);
        }
    }
    Some(rest.len())
}

fn quoted(rest: &[char], quote: char) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// The words of a line of code, without punctuation.
pub fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// How many lines stand before the unit tests, which by custom are the last thing in a file.
pub fn production_lines(source: &str) -> usize {
    source.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_code_is_left() {
        let source =
            "let a = \"unsafe \\\" unsafe\"; // unsafe\nlet b = 'u'; /* unsafe /* unsafe */ */ safe();\n";
        let code = code_only(source);
        assert!(!code.contains("unsafe"), "{code}");
        assert!(code.contains("let a =") && code.contains("safe();"));
        assert_eq!(code.lines().count(), source.lines().count());
    }

    #[test]
    fn raw_strings_and_lifetimes_are_told_apart() {
        let code = code_only(
            "fn f<'a>(x: &'a str) { g(r#\"unsafe \" still\"#, b\"unsafe\", br\"unsafe\"); unsafe_code }",
        );
        assert_eq!(words(&code).filter(|word| *word == "unsafe").count(), 0, "{code}");
        assert!(code.contains("&'a str") && code.contains("unsafe_code"));
    }

    #[test]
    fn word_in_code_is_found_with_its_line() {
        let code = code_only("fn f() {\n    unsafe { g() }\n}\n");
        let lines: Vec<_> =
            code.lines().enumerate().filter(|(_, line)| words(line).any(|word| word == "unsafe")).collect();
        assert_eq!(lines[0].0, 1);
    }
}
