//! The pages for administrators, and what whoever is signed in may do with their own account, as a browser without scripts sees them.

use kalends::auth::Scope;
use kalends::calendar::NewPrincipal;

use crate::app::say;
use crate::dialogue::{Host as _, Setup, password};
use crate::host::Served;
use crate::pages::{Browser, between, body, location};

const SECRET: &str = "smtps://kalends:hidden-one@127.0.0.1:9";

/// A server with an administrator beside anna and bert.
fn served(config: &[&str]) -> Served {
    let config = config.iter().map(|line| (*line).to_owned()).collect();
    let served = Served::start(&Setup { config, ..Setup::default() }).unwrap();
    let root = NewPrincipal {
        name: "root".into(),
        password: password("root"),
        admin: true,
        ..NewPrincipal::default()
    };
    served.runtime().block_on(served.guard().add_user(root)).unwrap();
    served
}

fn signed_in<'a>(served: &'a Served, user: &str) -> Browser<'a> {
    let mut browser = Browser::new(served);
    location(&browser.enter(user, &password(user), "/"));
    browser
}

/// Issue 5: administration; the pages are for administrators, and others are told so in plain words.
#[test]
fn only_administrators_administer() {
    let served = served(&[]);
    let (mut root, mut anna) = (signed_in(&served, "root"), Browser::anna(&served));
    assert!(body(&root.get("/account")).contains("href=\"/admin\""));
    assert!(!body(&anna.get("/account")).contains("href=\"/admin\""));
    let pages = [
        "/admin",
        "/admin/users",
        "/admin/new-user",
        "/admin/users/anna",
        "/admin/tokens",
        "/admin/configuration",
    ];
    for path in pages {
        let page = root.get(path);
        assert_eq!(page.status, 200, "{path}: {}", page.show());
        let text = body(&page);
        assert!(text.contains("aria-current=\"page\"") && text.contains("<h1"), "{path}: {text}");
        let refused = anna.get(path);
        assert_eq!(refused.status, 403, "{path}");
        assert!(body(&refused).contains("For administrators"), "{}", refused.show());
        assert!(location(&Browser::new(&served).get(path)).starts_with("/sign-in?next="));
    }
    for path in [
        "/admin/users",
        "/admin/users/anna",
        "/admin/users/anna/password",
        "/admin/users/bert/remove",
        "/admin/tokens",
    ] {
        let form = [("name", "eve"), ("password", "x"), ("again", "x"), ("confirm", "bert"), ("admin", "on")];
        assert_eq!(anna.post(path, &form).status, 403, "{path}");
    }
    assert_eq!(root.get("/admin/users/nobody").status, 404);
    assert!(!body(&root.get("/admin/users")).contains("users/eve"));
}

/// Issue 5: store and queue health in plain words.
#[test]
fn health_is_told_in_plain_words() {
    let served = served(&[]);
    let page = body(&signed_in(&served, "root").get("/admin"));
    for words in ["Store", "Answers", "Nothing waits", "have an account", "Kalends 0."] {
        assert!(page.contains(words), "{words}: {page}");
    }
}

/// Issue 5: users are made, changed, given another password, removed after a question; errors stand at their fields with the values kept.
#[test]
fn an_administrator_looks_after_accounts() {
    let served = served(&[]);
    let mut root = signed_in(&served, "root");
    let wrong = [
        ("name", "Eve Two"),
        ("display_name", "<b>Eve</b>"),
        ("emails", "eve@example.org"),
        ("password", ""),
        ("again", ""),
    ];
    let refused = root.post("/admin/users", &wrong);
    let page = body(&refused);
    assert_eq!(refused.status, 422, "{page}");
    assert!(
        page.contains("value=\"Eve Two\"")
            && page.contains("&#60;b&#62;Eve")
            && page.contains("id=\"h-name\""),
        "{page}"
    );
    let differ = [("name", "eve"), ("password", "one of them"), ("again", "the other")];
    let page = body(&root.post("/admin/users", &differ));
    assert!(page.contains("id=\"h-again\"") && !page.contains("one of them"), "{page}");

    let good = [
        ("name", "eve"),
        ("display_name", "<b>Eve</b>"),
        ("emails", "eve@example.org, e@example.org"),
        ("password", "four words of hers"),
        ("again", "four words of hers"),
    ];
    assert_eq!(location(&root.post("/admin/users", &good)), "/admin/users/eve?said=made");
    let taken = root.post("/admin/users", &good);
    assert!(taken.status == 409 || taken.status == 422, "{}", taken.show());
    let mut eve = Browser::new(&served);
    location(&eve.enter("eve", "four words of hers", "/"));

    // Two administrators at the same time: the second is told.
    let page = body(&root.get("/admin/users/eve"));
    assert!(page.contains("eve@example.org, e@example.org") && page.contains("&#60;b&#62;Eve"), "{page}");
    let etag = between(&page, "name=\"etag\" value=\"", "\"").to_owned();
    let change = [("etag", etag.as_str()), ("display_name", "Eve"), ("emails", "not one"), ("admin", "on")];
    let refused = root.post("/admin/users/eve", &change);
    assert_eq!(refused.status, 422);
    assert!(
        body(&refused).contains("id=\"h-emails\"") && body(&refused).contains("value=\"not one\""),
        "{}",
        refused.show()
    );
    let change =
        [("etag", etag.as_str()), ("display_name", "Eve"), ("emails", "eve@example.org"), ("admin", "on")];
    assert_eq!(location(&root.post("/admin/users/eve", &change)), "/admin/users/eve?said=saved");
    assert_eq!(eve.get("/admin").status, 200, "an administrator from now on");
    let late = root.post("/admin/users/eve", &change);
    assert!(late.status == 422 && body(&late).contains("role=\"alert\""), "{}", late.show());

    let weak = root.post("/admin/users/eve/password", &[("password", "eve"), ("again", "eve")]);
    assert!(weak.status == 200 && body(&weak).contains("weak"), "{}", weak.show());
    assert!(location(&eve.get("/account")).starts_with("/sign-in"), "whoever had the old one is out");
    location(&Browser::new(&served).enter("eve", "eve", "/"));

    assert_eq!(root.post("/admin/users/eve/remove", &[("confirm", "bert")]).status, 422);
    assert_eq!(
        location(&root.post("/admin/users/eve/remove", &[("confirm", "eve")])),
        "/admin/users?said=removed"
    );
    assert_eq!(root.get("/admin/users/eve").status, 404);
    let last = root.post("/admin/users/root/remove", &[("confirm", "root")]);
    assert!(last.status == 422 && body(&last).contains("role=\"alert\""), "{}", last.show());
}

/// Issue 5: tokens are made with scopes and shown once, listed, revoked; script in a label is text.
#[test]
fn tokens_of_programs_are_shown_once_and_revoked() {
    let served = served(&[]);
    let mut root = signed_in(&served, "root");
    let none = root.post("/admin/tokens", &[("user", "anna"), ("label", "booking page")]);
    assert!(none.status == 422 && body(&none).contains("value=\"booking page\""), "{}", none.show());
    let form = [
        ("user", "anna"),
        ("label", "<script>"),
        ("scopes.read", "on"),
        ("scopes.events", "on"),
        ("_once", "first-of-its-kind"),
    ];
    let made = body(&root.post("/admin/tokens", &form));
    let token = between(&made, "class=\"secret\">", "<").to_owned();
    assert!(made.contains("&#60;script&#62;") && made.contains("read, events"), "{made}");
    // A double click makes one.
    assert_eq!(between(&body(&root.post("/admin/tokens", &form)), "class=\"secret\">", "<"), token);
    let list = body(&root.get("/admin/tokens"));
    assert!(list.matches("&#60;script&#62;").count() == 1 && !list.contains(&token), "{list}");
    let asked = |token: &str| say(&served, token, ("GET", "/calendars"), &[], None).status;
    assert_eq!(asked(&token), 200);
    assert_eq!(say(&served, &token, ("GET", "/users"), &[], None).status, 403);
    let revoke = format!("/admin/tokens/{}", between(&list, "action=\"/admin/tokens/", "\""));
    assert_eq!(location(&root.post(&revoke, &[])), "/admin/tokens");
    assert_eq!(asked(&token), 401);
    assert_eq!(
        root.post("/admin/tokens", &[("user", "gone"), ("label", "x"), ("scopes.read", "on")]).status,
        422
    );
}

/// Issue 5: configuration with locked values; no secret is shown, here or in the API.
#[test]
fn configuration_is_shown_without_secrets() {
    let secret = format!("smtp_url = \"{SECRET}\"");
    let config = ["[mail]", &secret, "from = \"k@example.org\"", "[limits]", "objects = 4321"];
    let served = served(&config);
    let page = body(&signed_in(&served, "root").get("/admin/configuration"));
    assert!(page.contains("<code>4321</code>") && page.contains("from the file"), "{page}");
    assert!(page.contains("set, not shown") && page.contains("30 d"), "{page}");
    assert!(!page.contains("hidden-one"), "{page}");
    let token = served.token("root", "admin").unwrap();
    let answer = say(&served, &token, ("GET", "/configuration?limit=500"), &[], None);
    let document: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let of = |key: &str| {
        document["items"].as_array().unwrap().iter().find(|one| one["key"] == key).unwrap().clone()
    };
    assert_eq!(
        (&of("limits.objects")["value"], &of("limits.objects")["locked"]),
        (&"4321".into(), &true.into())
    );
    assert_eq!(
        (&of("mail.smtp_url")["value"], &of("mail.smtp_url")["secret"]),
        (&serde_json::Value::Null, &true.into())
    );
    assert_eq!(of("retention.trash")["source"], "default");
    assert!(!body(&answer).contains("hidden-one"));
    let reader = served.token("root", "read").unwrap();
    assert_eq!(say(&served, &reader, ("GET", "/configuration"), &[], None).status, 403);
}

/// Decision 022: the passwords of one's own devices are asked of the API on a page; a token still needs the scope `admin`, and nobody
/// reaches those of others.
#[test]
fn people_look_after_their_own_devices_alone() {
    let served = served(&[]);
    let mut anna = Browser::anna(&served);
    let form = [("label", "phone"), ("_once", "the-same-wish-twice")];
    let first = between(&body(&anna.post("/devices", &form)), "class=\"secret\">", "<").to_owned();
    let again = between(&body(&anna.post("/devices", &form)), "class=\"secret\">", "<").to_owned();
    assert_eq!(first, again, "a double click makes one password");
    assert_eq!(body(&anna.get("/devices")).matches("<strong>phone</strong>").count(), 1);
    let long = "x".repeat(201);
    let refused = anna.post("/devices", &[("label", &long)]);
    assert!(refused.status == 422 && body(&refused).contains("id=\"h-label\""), "{}", refused.show());
    let all =
        [Scope::Read, Scope::Events, Scope::Bookings, Scope::Bridges].map(|scope| scope.as_str()).join(" ");
    let token = served.token("anna", &all).unwrap();
    for (method, path) in
        [("GET", "/users/anna/app-passwords"), ("GET", "/users/bert/app-passwords"), ("GET", "/users/anna")]
    {
        assert_eq!(say(&served, &token, (method, path), &[], None).status, 403, "{path}");
    }
}

/// Requests for pages are counted as those of programs are; who comes too often is told when to come again.
#[test]
fn pages_are_counted_like_requests_of_programs() {
    let served = served(&["[limits]", "requests_per_minute = 6", "requests_per_minute_unknown = 4"]);
    let mut anna = Browser::anna(&served);
    let answers: Vec<_> = (0..12).map(|_| anna.get("/account")).collect();
    let passed = answers.iter().filter(|answer| answer.status == 200).count();
    assert!((6..9).contains(&passed), "{passed}");
    let slow = answers.iter().find(|answer| answer.status == 429).unwrap();
    assert!(slow.all("retry-after")[0].parse::<u64>().unwrap() >= 1);
    assert!(body(slow).contains("A little slower, please"), "{}", slow.show());
    let part = anna.ask("GET", "/notifications/count", &[("HX-Request", "true")], &[]);
    assert_eq!((part.status, part.all("hx-retarget")), (429, vec!["#toasts"]));
    // What pages are dressed in is not counted.
    let css = between(&body(&answers[0]), "rel=\"stylesheet\" href=\"", "\"").to_owned();
    assert_eq!(anna.get(&css).status, 200);
    let mut nobody = Browser::new(&served);
    let statuses: Vec<u16> = (0..12).map(|_| nobody.get("/sign-in").status).collect();
    assert!(statuses.contains(&429) && statuses.contains(&200), "{statuses:?}");
}
