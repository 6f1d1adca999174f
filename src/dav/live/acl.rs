//! RFC 3744 (access control) and RFC 5397 (`current-user-principal`).
//!
//! Each user sees their own resources only, so the list of every resource is the same: all to its owner.

use super::webdav::principal_urn;
use crate::dav::Scope;
use crate::dav::property::{Get, Getter, Property, Set};
use crate::dav::resource::{Facts, Kinds, Node, Resource};
use crate::http::Href;
use crate::xml::{Name, Writer, caldav, dav};

/// What the server sets and `allprop` leaves out.
const fn protected(local: &'static str, on: Kinds, get: Getter) -> Property {
    needing(Facts::NONE, local, on, get)
}

/// The same, where it has to be known whether a member is kept as it is in another calendar.
const fn with_kept(local: &'static str, get: Getter) -> Property {
    needing(Facts::KEPT, local, Kinds::ALL, get)
}

const fn needing(needs: Facts, local: &'static str, on: Kinds, get: Getter) -> Property {
    Property { name: dav(local), on, allprop: false, needs, get: Get::Inside(get), set: Set::Protected }
}

const OWNED: Kinds = Kinds::STORED.or(Kinds::MEMBER).or(Kinds::PRINCIPAL);

pub(super) const ALL: &[Property] = &[
    // RFC 5397 §3.
    protected("current-user-principal", Kinds::ALL, own_principal),
    // RFC 3744 §5.1.
    protected("owner", OWNED, own_principal),
    // RFC 3744 §5.2.
    protected("group", OWNED, |_, _, _| true),
    // RFC 3744 §5.3.
    protected("supported-privilege-set", Kinds::ALL, supported_privilege_set),
    // RFC 3744 §5.4. Thunderbird takes a calendar for read-only without a `write` here.
    with_kept("current-user-privilege-set", current_user_privilege_set),
    // RFC 3744 §5.5.
    with_kept("acl", acl),
    // RFC 3744 §5.6: nothing can be set.
    protected("acl-restrictions", Kinds::ALL, |_, _, w| {
        w.empty(&dav("grant-only"));
        w.empty(&dav("no-invert"));
        true
    }),
    // RFC 3744 §5.7.
    protected("inherited-acl-set", Kinds::ALL, |_, _, _| true),
    // RFC 3744 §5.8.
    protected("principal-collection-set", Kinds::ALL, |_, scope, w| {
        w.leaf(&dav("href"), &scope.site.path(&Href::Principals));
        true
    }),
    // RFC 3744 §4.1.
    protected("alternate-URI-set", Kinds::PRINCIPAL, |_, scope, w| {
        w.leaf(&dav("href"), &principal_urn(scope));
        true
    }),
    // RFC 3744 §4.2.
    protected("principal-URL", Kinds::PRINCIPAL, own_principal),
    // RFC 3744 §4.3.
    protected("group-member-set", Kinds::PRINCIPAL, |_, _, _| true),
    // RFC 3744 §4.4.
    protected("group-membership", Kinds::PRINCIPAL, |_, _, _| true),
];

fn own_principal(_: &Resource, scope: &Scope, w: &mut Writer) -> bool {
    w.leaf(&dav("href"), &scope.principal_path());
    true
}

fn privileges(r: &Resource, scope: &Scope) -> &'static [&'static str] {
    match &r.node {
        Node::Collection(at) => scope.session.privileges(at.collection()),
        Node::Member(at, _) => scope.session.privileges_of_member(at.collection(), r.kept),
        Node::Place(_) | Node::Principal => &["read", "read-current-user-privilege-set"],
    }
}

fn privilege(name: &'static str) -> Name {
    match name {
        "read-free-busy" => caldav(name),
        _ => dav(name),
    }
}

fn write_privileges(r: &Resource, scope: &Scope, w: &mut Writer) {
    for name in privileges(r, scope) {
        w.open(&dav("privilege"));
        w.empty(&privilege(name));
        w.close();
    }
}

fn current_user_privilege_set(r: &Resource, scope: &Scope, w: &mut Writer) -> bool {
    write_privileges(r, scope, w);
    true
}

fn acl(r: &Resource, scope: &Scope, w: &mut Writer) -> bool {
    w.open(&dav("ace"));
    w.open(&dav("principal"));
    match r.kind().has(Kinds::PLACE) {
        true => w.empty(&dav("authenticated")),
        false => w.leaf(&dav("href"), &scope.principal_path()),
    }
    w.close();
    w.open(&dav("grant"));
    write_privileges(r, scope, w);
    w.close();
    w.empty(&dav("protected"));
    w.close();
    true
}

/// A privilege with what it contains and what it means.
struct Branch(&'static str, &'static str, &'static [Branch]);

const TREE: Branch = Branch(
    "all",
    "Everything",
    &[
        Branch(
            "read",
            "Read",
            &[
                Branch("read-current-user-privilege-set", "See one's own privileges", &[]),
                Branch("read-free-busy", "See when the calendar is busy", &[]),
            ],
        ),
        Branch(
            "write",
            "Write",
            &[
                Branch("write-content", "Change content", &[]),
                Branch("write-properties", "Change properties", &[]),
                Branch("bind", "Add members", &[]),
                Branch("unbind", "Remove members", &[]),
            ],
        ),
        Branch("unlock", "Remove somebody's lock", &[]),
    ],
);

fn supported_privilege_set(_: &Resource, _: &Scope, w: &mut Writer) -> bool {
    write_node(&TREE, w);
    true
}

fn write_node(node: &Branch, w: &mut Writer) {
    w.open(&dav("supported-privilege"));
    w.open(&dav("privilege"));
    w.empty(&privilege(node.0));
    w.close();
    w.leaf(&dav("description"), node.1);
    for inner in node.2 {
        write_node(inner, w);
    }
    w.close();
}
