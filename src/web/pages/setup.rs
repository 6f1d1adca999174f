//! The first account: made by whoever has the link that the server prints while nobody has an account.

use std::sync::Mutex;
use std::sync::PoisonError;

use askama::Template;
use http::StatusCode;
use subtle::ConstantTimeEq as _;

use super::sign_in;
use crate::calendar::{Error, NewPrincipal, Refusal};
use crate::http::Reply;
use crate::store::random;
use crate::web::Web;
use crate::web::form::Form;
use crate::web::shell::{Shell, page};
use crate::web::texts::T;
use crate::web::visit::{Stop, Visit};

const FIELDS: &[&str] = &["code", "user", "display_name", "email", "password", "again"];
/// A password of a person has so many characters at least.
const SHORTEST: usize = 8;

/// The way in while nobody has an account.
#[derive(Debug)]
pub(in crate::web) struct First {
    code: String,
    /// The account is being made: once, however many ask.
    made: Mutex<bool>,
}

impl First {
    pub(in crate::web) fn new() -> Result<First, String> {
        let code = random::hex::<20>().map_err(|fault| fault.to_string())?;
        Ok(First { code, made: Mutex::new(false) })
    }

    pub(in crate::web) fn code(&self) -> &str {
        &self.code
    }

    fn is(&self, code: &str) -> bool {
        self.code.as_bytes().ct_eq(code.as_bytes()).into()
    }

    /// Tells whether nobody has an account.
    pub(in crate::web) async fn open(&self, web: &Web) -> Result<bool, Stop> {
        if *self.made.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(false);
        }
        let open = web.guard.house().principals().await?.is_empty();
        if !open {
            // It never opens again while the server runs.
            *self.made.lock().unwrap_or_else(PoisonError::into_inner) = true;
        }
        Ok(open)
    }

    /// Takes the one turn.
    fn take(&self) -> bool {
        !std::mem::replace(&mut *self.made.lock().unwrap_or_else(PoisonError::into_inner), true)
    }

    fn give_back(&self) {
        *self.made.lock().unwrap_or_else(PoisonError::into_inner) = false;
    }
}

#[derive(Template)]
#[template(path = "waiting.html")]
struct Waiting {
    s: Shell,
    address: String,
}

/// What is there for everybody until the link is used.
pub(in crate::web) fn waiting(web: &Web, visit: &Visit) -> Result<Reply, Stop> {
    let shown = Waiting { s: Shell::bare(web, T.welcome), address: web.address(&visit.headers) };
    Ok(page(StatusCode::OK, &shown.s, &shown))
}

#[derive(Template)]
#[template(path = "setup.html")]
struct Setup {
    s: Shell,
    f: Form,
}

fn shown(web: &Web, status: StatusCode, f: Form) -> Reply {
    let shown = Setup { s: Shell::bare(web, T.setup_title), f };
    page(status, &shown.s, &shown)
}

/// Whether this link makes the first account.
async fn may(web: &Web, code: &str) -> Result<(), Stop> {
    if !web.first.open(web).await? {
        return Err(Stop::Go("/".to_owned()));
    }
    if web.first.is(code) {
        Ok(())
    } else {
        Err(Stop::Refused(StatusCode::FORBIDDEN, T.setup_link_wrong.into()))
    }
}

/// The form for the administrator.
pub(in crate::web) async fn show(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    let code = visit.parameter("code").unwrap_or_default();
    may(web, code).await?;
    let mut form = Form::new(FIELDS);
    form.set("code", code);
    Ok(shown(web, StatusCode::OK, form))
}

/// Makes the administrator and signs them in.
pub(in crate::web) async fn administrator(web: &Web, visit: Visit) -> Result<Reply, Stop> {
    may(web, visit.field("code")).await?;
    let mut form = Form::sent(&visit, FIELDS);
    let password = visit.typed("password");
    if password.chars().count() < SHORTEST {
        form.refuse("password", T.password_short);
    } else if password != visit.typed("again") {
        form.refuse("again", T.password_differs);
    }
    if visit.field("user").is_empty() {
        form.refuse("user", T.user_needed);
    }
    if form.refused() {
        return Ok(shown(web, StatusCode::UNPROCESSABLE_ENTITY, form));
    }
    if !web.first.take() {
        return Err(Stop::Go("/sign-in".to_owned()));
    }
    let email = visit.field("email");
    let new = NewPrincipal {
        name: visit.field("user").to_owned(),
        display_name: visit.field("display_name").to_owned(),
        emails: if email.is_empty() { Vec::new() } else { vec![email.to_owned()] },
        password: password.to_owned(),
        admin: true,
    };
    match web.guard.add_user(new).await {
        Ok(made) => sign_in::begin(web, &visit, &made, "/start").await,
        Err(error) => {
            web.first.give_back();
            match error {
                Error::Refused(Refusal::Exists) => Err(Stop::Go("/sign-in".to_owned())),
                Error::Refused(_) => {
                    form.refuse("user", T.user_wrong);
                    Ok(shown(web, StatusCode::UNPROCESSABLE_ENTITY, form))
                }
                Error::Failed(fault) => Err(fault.into()),
            }
        }
    }
}
