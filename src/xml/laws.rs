//! Laws of reading and writing, over generated input.

use proptest::prelude::*;

use super::{Attribute, Element, Limits, Name, Node, Writer, XML, parse};

fn name() -> impl Strategy<Value = Name> {
    let ns = prop_oneof![
        Just(""),
        Just("DAV:"),
        Just("urn:ietf:params:xml:ns:caldav"),
        Just("http://example.com/a&b\"<"),
        Just("urn:ü"),
    ];
    (ns, "[a-zA-Z_ü][a-zA-Z0-9._-]{0,6}").prop_map(|(ns, local)| Name::new(ns, local))
}

fn attribute() -> impl Strategy<Value = Attribute> {
    let lang = Just(Name::new(XML, "lang"));
    (prop_oneof![name(), lang], "[ -~\t\n\rü\u{10FFFF}]{0,9}")
        .prop_map(|(name, value)| Attribute { name, value })
}

fn element() -> impl Strategy<Value = Element> {
    let leaf = (name(), prop::collection::vec(attribute(), 0..4)).prop_map(|(name, mut attributes)| {
        attributes.sort_by(|a, b| a.name.cmp(&b.name));
        attributes.dedup_by(|a, b| a.name == b.name);
        Element { name, attributes, children: Vec::new() }
    });
    leaf.prop_recursive(4, 40, 5, |inner| {
        let node = prop_oneof![inner.prop_map(Node::Element), "[ -~\t\n\rü]{1,12}".prop_map(Node::Text),];
        (name(), prop::collection::vec(node, 0..6)).prop_map(|(name, nodes)| {
            let mut children: Vec<Node> = Vec::new();
            for node in nodes {
                match (children.last_mut(), node) {
                    (Some(Node::Text(before)), Node::Text(text)) => before.push_str(&text),
                    (_, node) => children.push(node),
                }
            }
            Element { name, attributes: Vec::new(), children }
        })
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(element in element()) {
        let mut w = Writer::fragment();
        w.element(&element);
        let text = w.take_string();
        prop_assert_eq!(parse(text.as_bytes(), Limits::default()), Ok(element.clone()), "{}", text);
        // Another reader agrees that it is XML.
        prop_assert!(roxmltree::Document::parse(&text).is_ok(), "{}", text);
        // Inside a document too, and a second time it is the same text.
        let mut w = Writer::document();
        w.open(&Name::new("DAV:", "x"));
        w.element(&element);
        w.close();
        let text = w.take_string();
        let outer = parse(text.as_bytes(), Limits::default());
        prop_assert_eq!(outer.map(|outer| outer.children), Ok(vec![Node::Element(element)]), "{}", text);
    }

    #[test]
    fn any_text_can_be_written(text in any::<String>()) {
        let mut w = Writer::fragment();
        w.leaf(&Name::new("DAV:", "x"), &text);
        let kept: String = text
            .chars()
            .filter(|c| matches!(c, '\t' | '\n' | '\r') || (*c >= ' ' && !matches!(c, '\u{FFFE}' | '\u{FFFF}')))
            .collect();
        prop_assert_eq!(parse(w.take_string().as_bytes(), Limits::default()).map(|e| e.text()), Ok(kept));
    }

    /// Whatever the other reader refuses is refused here, and nothing makes this one fall over.
    #[test]
    fn nothing_is_read_that_is_no_xml(bytes in "[<>/&;a-c:='\"xmlns !\\[\\]?-]{0,40}") {
        if parse(bytes.as_bytes(), Limits::default()).is_ok() {
            prop_assert!(roxmltree::Document::parse(&bytes).is_ok(), "{}", bytes);
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes, Limits::default());
    }
}
