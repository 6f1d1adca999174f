//! PUT, MKCOL, DELETE, COPY and MOVE against a model: a map from paths to what is there.

use std::collections::BTreeMap;

use http::HeaderValue;
use proptest::prelude::*;

use crate::calendar::Readable;
use crate::dav::testing::{request, scope};
use crate::dav::{Scope, method};

type Path = Vec<&'static str>;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    Copy,
    Shallow,
    Move,
}

#[derive(Debug, Clone)]
enum Act {
    Put(Path, u8),
    Mkcol(Path),
    Delete(Path),
    Transfer(Form, Path, Path, bool),
}

/// Nothing: a collection.
type Tree = BTreeMap<Path, Option<u8>>;

fn path() -> impl Strategy<Value = Path> {
    prop::collection::vec(prop_oneof![Just("a"), Just("b c")], 1..4)
}

fn act() -> impl Strategy<Value = Act> {
    let form = prop_oneof![Just(Form::Copy), Just(Form::Shallow), Just(Form::Move)];
    prop_oneof![
        3 => (path(), any::<u8>()).prop_map(|(at, content)| Act::Put(at, content)),
        3 => path().prop_map(Act::Mkcol),
        1 => path().prop_map(Act::Delete),
        4 => (form, path(), path(), any::<bool>()).prop_map(|(f, from, to, o)| Act::Transfer(f, from, to, o)),
    ]
}

fn is_collection(tree: &Tree, at: &[&'static str]) -> bool {
    at.is_empty() || tree.get(at) == Some(&None)
}

fn inside(inner: &[&str], outer: &[&str]) -> bool {
    inner.starts_with(outer)
}

fn without(tree: &mut Tree, at: &Path) {
    tree.retain(|path, _| !inside(path, at));
}

/// Does it to the model and returns the status that RFC 4918 asks for.
fn expect(tree: &mut Tree, act: &Act) -> u16 {
    let parent = |at: &Path| at.split_last().map(|(_, rest)| rest.to_vec()).unwrap();
    match act {
        Act::Put(at, _) | Act::Mkcol(at) if !is_collection(tree, &parent(at)) => 409,
        Act::Put(at, content) => match tree.get(at) {
            Some(None) => 405,
            before => {
                let status = if before.is_some() { 204 } else { 201 };
                tree.insert(at.clone(), Some(*content));
                status
            }
        },
        Act::Mkcol(at) if tree.contains_key(at) => 405,
        Act::Mkcol(at) => {
            tree.insert(at.clone(), None);
            201
        }
        Act::Delete(at) if tree.contains_key(at) => {
            without(tree, at);
            204
        }
        Act::Delete(_) => 404,
        Act::Transfer(form, from, to, overwrite) => transfer(tree, *form, from, to, *overwrite, &parent(to)),
    }
}

fn transfer(tree: &mut Tree, form: Form, from: &Path, to: &Path, overwrite: bool, into: &Path) -> u16 {
    let Some(source) = tree.get(from).copied() else { return 404 };
    let there = tree.contains_key(to);
    match () {
        () if from == to => 403,
        () if !is_collection(tree, into) => 409,
        () if there && !overwrite => 412,
        // Neither into itself nor over what it is in.
        () if (source.is_none() && inside(to, from)) || inside(from, to) => 403,
        () => {
            let moved: Vec<_> = tree
                .iter()
                .filter(|(path, _)| inside(path, from) && (form != Form::Shallow || *path == from))
                .map(|(path, node)| ([&to[..], &path[from.len()..]].concat(), *node))
                .collect();
            without(tree, to);
            if form == Form::Move {
                without(tree, from);
            }
            tree.extend(moved);
            if there { 204 } else { 201 }
        }
    }
}

fn url(at: &Path) -> String {
    format!("/dav/files/anna/{}", at.join("/").replace(' ', "%20"))
}

async fn carry_out(scope: &Scope, act: &Act) -> u16 {
    let request = match act {
        Act::Put(at, content) => request("PUT", &url(at), &content.to_string()),
        Act::Mkcol(at) => request("MKCOL", &url(at), ""),
        Act::Delete(at) => request("DELETE", &url(at), ""),
        Act::Transfer(form, from, to, overwrite) => {
            let name = if *form == Form::Move { "MOVE" } else { "COPY" };
            let mut request = request(name, &url(from), "");
            let mut set =
                |name, value: &str| request.headers.insert(name, HeaderValue::from_str(value).unwrap());
            set("destination", &url(to));
            set("overwrite", if *overwrite { "T" } else { "F" });
            if *form == Form::Shallow {
                set("depth", "0");
            }
            request
        }
    };
    match method::serve(scope.clone(), request).await {
        Ok(reply) => reply.status().as_u16(),
        Err(denied) => denied.explain("/").status.as_u16(),
    }
}

async fn walk(at: &Readable, path: Vec<String>, out: &mut BTreeMap<Vec<String>, Option<u8>>) {
    for meta in at.list(None, 100).await.unwrap() {
        let object = at.object(meta.name.as_str()).await.unwrap().unwrap();
        let content = std::str::from_utf8(&object.bytes).unwrap().parse().unwrap();
        out.insert([&path[..], &[meta.name.to_string()]].concat(), Some(content));
    }
    for child in at.children().await.unwrap() {
        let path = [&path[..], &[child.collection().name.to_string()]].concat();
        out.insert(path.clone(), None);
        Box::pin(walk(&child, path, out)).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn collections_and_files_are_as_the_model_says(acts in prop::collection::vec(act(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let scope = scope().await;
            let mut tree = Tree::new();
            for act in &acts {
                let expected = expect(&mut tree, act);
                let got = carry_out(&scope, act).await;
                prop_assert_eq!(got, expected, "{:?} in {:?}", act, acts);
            }
            let mut found = BTreeMap::new();
            let files = scope.session.files().await.unwrap();
            walk(&files, Vec::new(), &mut found).await;
            let wanted: BTreeMap<Vec<String>, Option<u8>> =
                tree.iter().map(|(path, node)| (path.iter().map(|s| (*s).to_owned()).collect(), *node)).collect();
            prop_assert_eq!(found, wanted, "after {:?}", acts);
            Ok(())
        })?;
    }
}
