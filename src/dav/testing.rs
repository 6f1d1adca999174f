//! A scope for unit tests: a temporary store, the account `anna`, a clock that stands still.

use std::sync::Arc;

use super::Scope;
use crate::calendar::{Clock, House, Limits, NewPrincipal};
use crate::http::Site;
use crate::store::{Origin, Sled, Timestamp};

struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp(1_800_000_000_000)
    }
}

pub(super) async fn scope() -> Scope {
    let store = Sled::temporary().unwrap();
    let house = House::new(Arc::new(store), Arc::new(Still), Limits::default());
    let new = NewPrincipal { name: "anna".into(), ..NewPrincipal::default() };
    let anna = house.add_principal(new).await.unwrap();
    Scope {
        session: house.session(anna, Origin::System),
        site: Arc::new(Site::new("http://127.0.0.1:8008/").unwrap()),
        hosts: [None, None],
        minimal: false,
        locking: Arc::default(),
    }
}

pub(super) fn request(method: &str, path: &str, body: &str) -> crate::http::Request {
    crate::http::Request {
        method: http::Method::from_bytes(method.as_bytes()).unwrap(),
        path: path.to_owned(),
        query: None,
        headers: http::HeaderMap::new(),
        peer: std::net::Ipv4Addr::LOCALHOST.into(),
        body: crate::http::body(bytes::Bytes::from(body.to_owned())),
    }
}
