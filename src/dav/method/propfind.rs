//! PROPFIND (RFC 4918 §9.1).

use super::xml_body;
use crate::calendar::Refusal;
use crate::dav::multistatus::Multistatus;
use crate::dav::property::Want;
use crate::dav::resource::Resource;
use crate::dav::{Denied, Protocol, Scope};
use crate::http::{Depth, Href, Reply, Request, depth};

pub(super) async fn serve(scope: Scope, mut request: Request, href: Option<Href>) -> Result<Reply, Denied> {
    let depth = depth(&request.headers)?;
    let body = xml_body(&mut request).await?;
    let want = Want::propfind(body.as_ref())?;
    let href = href.ok_or(Refusal::Missing)?;
    let resource = Resource::at(&scope, &href, want.facts()).await?;
    // RFC 4918 §9.1: absent means infinity, which may be refused.
    let members = match depth {
        Some(Depth::Zero) => None,
        Some(Depth::One) => Some(resource.members(want.facts())),
        Some(Depth::Infinity) | None => return Err(Protocol::FiniteDepth.into()),
    };
    Multistatus::answer(scope, move |mut multistatus| async move {
        multistatus.resource(&resource, &want);
        let Some(mut members) = members else { return Ok(multistatus) };
        let scope = multistatus.scope().clone();
        while let Some(page) = members.next(&scope).await? {
            for member in &page {
                multistatus.resource(member, &want);
                multistatus.room().await;
            }
        }
        Ok(multistatus)
    })
    .await
}
