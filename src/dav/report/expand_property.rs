//! `expand-property` (RFC 3253 §3.8): properties whose hrefs are replaced by what they point to.

use std::future::Future;
use std::pin::Pin;

use super::{Report, bad};
use crate::dav::{Asked, Denied, Facts, Kinds, Multistatus, Resource, Scope, Want};
use crate::http::{Depth, Reply};
use crate::xml::{DAV, Element, Limits, Name, Node, Writer, dav, is_name, parse};

/// How many hrefs one report follows.
const FOLLOWED: usize = 1_000;

/// A property that is asked for, and what is asked of whatever its hrefs name.
#[derive(Debug, Clone)]
struct Branch {
    asked: Asked,
    inner: Vec<Branch>,
}

/// The body, understood.
#[derive(Debug)]
pub(super) struct ExpandProperty {
    branches: Vec<Branch>,
}

fn branches(element: &Element) -> Result<Vec<Branch>, Denied> {
    let property = dav("property");
    let mut all = Vec::new();
    for element in element.elements().filter(|e| e.name == property) {
        let Some(local) = element.attribute("name").filter(|name| is_name(name)) else {
            // What comes in as an attribute goes out as an element.
            return Err(bad(
                "A DAV:property of an expand-property must have a name that an element can have.",
            ));
        };
        // RFC 3253 §3.8: without a namespace, DAV: is meant.
        let ns = element.attribute("namespace").unwrap_or(DAV);
        let name = Name::new(ns.to_owned(), local.to_owned());
        all.push(Branch { asked: Asked::new(name), inner: branches(element)? });
    }
    Ok(all)
}

impl Report for ExpandProperty {
    const NAME: Name = dav("expand-property");
    const ON: Kinds = Kinds::ALL;

    fn parse(body: &Element, _scope: &Scope) -> Result<ExpandProperty, Denied> {
        Ok(ExpandProperty { branches: branches(body)? })
    }

    async fn run(self, scope: Scope, at: Resource, depth: Option<Depth>) -> Result<Reply, Denied> {
        Multistatus::answer(scope, move |out| self.answer(out, at, depth)).await
    }
}

impl ExpandProperty {
    async fn answer(
        self,
        mut out: Multistatus,
        at: Resource,
        depth: Option<Depth>,
    ) -> Result<Multistatus, Denied> {
        let mut left = FOLLOWED;
        let scope = out.scope().clone();
        let mut members = at.members(Facts::NONE);
        let response = response(&scope, at, &self.branches, &mut left).await?;
        out.writer().element(&response);
        out.room().await;
        // RFC 3253 §3.6: a Depth above 0 asks the members too; deeper than one level nobody asks.
        if matches!(depth, Some(Depth::One | Depth::Infinity)) {
            while let Some(page) = members.next(&scope).await? {
                for resource in page {
                    let response = self::response(&scope, resource, &self.branches, &mut left).await?;
                    out.writer().element(&response);
                    out.room().await;
                }
            }
        }
        Ok(out)
    }
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = Result<T, Denied>> + Send + 'a>>;

/// Returns the `D:response` of a resource.
fn response<'a>(
    scope: &'a Scope,
    mut resource: Resource,
    branches: &'a [Branch],
    left: &'a mut usize,
) -> Boxed<'a, Element> {
    Box::pin(async move {
        let want = Want::These(branches.iter().map(|branch| branch.asked.clone()).collect());
        resource.load(scope, want.facts()).await?;
        let mut found = Element::new(dav("prop"));
        let mut missing = Element::new(dav("prop"));
        for branch in branches {
            let mut w = Writer::fragment();
            let element = match branch.asked.write(&resource, scope, &mut w) {
                true => parse(&w.take(), Limits::default()).ok(),
                false => None,
            };
            match element {
                Some(mut element) => {
                    if !branch.inner.is_empty() {
                        follow(scope, &mut element, &branch.inner, left).await?;
                    }
                    found.children.push(Node::Element(element));
                }
                None => missing.children.push(Node::Element(Element::new(branch.asked.name.clone()))),
            }
        }
        let mut response = Element::new(dav("response"));
        response.children.push(leaf("href", &resource.path));
        let tell_missing = !missing.children.is_empty() && !scope.minimal;
        if !found.children.is_empty() || !tell_missing {
            response.children.push(propstat(found, "HTTP/1.1 200 OK"));
        }
        if tell_missing {
            response.children.push(propstat(missing, "HTTP/1.1 404 Not Found"));
        }
        Ok(response)
    })
}

/// Replaces every href inside the element by the response of what it names.
fn follow<'a>(
    scope: &'a Scope,
    element: &'a mut Element,
    inner: &'a [Branch],
    left: &'a mut usize,
) -> Boxed<'a, ()> {
    Box::pin(async move {
        let href = dav("href");
        for child in &mut element.children {
            let Node::Element(child) = child else { continue };
            if child.name != href {
                follow(scope, child, inner, left).await?;
                continue;
            }
            if *left == 0 {
                continue;
            }
            *left -= 1;
            let text = child.text();
            let resource = match scope.locate(&text) {
                Ok(target) => Resource::find(scope, &target, Facts::NONE).await?,
                // An address that is no resource of ours, such as mailto: (RFC 3253 §3.8 leaves it as it is).
                Err(_) if !text.trim_start().starts_with('/') => continue,
                Err(_) => None,
            };
            *child = match resource {
                Some(resource) => response(scope, resource, inner, left).await?,
                None => {
                    let mut gone = Element::new(dav("response"));
                    gone.children.push(leaf("href", text.trim()));
                    gone.children.push(leaf("status", "HTTP/1.1 404 Not Found"));
                    gone
                }
            };
        }
        Ok(())
    })
}

fn leaf(name: &'static str, text: &str) -> Node {
    let mut element = Element::new(dav(name));
    element.children.push(Node::Text(text.to_owned()));
    Node::Element(element)
}

fn propstat(prop: Element, status: &str) -> Node {
    let mut propstat = Element::new(dav("propstat"));
    propstat.children.push(Node::Element(prop));
    propstat.children.push(leaf("status", status));
    Node::Element(propstat)
}
