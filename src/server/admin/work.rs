//! What the operations do, the same in the server and without one.
//!
//! Owns: from an operation to the rules below, and from a refusal to a sentence for the person at the terminal.

use serde_json::{Value, json};

use super::{Line, Office, Op, Wire, backup, calendars, check};
use crate::auth::Scopes;
use crate::calendar::{Error, NewPrincipal, Refusal, login_name};

/// Carries an operation out; lists go over the wire item by item.
pub(super) async fn carry_out(op: Op, office: &Office, wire: &mut Wire) -> Result<Value, String> {
    let guard = &office.guard;
    match op {
        Op::UserAdd { name, display_name, emails, admin, password } => {
            let new = NewPrincipal { name: name.clone(), display_name, emails, admin, password: password.0 };
            let made =
                guard.add_user(new).await.map_err(|error| said(error, &format!("the user {name:?}")))?;
            Ok(json!({ "name": made.name }))
        }
        Op::UserList => {
            for user in guard.house().principals().await.map_err(|fault| fault.to_string())? {
                let item = json!({
                    "name": user.name, "display_name": user.display_name, "emails": user.emails,
                    "admin": user.admin, "created": user.created.0,
                });
                wire.send(Line::Item { item }).await?;
            }
            Ok(Value::Null)
        }
        Op::UserPasswd { name, password } => {
            let name = login_name(&name)?;
            let set = guard.set_password(&name, password.0).await;
            set.map_err(|error| said(error, &format!("the user {name:?}")))?;
            Ok(json!({ "name": name }))
        }
        Op::UserRemove { name } => {
            let name = login_name(&name)?;
            guard.remove_user(&name).await.map_err(|error| said(error, &format!("the user {name:?}")))?;
            Ok(json!({ "name": name }))
        }
        Op::AppPasswordAdd { user, label } => {
            let user = login_name(&user)?;
            let made = guard.add_app_password(&user, &label).await;
            let (kept, secret) = made.map_err(|error| said(error, &format!("the user {user:?}")))?;
            Ok(json!({ "id": kept.id, "user": user, "label": label, "password": secret }))
        }
        Op::AppPasswordList { user } => {
            let user = login_name(&user)?;
            let list = guard
                .app_passwords(&user)
                .await
                .map_err(|error| said(error, &format!("the user {user:?}")))?;
            for kept in list {
                let item = json!({ "id": kept.id, "label": kept.label, "created": kept.created.0 });
                wire.send(Line::Item { item }).await?;
            }
            Ok(Value::Null)
        }
        Op::AppPasswordRevoke { user, which } => {
            let user = login_name(&user)?;
            let revoked = guard.revoke_app_password(&user, &which).await;
            let revoked =
                revoked.map_err(|error| said(error, &format!("the app password {which:?} of {user:?}")))?;
            Ok(json!({ "id": revoked.id, "label": revoked.label }))
        }
        Op::TokenAdd { user, label, scopes } => {
            let user = login_name(&user)?;
            let made = guard.add_token(&user, &label, Scopes::from(scopes)).await;
            let (kept, secret) = made.map_err(|error| said(error, &format!("the user {user:?}")))?;
            Ok(json!({ "id": kept.id, "user": user, "label": label, "scopes": kept.scopes, "token": secret }))
        }
        Op::TokenList { user } => {
            let user = user.map(|user| login_name(&user)).transpose()?;
            let list = guard.tokens(user.as_deref()).await.map_err(|error| said(error, "the tokens"))?;
            for token in list {
                let item = json!({
                    "id": token.id, "user": token.user, "label": token.label, "scopes": token.scopes,
                    "created": token.created.0,
                });
                wire.send(Line::Item { item }).await?;
            }
            Ok(Value::Null)
        }
        Op::TokenRevoke { user, which } => {
            let user = login_name(&user)?;
            let revoked = guard.revoke_token(&user, &which).await;
            let revoked =
                revoked.map_err(|error| said(error, &format!("the token {which:?} of {user:?}")))?;
            Ok(json!({ "id": revoked.id, "label": revoked.label }))
        }
        Op::CalendarList { user } => calendars::list(guard.house(), user, wire).await,
        Op::CalendarAdd { user, calendar } => calendars::add(guard.house(), &user, &calendar).await,
        Op::CalendarRemove { user, name } => calendars::remove(guard.house(), &user, &name).await,
        Op::CalendarExport { user, name } => calendars::export(guard.house(), &user, &name, wire).await,
        Op::CalendarImport { user, dry_run } => calendars::import(guard.house(), &user, dry_run, wire).await,
        Op::Check { repair } => check::check(guard.house(), repair, wire).await,
        Op::Backup => backup::backup(guard.house(), wire).await,
        Op::RotateKey => {
            let house = guard.house();
            let rotated = office.keys()?.rotate(&*house.store, house.clock.now()).await;
            Ok(json!({ "sealed": rotated.map_err(|error| error.to_string())? }))
        }
    }
}

/// Returns an error as a sentence about the thing.
pub(super) fn said(error: Error, thing: &str) -> String {
    match error {
        Error::Failed(fault) => fault.to_string(),
        Error::Refused(Refusal::Missing) => format!("{thing} does not exist"),
        Error::Refused(Refusal::Exists) => format!("{thing} exists already"),
        Error::Refused(Refusal::Protected(why)) => why.to_owned(),
        Error::Refused(Refusal::Bad(why) | Refusal::BadName(why)) => why,
        Error::Refused(Refusal::DiskFull) => "the disk is full; nothing was changed".into(),
        Error::Refused(Refusal::Stale) => {
            format!("{thing} was changed by somebody else meanwhile; try again")
        }
        Error::Refused(Refusal::NotCalendar(problem)) => format!("{thing}: {}", problem.reason),
        Error::Refused(Refusal::TooLarge(most)) => format!("{thing} is larger than {most} bytes"),
        Error::Refused(Refusal::WrongComponent { sent, accepted }) => {
            format!("{thing} holds a {sent}; the calendar takes {} only", accepted.join(", "))
        }
        Error::Refused(Refusal::UidTaken(name)) => format!("{thing}: its UID is taken by {name}"),
        Error::Refused(other) => format!("{thing}: {other:?}"),
    }
}
