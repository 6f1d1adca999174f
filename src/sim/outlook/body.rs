//! What Exchange makes of an event's text.
//!
//! Owns: plain text and HTML into the page that is kept, and back. Does not own: where it is kept (`event`).

/// Returns a whole HTML page for a text.
pub(super) fn page_of_text(text: &str) -> String {
    let lines: Vec<String> = text.replace("\r\n", "\n").split('\n').map(escaped).collect();
    page(&format!("<div class=\"PlainText\">{}</div>", lines.join("<br>\r\n")))
}

/// Returns a whole HTML page for a piece of HTML or a page.
pub(super) fn page_of_html(html: &str) -> String {
    let lower = html.to_ascii_lowercase();
    let inside = lower.find("<body").and_then(|at| Some(at + lower.get(at..)?.find('>')? + 1));
    let inner = match inside {
        Some(begin) => {
            let end = lower.rfind("</body").filter(|end| *end >= begin).unwrap_or(html.len());
            html.get(begin..end).unwrap_or(html)
        }
        None => html,
    };
    page(inner.trim())
}

fn page(inner: &str) -> String {
    format!(
        "<html>\r\n<head>\r\n<meta http-equiv=\"Content-Type\" content=\"text/html; charset=utf-8\">\r\n</head>\r\n\
         <body>\r\n{inner}\r\n</body>\r\n</html>\r\n"
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Returns what a page says as plain text, lines ending in CRLF.
pub(super) fn text_of(html: &str) -> String {
    let lower = html.to_ascii_lowercase();
    let begin = lower.find("<body").unwrap_or(0);
    let mut text = String::new();
    let mut rest = html.get(begin..).unwrap_or_default();
    while let Some(at) = rest.find('<') {
        add(&mut text, rest.get(..at).unwrap_or_default());
        let tag = rest.get(at..).unwrap_or_default();
        let end = tag.find('>').map_or(tag.len(), |end| end + 1);
        let name: String = tag.chars().skip(1).take_while(|sign| !matches!(sign, '>' | ' ')).collect();
        if matches!(name.to_ascii_lowercase().as_str(), "br" | "br/" | "/p" | "/div" | "/li" | "/tr") {
            text = format!("{}\n", text.trim_end_matches(' '));
        }
        rest = tag.get(end..).unwrap_or_default();
    }
    add(&mut text, rest);
    text.trim().replace('\n', "\r\n")
}

/// Adds a piece between tags: white space counts once, entities are read.
fn add(text: &mut String, piece: &str) {
    for (at, word) in piece.split([' ', '\t', '\r', '\n']).enumerate() {
        if at > 0 && !text.is_empty() && !text.ends_with([' ', '\n']) {
            text.push(' ');
        }
        let word = word.replace("&nbsp;", " ").replace("&lt;", "<").replace("&gt;", ">");
        text.push_str(&word.replace("&quot;", "\"").replace("&#39;", "'").replace("&amp;", "&"));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_text_becomes_a_page_and_is_read_again() {
        for (text, want) in [
            ("One line", "One line"),
            ("a\nb\r\n\r\nc", "a\r\nb\r\n\r\nc"),
            ("1 < 2 & \"x\"", "1 < 2 & \"x\""),
            ("ends\n\n", "ends"),
        ] {
            let page = page_of_text(text);
            assert!(page.starts_with("<html>"), "{page}");
            assert_eq!(text_of(&page), want, "{page}");
        }
    }

    #[test]
    fn a_page_of_html_is_wrapped_once() {
        let once = page_of_html("<p>Hello&nbsp;<b>you</b></p>");
        assert_eq!(page_of_html(&once), once);
        assert_eq!(text_of(&once), "Hello you");
    }
}
