//! How long files and functions are, and how much the code says of itself where the order of steps decides.

use std::path::Path;

use crate::code::File;
use crate::{crate_of, libraries};

/// Half of the files have no more lines than this.
const MEDIAN: usize = 130;
/// Nineteen of twenty files have no more lines than this.
const MOST: usize = 350;
/// Rooms in which the order of steps is what makes the whole exact: the crate, and the folder there. Their code has this
/// many lines of plain comments, which say why, to a line of code.
const EXPLAINED: &[(&str, &str)] =
    &[("rtbflow", "job"), ("rtbflow", "epoch"), ("rtbflow_kafka", ""), ("rtbflow_sinks", "")];
const COMMENTS_PER_LINE: f64 = 0.03;

/// A function whose body has more lines of code than this is a long one, and there are not many of them. The braces are
/// lines of it, comments are not: they are no reason to take a function apart.
const LONG: usize = 25;
const MOST_LONG: usize = 40;

/// What is too long, if half of the files or one in twenty is longer than it may be.
fn too_long<'a>(files: impl IntoIterator<Item = (&'a str, usize)>) -> Vec<String> {
    let mut files: Vec<_> = files.into_iter().map(|(name, lines)| (lines, name)).collect();
    files.sort_unstable();
    let longest = |percent: usize| files[(files.len() * percent).div_ceil(100) - 1].0;
    let mut found = Vec::new();
    if longest(50) > MEDIAN {
        found.push(format!("half of the files have more than {MEDIAN} lines: {}", longest(50)));
    }
    if longest(95) > MOST {
        let long = files.iter().rev().take_while(|(lines, _)| *lines > MOST);
        let long: Vec<_> = long.map(|(lines, name)| format!("{name}: {lines}")).collect();
        found.push(format!("more than one in twenty has over {MOST} lines: {}", long.join(", ")));
    }
    found
}

/// The text without its tests.
fn shipped(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default()
}

/// Whether a line begins a function: `fn`, behind whatever says who sees it and how it is called.
fn begins_function(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let before = |word: &&str| {
        word.starts_with("pub") || ["const", "async", "unsafe", "extern", "\"C\""].contains(word)
    };
    words.find(|word| !before(word)) == Some("fn")
}

/// The functions that are shipped, each with the lines of code of its body. That a function ends with a brace as far to
/// the right as it begins is what rustfmt makes of it.
fn functions(text: &str) -> Vec<(&str, usize)> {
    let mut found = Vec::new();
    let mut lines = shipped(text).lines();
    while let Some(line) = lines.next() {
        if !begins_function(line) || line.ends_with(['}', ';']) {
            continue;
        }
        let begins = line.len() - line.trim_start().len();
        let is_at_begin = |line: &str| line.len() - line.trim_start().len() == begins;
        let (mut open, mut body) = (line.ends_with('{'), 1);
        for line in lines.clone().filter(|line| !line.trim().is_empty()) {
            let is_comment = line.trim_start().starts_with("//");
            body += usize::from(open && !is_comment);
            if is_at_begin(line) && (line.ends_with('}') || (!open && line.ends_with(';'))) {
                break;
            }
            open |= is_at_begin(line) && line.ends_with('{');
        }
        found.push((line.trim(), body));
    }
    found
}

/// The functions that are long.
fn long_functions(files: &[File]) -> Vec<String> {
    let all = files.iter().flat_map(|file| {
        functions(&file.text).into_iter().map(move |(function, lines)| (lines, file, function))
    });
    let long = all.filter(|(lines, ..)| *lines > LONG);
    long.map(|(lines, file, function)| format!("{lines} {}: {function}", file.name())).collect()
}

/// Lines of plain comments and lines of code that are shipped.
fn comments_and_code(text: &str) -> (usize, usize) {
    let shipped = shipped(text);
    let (mut comments, mut code) = (0, 0);
    for line in shipped.lines().map(str::trim) {
        match line {
            "" => {}
            // What a thing is, its documentation says; that is another rule.
            line if line.starts_with("///") || line.starts_with("//!") => {}
            line if line.starts_with("//") => comments += 1,
            _ => code += 1,
        }
    }
    (comments, code)
}

/// Rooms that say too little of why they do what they do.
fn unexplained(files: &[File], rooms: &[(&str, &str)]) -> Vec<String> {
    let mut found = Vec::new();
    for (crate_name, folder) in rooms {
        let of_room = files.iter().filter(|file| {
            file.crate_name == *crate_name && file.path.starts_with(Path::new(folder))
        });
        let (comments, code) = of_room
            .map(|file| comments_and_code(&file.text))
            .fold((0, 0), |(comments, code), (more, lines)| (comments + more, code + lines));
        let ratio =
            f64::from(u32::try_from(comments).unwrap()) / f64::from(u32::try_from(code).unwrap());
        if ratio < COMMENTS_PER_LINE {
            found.push(format!("{crate_name}/{folder}: {comments} comments for {code} lines"));
        }
    }
    found
}

#[test]
fn files_are_short() {
    let files = &libraries().files;
    let lengths = files.iter().map(|file| (file.path.to_str().unwrap(), file.text.lines().count()));
    assert_eq!(too_long(lengths), [""; 0]);
}

#[test]
fn files_that_are_too_long_are_noticed() {
    let of = |lengths: [usize; 20]| too_long(lengths.map(|lines| ("a.rs", lines)));
    let mut lengths = [MEDIAN; 20];
    (lengths[18], lengths[19]) = (MOST, 10 * MOST);
    assert_eq!(of(lengths), [""; 0], "one in twenty may be long");
    lengths[18] = MOST + 1;
    assert_eq!(of(lengths), ["more than one in twenty has over 350 lines: a.rs: 3500, a.rs: 351"]);
    assert_eq!(of([MEDIAN + 1; 20]), ["half of the files have more than 130 lines: 131"]);
}

#[test]
fn where_the_order_of_steps_decides_it_is_said_why() {
    assert_eq!(unexplained(&libraries().files, EXPLAINED), [""; 0]);
}

#[test]
fn a_room_that_does_not_say_why_is_noticed() {
    let text = "//! A room.\n/// Does.\nfn f() {\n    // So that g finds it.\n    f();\n}\n";
    let files = crate_of("rtbflow", &[("job/a.rs", text), ("flow.rs", "fn g() {}")]);
    assert_eq!(unexplained(&files, &[("rtbflow", "job")]), [""; 0]);
    assert_eq!(unexplained(&files, &[("rtbflow", "")]), [""; 0]);
    let silent = text.replace("    // So that g finds it.\n", "");
    let tested = format!("{silent}#[cfg(test)]\nmod tests {{\n    // Here it does not count.\n}}");
    let files = crate_of("rtbflow", &[("job/a.rs", &silent), ("job/b.rs", &tested)]);
    assert_eq!(unexplained(&files, &[("rtbflow", "job")]), ["rtbflow/job: 0 comments for 6 lines"]);
}

#[test]
fn few_functions_are_long() {
    let files = &libraries().files;
    let count: usize = files.iter().map(|file| functions(&file.text).len()).sum();
    assert!(count > 1_500, "only {count} functions of more than one line were found");
    let long = long_functions(files);
    assert!(long.len() <= MOST_LONG, "{} functions are long:\n{}", long.len(), long.join("\n"));
}

#[test]
fn a_long_function_is_noticed() {
    let body = |lines: usize| "        step();\n\n        // And another.\n".repeat(lines);
    let function = |lines| {
        format!(
            "    pub(crate) async fn f(\n        n: u64,\n    ) -> u64 {{\n{}    }}\n",
            body(lines)
        )
    };
    let tests =
        format!("#[cfg(test)]\nmod tests {{\n    fn g() {{\n{}    }}\n}}\n", body(2 * LONG));
    let contract = "trait Steps {\n    fn h(\n        n: u64,\n    );\n}\n";
    let text = |lines| format!("{contract}impl A {{\n{}}}\n{tests}", function(lines));
    let of = |lines| long_functions(&crate_of("rtbflow", &[("a.rs", &text(lines))]));
    assert_eq!(of(LONG - 2), [""; 0], "the braces are two lines");
    assert_eq!(of(LONG - 1), ["26 rtbflow/a.rs: pub(crate) async fn f("]);
}
