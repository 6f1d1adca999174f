//! REPORT (RFC 3253 §3.6): finds the resource and hands the body to the report of that name.

use super::xml_body;
use crate::calendar::Refusal;
use crate::dav::resource::{Facts, Resource};
use crate::dav::{Denied, Scope, report};
use crate::http::{Href, Reply, Request, depth};

pub(super) async fn serve(scope: Scope, mut request: Request, href: Option<Href>) -> Result<Reply, Denied> {
    let depth = depth(&request.headers)?;
    let body = xml_body(&mut request).await?;
    let body = body.ok_or_else(|| Refusal::Bad("A REPORT needs a body that names the report.".into()))?;
    let href = href.ok_or(Refusal::Missing)?;
    let at = Resource::at(&scope, &href, Facts::NONE).await?;
    report::serve(scope, at, depth, body).await
}
