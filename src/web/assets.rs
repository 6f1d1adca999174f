//! What pages are dressed in and moved by: embedded in the binary, under addresses that change with the content.
//!
//! Owns: the list, digests, compression, caching. Vendored files are unchanged, their versions and licences in `assets/VENDORED.md`.

use std::io::Write as _;
use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::Web;
use super::visit::{Stop, Visit};
use crate::auth::oauth::digest;
use crate::http::{Reply, reply_bytes, reply_empty};

const ROUTE: &str = "/assets/{digest}/{name}";

struct Asset {
    name: &'static str,
    media: &'static str,
    bytes: &'static [u8],
    digest: String,
    small: Option<Bytes>,
}

static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    const SCRIPT: &str = "text/javascript; charset=utf-8";
    let asset = |name, media, bytes: &'static [u8]| Asset {
        name,
        media,
        bytes,
        digest: digest_of(bytes),
        small: small(bytes),
    };
    vec![
        asset("app.css", "text/css; charset=utf-8", include_bytes!("assets/app.css")),
        asset("app.js", SCRIPT, include_bytes!("assets/app.js")),
        asset("calendar.js", SCRIPT, include_bytes!("assets/calendar.js")),
        asset("htmx.js", SCRIPT, include_bytes!("assets/htmx.min.js")),
        asset("fullcalendar.js", SCRIPT, include_bytes!("assets/fullcalendar.min.js")),
        asset("icons.svg", "image/svg+xml", include_bytes!("assets/icons.svg")),
        asset("favicon.svg", "image/svg+xml", include_bytes!("assets/favicon.svg")),
    ]
});

fn digest_of(bytes: &[u8]) -> String {
    // All of them are text.
    digest(&String::from_utf8_lossy(bytes)).chars().take(16).collect()
}

fn small(bytes: &[u8]) -> Option<Bytes> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    writer.write_all(bytes).ok()?;
    writer.finish().ok().map(Bytes::from)
}

/// Returns where an asset is, below the prefix.
pub(super) fn path(name: &str) -> String {
    let found = ASSETS.iter().find(|asset| asset.name == name);
    format!("/assets/{}/{name}", found.map_or("", |asset| &asset.digest))
}

/// Tells whether this is the route of assets: nobody has to be known for them.
pub(super) fn is(route: &str) -> bool {
    route == ROUTE
}

/// Answers for an asset.
pub(super) fn answer(ids: &[String], headers: &HeaderMap) -> Result<Reply, Stop> {
    let (digest, name) = (ids.first().map_or("", String::as_str), ids.get(1).map_or("", String::as_str));
    let asset = ASSETS.iter().find(|asset| asset.name == name && asset.digest == digest);
    let asset = asset.ok_or(Stop::Missing)?;
    let says = |name: header::HeaderName, word: &str| {
        headers.get_all(name).iter().any(|value| value.to_str().is_ok_and(|text| text.contains(word)))
    };
    let tag = format!("\"{}\"", asset.digest);
    let mut reply = if says(header::IF_NONE_MATCH, &tag) {
        reply_empty(StatusCode::NOT_MODIFIED)
    } else {
        match asset.small.as_ref().filter(|_| says(header::ACCEPT_ENCODING, "gzip")) {
            Some(small) => {
                let mut reply = reply_bytes(StatusCode::OK, asset.media, small.clone());
                reply.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                reply
            }
            None => reply_bytes(StatusCode::OK, asset.media, Bytes::from_static(asset.bytes)),
        }
    };
    let set = reply.headers_mut();
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        set.insert(header::ETAG, tag);
    }
    set.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    let lasting = HeaderValue::from_static("public, max-age=31536000, immutable");
    set.insert(header::CACHE_CONTROL, lasting);
    set.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(reply)
}

/// The route's entry in the list; assets are answered before anybody is asked who they are.
pub(super) async fn serve(_web: &Web, visit: Visit) -> Result<Reply, Stop> {
    Err(Stop::Go(visit.path))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    // Page weight below 400 KiB compressed
    #[test]
    fn all_that_a_page_can_load_is_light() {
        let weight: usize = ASSETS.iter().filter_map(|asset| asset.small.as_ref()).map(Bytes::len).sum();
        assert!(weight < 300 << 10, "{weight} bytes");
        assert!(ASSETS.iter().all(|asset| asset.small.is_some()));
    }

    #[test]
    fn an_asset_is_cached_for_ever_under_its_digest_alone() {
        let path = path("app.css");
        let ids: Vec<String> = path.split('/').skip(2).map(str::to_owned).collect();
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("br, gzip"));
        let reply = answer(&ids, &headers).unwrap();
        assert_eq!(reply.status(), StatusCode::OK);
        assert_eq!(reply.headers()[header::CONTENT_ENCODING], "gzip");
        assert!(reply.headers()[header::CACHE_CONTROL].to_str().unwrap().ends_with("immutable"));
        headers.insert(header::IF_NONE_MATCH, reply.headers()[header::ETAG].clone());
        assert_eq!(answer(&ids, &headers).unwrap().status(), StatusCode::NOT_MODIFIED);
        assert!(answer(&["other".to_owned(), "app.css".to_owned()], &headers).is_err());
    }
}
