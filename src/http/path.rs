//! Paths of routes: whether a path is one of a route's, what stands for its names, and how such a name is written.

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Returns a text as one segment of a path or one value of a query, whatever it holds.
pub fn segment(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// Tells whether a path has the shape of a route, in which a name in braces stands for one segment.
pub fn is_of(route: &str, path: &str) -> bool {
    let (mut of_route, mut of_path) = (route.split('/'), path.split('/'));
    loop {
        match (of_route.next(), of_path.next()) {
            (None, None) => return true,
            (Some(name), Some(said)) if name.starts_with('{') && !said.is_empty() => {}
            (Some(wanted), Some(said)) if wanted == said => {}
            _ => return false,
        }
    }
}

/// Returns what stands for the names of a route in a path of its shape; nothing: it is no text.
pub fn captures(route: &str, path: &str) -> Option<Vec<String>> {
    if !is_of(route, path) {
        return None;
    }
    let named = route.split('/').zip(path.split('/')).filter(|(name, _)| name.starts_with('{'));
    named.map(|(_, said)| Some(percent_decode_str(said).decode_utf8().ok()?.into_owned())).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_found_by_their_shape() {
        assert_eq!(captures("/runs/{}", "/runs/a%2Fb"), Some(vec!["a/b".to_owned()]));
        assert_eq!(
            captures("/runs/{run}", &format!("/runs/{}", segment("a/b ü"))),
            Some(vec!["a/b ü".to_owned()])
        );
        assert_eq!(captures("/runs", "/runs"), Some(vec![]));
        for other in ["/runs/", "/runs/a/b", "/run/a", "", "/runs/%ff"] {
            assert_eq!(captures("/runs/{}", other), None, "{other}");
        }
    }
}
