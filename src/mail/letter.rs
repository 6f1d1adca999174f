//! What the mail says. Pure: no clock, no network.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use lettre::Message;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MessageBuilder};

use crate::bridge::Told;
use crate::store::{Etag, Timestamp};

/// The longest subject.
const SUBJECT: usize = 120;

/// Writes one mail of these notices.
///
/// # Errors
/// A sentence.
pub(super) fn write(
    from: &Mailbox,
    to: Mailbox,
    notices: &[Told],
    base_url: &str,
    now: Timestamp,
) -> Result<Message, String> {
    // The same notices make the same mail: a twin is known as one.
    let mut names: Vec<String> =
        notices.iter().map(|told| format!("{}@{}", told.id, told.raised.0)).collect();
    names.sort();
    let id = Etag::of(names.join("\n").as_bytes()).0;
    let message = Message::builder()
        .from(from.clone())
        .to(to)
        .subject(subject(notices))
        .date(SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(now.0).unwrap_or(0)))
        .message_id(Some(format!("<{id}.kalends@{}>", from.email.domain())))
        .header(ContentType::TEXT_PLAIN);
    // RFC 3834 §5: nobody's absence note answers it.
    let message = raw(message, "Auto-Submitted", "auto-generated");
    message.body(body(notices, base_url)).map_err(|error| error.to_string())
}

fn raw(message: MessageBuilder, name: &'static str, value: &str) -> MessageBuilder {
    match HeaderName::new_from_ascii(name.to_owned()) {
        Ok(name) => message.raw_header(HeaderValue::new(name, value.to_owned())),
        Err(_) => message,
    }
}

fn subject(notices: &[Told]) -> String {
    match notices {
        [one] => {
            // A title of an event may hold anything; a header may not.
            let line: String = one.sentence.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            let short: String = line.chars().take(SUBJECT).collect();
            format!("Kalends: {short}{}", if line.chars().count() > SUBJECT { "…" } else { "" })
        }
        many => format!("Kalends: {} things to look at", many.len()),
    }
}

fn body(notices: &[Told], base_url: &str) -> String {
    let mut text = String::new();
    for told in notices {
        let at = jiff::Timestamp::from_millisecond(told.raised.0).unwrap_or_default();
        let _ = write!(text, "{}\r\n  {}\r\n\r\n", told.sentence, at.strftime("%Y-%m-%d %H:%M UTC"));
    }
    let _ = write!(
        text,
        "-- \r\n{base_url}/\r\nEach is told once; it ends by itself when its cause is gone.\r\n"
    );
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::bridge::NoticeKind;

    fn told(id: &str, sentence: &str) -> Told {
        Told {
            id: id.into(),
            kind: NoticeKind::EventFailed,
            sentence: sentence.into(),
            about: BTreeMap::new(),
            raised: Timestamp(1_772_366_400_000),
            read: None,
            resolved: None,
            mailed: None,
        }
    }

    fn written(notices: &[Told]) -> String {
        let from: Mailbox = "Kalends <k@example.org>".parse().unwrap();
        let to: Mailbox = "anna@example.org".parse().unwrap();
        let mail =
            write(&from, to, notices, "https://cal.example.org", Timestamp(1_772_366_460_000)).unwrap();
        String::from_utf8(mail.formatted()).unwrap()
    }

    #[test]
    fn one_notice_is_its_own_subject_and_many_are_counted() {
        let one = written(&[told("a", "“Lunch” could not be carried over.")]);
        for part in ["To: anna@example.org", "Auto-Submitted: auto-generated", "2026-03-01 12:00 UTC"] {
            assert!(one.contains(part), "{part}\n{one}");
        }
        let two = written(&[told("a", "One."), told("b", "Two.")]);
        assert!(
            two.contains("Subject: Kalends: 2 things to look at")
                && two.contains("One.")
                && two.contains("Two.")
        );
    }

    #[test]
    fn nobody_writes_headers_with_a_title_and_twins_bear_one_name() {
        let sly = written(&[told("a", "x\r\nBcc: evil@example.org\r\n\r\nHello")]);
        let head = sly.split("\r\n\r\n").next().unwrap();
        assert!(!head.lines().any(|line| line.starts_with("Bcc")), "{head}");
        let name = |text: &str| text.lines().find(|line| line.starts_with("Message-ID")).unwrap().to_owned();
        let (a, b) = (told("a", "One."), told("b", "Two."));
        assert_eq!(name(&written(&[a.clone(), b.clone()])), name(&written(&[b, a.clone()])));
        assert_ne!(
            name(&written(std::slice::from_ref(&a))),
            name(&written(&[Told { raised: Timestamp(5), ..a }]))
        );
    }
}
