//! The WebDAV door without a server around it: for tests that say thousands of things, or choose the store.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use kalends::calendar::{Clock, House, Limits, NewPrincipal};
use kalends::dav::{Dav, Options};
use kalends::http::{Reply, Request};
use kalends::store::{Origin, Store, Timestamp};

/// A clock that stands still.
pub(crate) struct Fixed;

impl Fixed {
    pub(crate) const NOW: Timestamp = Timestamp(1_780_000_000_000);
}

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        Fixed::NOW
    }
}

/// The door of a house where anna lives.
pub(crate) struct Door {
    pub(crate) house: Arc<House>,
    dav: Dav,
}

/// What came: the status, and the body unless it broke off.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) status: u16,
    pub(crate) body: Option<Vec<u8>>,
}

impl Heard {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(self.body.as_deref().unwrap_or_default()).into_owned()
    }
}

impl Door {
    pub(crate) async fn over(store: Arc<dyn Store>) -> Door {
        Door::at(store, Arc::new(Fixed)).await
    }

    pub(crate) async fn at(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Door {
        let house = House::new(store, clock, Limits::default());
        let anna = NewPrincipal { name: "anna".into(), ..NewPrincipal::default() };
        house.add_principal(anna).await.unwrap();
        let options = Options { base_url: "http://kalends.test/".into(), decoy: true };
        Door { dav: Dav::new(Arc::clone(&house), options).unwrap(), house }
    }

    /// Says something as anna. `ready` is called when all that is not the request itself has been read.
    pub(crate) async fn say(
        &self,
        method: &str,
        path: &str,
        headers: &[(&'static str, &str)],
        body: impl Into<Bytes>,
        ready: impl FnOnce(),
    ) -> Heard {
        let reply = self.ask(method, path, headers, body, ready).await;
        let status = reply.status().as_u16();
        let body = reply.into_body().collect().await.ok().map(|body| body.to_bytes().to_vec());
        Heard { status, body }
    }

    /// As `say`, the body left unread.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&'static str, &str)],
        body: impl Into<Bytes>,
        ready: impl FnOnce(),
    ) -> Reply {
        let anna = self.house.principal("anna").await.unwrap().unwrap();
        let session = self.house.session(anna, Origin::System);
        let request = Request {
            method: method.parse().unwrap(),
            path: path.into(),
            query: None,
            headers: headers.iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect(),
            peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
            body: Full::new(body.into()).map_err(|never| match never {}).boxed_unsync(),
        };
        ready();
        self.dav.serve(request, session).await
    }
}

/// Chance that is the same in every run.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn throw(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }
}
