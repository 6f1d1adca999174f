//! The body of an event: HTML on the far side, plain text here.
//!
//! Owns: text out of HTML, always the same for the same HTML; HTML out of text; the block that an online meeting leaves
//! in the body, which must survive an edit of the text above it.

use crate::bridge::html::{attribute, is_block, meant, says_address, steps};

/// How long a row of underscores begins the block of an online meeting.
const RULE: &str = "____________________";

/// Elements whose text is not part of what people read.
const HIDDEN: [&str; 4] = ["head", "style", "script", "title"];

/// Returns the text of an HTML page as people read it, normalised as [`tidy`] does.
pub(super) fn text_of(html: &str) -> String {
    let mut out = String::with_capacity(html.len() / 2);
    let mut rest = html;
    let mut hidden: Option<&str> = None;
    let mut pre = 0usize;
    let mut open: Option<(String, usize)> = None;
    let mut ends = Ends::default();
    while let Some(at) = rest.find('<') {
        let (text, tail) = rest.split_at(at);
        steps::count(at);
        if hidden.is_none() {
            flow(&mut out, text, pre > 0);
        }
        if let Some(comment) = tail.strip_prefix("<!--") {
            rest = comment.split_once("-->").map_or("", |(_, after)| after);
            continue;
        }
        let from = html.len() - tail.len() + 1;
        let Some((tag, after)) = tail.get(1..).and_then(|tag| split_tag(tag, from, &mut ends)) else {
            // A lone `<` is text.
            if hidden.is_none() {
                flow(&mut out, "<", false);
            }
            rest = tail.get(1..).unwrap_or_default();
            continue;
        };
        rest = after;
        let closing = tag.starts_with('/');
        let name: String = tag
            .trim_start_matches('/')
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric())
            .collect::<String>()
            .to_ascii_lowercase();
        if let Some(by) = hidden {
            if closing && by == name {
                hidden = None;
            }
            continue;
        }
        match name.as_str() {
            "br" => out.push('\n'),
            "td" | "th" if closing => out.push('\t'),
            "pre" => {
                line(&mut out);
                pre = if closing { pre.saturating_sub(1) } else { pre.saturating_add(1) };
            }
            "a" => {
                // A link within a link ends the one around it.
                if let Some((href, from)) = open.take() {
                    link(&mut out, &href, from);
                }
                if !closing {
                    open = Some((attribute(tag, "href").unwrap_or_default(), out.len()));
                }
            }
            "li" if !closing => {
                line(&mut out);
                out.push_str("- ");
            }
            name if is_block(name) => line(&mut out),
            name => {
                hidden = HIDDEN.iter().copied().find(|h| *h == name && !closing && !tag.ends_with('/'));
            }
        }
    }
    if hidden.is_none() {
        flow(&mut out, rest, pre > 0);
    }
    tidy(&out)
}

/// Where a search for the end of a tag came along that found none: for each byte of the page, within which quotes it was there. A
/// search that comes to such a place the same way finds none either, so that no byte is looked at more than three times.
#[derive(Default)]
struct Ends(Vec<u8>);

impl Ends {
    /// Notes that a search is here in this state. True: one was here before.
    fn was_here(&mut self, at: usize, state: u8) -> bool {
        if self.0.len() <= at {
            self.0.resize(at + 1, 0);
        }
        let Some(seen) = self.0.get_mut(at) else { return false };
        let before = *seen & state != 0;
        *seen |= state;
        before
    }
}

/// Returns the tag up to its `>`, quotes respected, and what follows. Nothing: no tag begins here. `from`: where in the page.
fn split_tag<'a>(text: &'a str, from: usize, ends: &mut Ends) -> Option<(&'a str, &'a str)> {
    let first = text.chars().next()?;
    if !(first.is_ascii_alphabetic() || matches!(first, '/' | '!' | '?')) {
        return None;
    }
    let mut quote = None;
    for (at, c) in text.char_indices() {
        steps::count(1);
        let state = match quote {
            None => 1,
            Some('"') => 2,
            Some(_) => 4,
        };
        // What was noted on the way to an end that is found lies behind whoever searches next.
        if ends.was_here(from + at, state) {
            return None;
        }
        match (c, quote) {
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            ('>', None) => return Some((text.get(..at)?, text.get(at + 1..)?)),
            _ => {}
        }
    }
    None
}

/// A link whose words do not say where it leads is followed by the address.
fn link(out: &mut String, href: &str, from: usize) {
    if !["http://", "https://"].iter().any(|scheme| href.starts_with(scheme)) {
        return;
    }
    let shown = out.get(from..).unwrap_or_default().trim();
    if !says_address(shown, href) && !shown.contains(href) {
        out.push_str(&format!("<{href}>"));
    }
}

/// Adds running text: outside of `pre`, blanks and line breaks are one blank.
fn flow(out: &mut String, text: &str, pre: bool) {
    let text = meant(text);
    if pre {
        out.push_str(&text);
        return;
    }
    for c in text.chars() {
        match c {
            ' ' | '\t' | '\r' | '\n' => {
                if !out.is_empty() && !out.ends_with([' ', '\n', '\t']) {
                    out.push(' ');
                }
            }
            c => out.push(c),
        }
    }
}

/// Begins a line, unless one was just begun.
fn line(out: &mut String) {
    while out.ends_with(' ') {
        out.pop();
    }
    if !out.is_empty() && !out.ends_with('\n') {
        out.push('\n');
    }
}

/// Returns text in the one form that both sides are compared in: LF, no blanks at the ends of lines, no empty lines at
/// the beginning and the end, tabs and protected blanks as blanks, no control characters.
pub(super) fn tidy(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace(['\r', '\u{2028}'], "\n").replace('\u{a0}', " ");
    let text: String = text
        .chars()
        .map(|c| if c == '\t' { ' ' } else { c })
        .filter(|c| (!c.is_control() || *c == '\n') && *c != '\u{feff}')
        .collect();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let from = lines.iter().position(|l| !l.is_empty()).unwrap_or(lines.len());
    let to = lines.iter().rposition(|l| !l.is_empty()).map_or(from, |at| at + 1);
    lines.get(from..to).unwrap_or_default().join("\n")
}

/// Returns whether a text has to be sent as a page: as plain text the service would drop its indentation.
pub(super) fn needs_page(text: &str) -> bool {
    text.contains("  ") || text.lines().any(|line| line.starts_with(' '))
}

/// Splits a text into what people wrote and the block of an online meeting, which begins with a row of underscores.
pub(super) fn parts(text: &str) -> (&str, Option<&str>) {
    match text.find(RULE) {
        Some(at) => {
            let (own, block) = text.split_at(at);
            (own.trim_end(), Some(block))
        }
        None => (text, None),
    }
}

/// Returns an HTML page that shows the text.
pub(super) fn page_of(text: &str) -> String {
    format!("<html><body><div>{}</div></body></html>", html_of(text))
}

/// Returns an HTML page that shows the text that people wrote, followed by the block of the online meeting that a page
/// has; of a page without one, the whole text.
pub(super) fn with_block_of(text: &str, page: &str) -> String {
    match block_of(page) {
        Some(block) => format!("<html><body><div>{}</div>{block}</body></html>", html_of(parts(text).0)),
        None => page_of(text),
    }
}

/// Returns the block of an online meeting in a page: from the element that holds the first row of underscores.
fn block_of(page: &str) -> Option<&str> {
    let rule = page.find(RULE)?;
    let before = page.get(..rule)?;
    let begin = ["<div", "<p", "<span"].iter().filter_map(|tag| before.rfind(tag)).max().unwrap_or(rule);
    let block = page.get(begin..)?;
    let end = block.to_ascii_lowercase().find("</body").unwrap_or(block.len());
    block.get(..end)
}

fn html_of(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("<br>\n"),
            ' ' if out.ends_with(' ') || out.ends_with('\n') || out.is_empty() => out.push_str("&nbsp;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    // S3: what servers make of plain text is the text again
    #[test]
    fn pages_read_as_their_text() {
        let exchange = "<html>\r\n<head>\r\n<meta http-equiv=\"Content-Type\" content=\"text/html; charset=utf-8\">\
            <style>p {color: red}</style><!-- converted > from text --></head>\r\n<body>\r\n<font size=\"2\"><span \
            style=\"font-size:11pt;\"><div class=\"PlainText\">One &amp; two<br>\r\n&nbsp; three<br>\r\n<br>\r\n\
            four &lt;five&gt;</div></span></font>\r\n</body>\r\n</html>\r\n";
        for (html, text) in [
            (exchange, "One & two\n  three\n\nfour <five>"),
            ("plain\r\n  words", "plain words"),
            ("<div>a</div><div>b</div><div><br></div><p>c</p>", "a\nb\n\nc"),
            ("<ul><li>a<li>b</ul>", "- a\n- b"),
            (
                "<a href=\"https://example.com/x\">here</a> <a href='https://example.com/'>https://example.com</a>",
                "here<https://example.com/x> https://example.com",
            ),
            ("a < b and 3<4", "a < b and 3<4"),
            ("&#x41;&#66;&unknown; &amp;lt;", "AB&unknown; &lt;"),
            ("<pre>a\n  b</pre>", "a\n  b"),
            ("<img alt=\"1>2\">x", "x"),
            ("1 <b \"2 <i>3</i>", "1 <b \"2 3"),
            ("1 <b \"2 <i '3\"> 4", "1 4"),
            (
                "<a href=\"https://example.com/1\">one <a href=\"https://example.com/2\">two</a></a>",
                "one <https://example.com/1>two<https://example.com/2>",
            ),
            ("", ""),
        ] {
            assert_eq!(text_of(html), text, "{html}");
            // A page made of the text reads as the text.
            assert_eq!(text_of(&page_of(text)), text);
        }
    }

    #[test]
    fn the_block_of_a_meeting_survives_an_edit() {
        let block = "<div style=\"x\">________________________________________________________________</div>\
            <div><a href=\"https://teams.example.com/l/1\">Join the meeting</a></div>";
        let page = format!("<html><body><div>Agenda</div>{block}</body></html>");
        let text = text_of(&page);
        assert_eq!(parts(&text).0, "Agenda");
        let edited = with_block_of(&text.replace("Agenda", "New <agenda>"), &page);
        assert!(edited.contains(block), "{edited}");
        assert_eq!(text_of(&edited), text.replace("Agenda", "New <agenda>"));
        assert_eq!(text_of(&with_block_of("", &page)), parts(&text).1.unwrap());
    }

    #[test]
    fn tidy_text_stays_as_it_is() {
        for text in ["", "a", "\r\n\r\na \u{a0}\r\n b\t\r\n\r\n", "x\u{1}y", "a\n\n\n\nb"] {
            assert_eq!(tidy(&tidy(text)), tidy(text));
        }
        assert_eq!(tidy("\r\n\r\na \u{a0}\r\n b\t\r\n\r\n"), "a\n b");
    }

    // Bad input: what looks like many tags costs as much looking as it is long, not its square
    #[test]
    fn a_page_that_looks_like_tags_is_read_in_one_go() {
        const MOST: usize = 1 << 18;
        for (piece, end) in [
            ("<", ""),
            ("<a", ""),
            ("<a ", ">"),
            ("<a\"", ""),
            ("<a\"<a'", ""),
            ("<a'<a<a\"\"<a'\"", ">"),
            ("<!-", ""),
            ("<a href=x>", "</a>"),
            ("<style><a", "</style>"),
            ("&", ""),
        ] {
            let page = piece.repeat(MOST / piece.len()) + end;
            let (_, looked) = steps::of(|| text_of(&page));
            assert!(looked <= 12 * page.len(), "{looked} for {piece:?}…{end:?}");
        }
    }
}
