//! Descriptions: Google's may hold HTML, ours are text.
//!
//! Owns: HTML → text, text that looks like HTML → HTML that reads as that text, and the conference details that Google
//! keeps between lines of its own within a description.

use crate::bridge::html::{attribute, is_block, meant, says_address, steps};

/// Elements that people's descriptions hold. Anything else in angle brackets is text.
const ELEMENTS: [&str; 36] = [
    "a",
    "b",
    "blockquote",
    "body",
    "br",
    "code",
    "dd",
    "div",
    "dl",
    "dt",
    "em",
    "font",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "head",
    "hr",
    "html",
    "html-blob",
    "i",
    "img",
    "li",
    "ol",
    "p",
    "pre",
    "s",
    "span",
    "strong",
    "table",
    "tr",
    "td",
    "u",
    "ul",
];
/// Returns Google's description as text.
pub(super) fn text(description: &str) -> String {
    let plain = description.replace('\r', "");
    let plain = if is_html(&plain) { unmarked(&plain) } else { plain };
    without_conference(&plain)
}

/// Returns our text as a description that reads as this text.
pub(super) fn description(text: &str) -> String {
    let text = without_conference(&text.replace('\r', ""));
    if !is_html(&text) {
        return text;
    }
    let mut out = String::from("<span>");
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\n' => out.push_str("<br>"),
            c => out.push(c),
        }
    }
    out.push_str("</span>");
    out
}

fn is_html(text: &str) -> bool {
    next_tag(text).is_some()
}

/// A tag at the beginning of a text.
struct Tag<'a> {
    name: String,
    closes: bool,
    attributes: &'a str,
    /// How much of the text it is.
    length: usize,
}

/// Returns the name of the element whose tag may begin here, whether it closes one, and where its attributes begin. It is judged
/// by what stands at the beginning, before anybody looks for its end.
fn head(text: &str) -> Option<(String, bool, usize)> {
    let inside = text.strip_prefix('<')?;
    let closes = inside.starts_with('/');
    let from = if closes { 2 } else { 1 };
    let inside = text.get(from..)?;
    let length = inside.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'-').count();
    let (name, rest) = inside.split_at_checked(length)?;
    steps::count(length);
    let name = name.to_ascii_lowercase();
    let known = ELEMENTS.contains(&name.as_str()) && rest.starts_with(['>', ' ', '/', '\n', '\t']);
    known.then_some((name, closes, from + length))
}

/// The text before the next tag, the tag, and what follows. Each letter is looked at once, whatever stands around it: what begins
/// as a tag and has no end says that none after it has one.
fn next_tag(text: &str) -> Option<(&str, Tag<'_>, &str)> {
    for (at, _) in text.match_indices('<') {
        let (before, rest) = text.split_at(at);
        let Some((name, closes, from)) = head(rest) else { continue };
        let inside = rest.get(from..)?;
        let end = inside.find('>');
        steps::count(end.unwrap_or(inside.len()));
        let end = end?;
        let tag = Tag { name, closes, attributes: inside.get(..end)?, length: from + end + 1 };
        let after = rest.get(tag.length..)?;
        return Some((before, tag, after));
    }
    None
}

fn unmarked(html: &str) -> String {
    let mut out = String::with_capacity(html.len());
    let mut link: Option<(String, usize)> = None;
    let mut rest = html;
    while let Some((before, tag, after)) = next_tag(rest) {
        steps::count(before.len());
        out.push_str(&meant(before));
        mark(&tag, &mut out, &mut link);
        rest = after;
    }
    out.push_str(&meant(rest));
    tidy(&out.replace('\u{a0}', " ").replace('\r', ""))
}

fn mark(tag: &Tag<'_>, out: &mut String, link: &mut Option<(String, usize)>) {
    let fresh = out.is_empty() || out.ends_with('\n');
    match (tag.name.as_str(), tag.closes) {
        ("br" | "hr", _) => out.push('\n'),
        ("li", false) => out.push_str(if fresh { "- " } else { "\n- " }),
        ("a", false) => *link = attribute(tag.attributes, "href").map(|href| (href, out.len())),
        ("a", true) => {
            // A link whose text says something else keeps its address behind it.
            if let Some((href, from)) = link.take() {
                let shown = out.get(from..).unwrap_or_default().trim();
                if shown.is_empty() {
                    out.push_str(&href);
                } else if !says_address(shown, &href) {
                    out.push_str(&format!(" ({href})"));
                }
            }
        }
        (name, _) if is_block(name) && !fresh => out.push('\n'),
        _ => {}
    }
}

/// No blanks at the ends of lines, no more than one empty line between two others, none around.
fn tidy(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut empty = 0;
    for line in text.split('\n').map(str::trim_end) {
        if line.is_empty() {
            empty += 1;
            continue;
        }
        if !out.is_empty() {
            out.push_str(if empty > 0 { "\n\n" } else { "\n" });
        }
        out.push_str(line);
        empty = 0;
    }
    out
}

/// Google keeps how to join between two lines made of `-`, `:` and `~`; it writes them anew as it likes.
fn without_conference(text: &str) -> String {
    let fence = |line: &str| {
        let line = line.trim();
        line.len() >= 8
            && line.starts_with("-::")
            && line.ends_with("::-")
            && line.chars().all(|c| matches!(c, '-' | ':' | '~'))
    };
    let lines: Vec<&str> = text.split('\n').collect();
    let Some(first) = lines.iter().position(|line| fence(line)) else { return text.to_owned() };
    let last = lines.iter().rposition(|line| fence(line)).unwrap_or(first);
    let kept = lines.iter().enumerate().filter(|(at, _)| *at < first || *at > last).map(|(_, line)| *line);
    kept.collect::<Vec<_>>().join("\n").trim_matches('\n').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    // S3: description HTML ↔ text
    #[test]
    fn html_is_read_as_text() {
        let rows = [
            ("plain & simple <3", "plain & simple <3"),
            ("one<br>two", "one\ntwo"),
            ("<p>one</p><p>two &amp; three</p>", "one\ntwo & three"),
            ("<ul><li>a</li><li>b</li></ul>end", "- a\n- b\nend"),
            (
                "see <a href=\"https://x.example/?a=1&amp;b=2\">this</a>",
                "see this (https://x.example/?a=1&b=2)",
            ),
            ("<a href=\"https://x.example/\">https://x.example</a>", "https://x.example"),
            ("<b>bold</b>&nbsp;&#65;&#x42;&unknown;", "bold AB&unknown;"),
            ("a<br><br><br><br>b<br>", "a\n\nb"),
            ("<html-blob>x<br/>y</html-blob>", "x\ny"),
            ("2 < 3 and <b", "2 < 3 and <b"),
            ("<script>x</script>", "<script>x</script>"),
        ];
        for (html, expected) in rows {
            assert_eq!(text(html), expected, "{html}");
        }
    }

    #[test]
    fn what_is_written_reads_as_what_was_meant() {
        for plain in
            ["", "a\nb", "use <b> & </b>\nfor bold", "1 < 2 && 3 > 2", "&lt;", "<br>", "ä <i>ß</i> 🎉"]
        {
            assert_eq!(text(&description(plain)), plain, "{plain}");
        }
    }

    #[test]
    fn details_of_a_conference_are_no_part_of_the_text() {
        let fence = "-::~:~::~:~:~:~:~:~:~::~:~::-";
        let with = format!("Agenda\n\n{fence}\nJoin: https://meet.example/abc\nDo not edit.\n{fence}");
        assert_eq!(text(&with), "Agenda");
        assert_eq!(description(&with), "Agenda");
        assert_eq!(text(&format!("<b>Agenda</b><br>{fence}<br>Join<br>{fence}<br>after")), "Agenda\nafter");
    }

    // Bad input: what looks like many tags costs as much looking as it is long, not its square
    #[test]
    fn a_text_that_looks_like_tags_is_read_in_one_go() {
        const MOST: usize = 1 << 18;
        for (piece, end) in [
            ("<", ""),
            ("<", ">"),
            ("<b ", ""),
            ("<b ", ">"),
            ("</", ">"),
            ("<b<", "<br>"),
            ("<bb ", "<br>"),
            ("<br>", ""),
            ("<a href=\"x\">y", "</a>"),
            ("&", ";<br>"),
            ("<b &", ""),
        ] {
            let plain = piece.repeat(MOST / piece.len()) + end;
            let (_, looked) = steps::of(|| text(&plain));
            assert!(looked <= 12 * plain.len(), "{looked} for {piece:?}…{end:?}");
            let (_, looked) = steps::of(|| description(&plain));
            assert!(looked <= 12 * plain.len(), "{looked} for {piece:?}…{end:?}");
        }
    }
}
