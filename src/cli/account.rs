//! `kalends user`, `app-password`, `token`.

use std::io::{IsTerminal as _, Write as _};

use clap::Subcommand;
use serde_json::Value;

use super::{ask, show};
use crate::auth::{Scope, password};
use crate::config::Config;
use crate::server::admin::{Hushed, Op};

/// Accounts
#[derive(Debug, Subcommand)]
pub(super) enum User {
    /// Make an account with the calendar `calendar` and the task list `tasks`
    #[command(after_help = "Example:\n  kalends user add anna --email anna@example.org\n\
                            \x20 printf '%s\\n' \"$PASSWORD\" | kalends user add anna --password-stdin")]
    Add {
        /// Login name; kept in lower case
        name: String,
        /// Read the password from one line of standard input instead of asking twice
        #[arg(long)]
        password_stdin: bool,
        /// A mail address; the first one is the preferred one
        #[arg(long = "email", value_name = "ADDRESS")]
        emails: Vec<String>,
        /// Name shown to people
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        display_name: String,
        /// May administer the server
        #[arg(long)]
        admin: bool,
    },
    /// List accounts
    #[command(after_help = "Example:\n  kalends user list --json")]
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Set an account's password; app passwords stay valid
    #[command(after_help = "Example:\n  kalends user passwd anna")]
    Passwd {
        /// Login name
        name: String,
        /// Read the password from one line of standard input instead of asking twice
        #[arg(long)]
        password_stdin: bool,
    },
    /// Remove an account with all its calendars, files, app passwords and tokens
    #[command(after_help = "Example:\n  kalends user remove anna --yes")]
    Remove {
        /// Login name
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

impl User {
    pub(super) async fn run(self, config: &Config) -> Result<(), String> {
        match self {
            User::Add { name, password_stdin, emails, display_name, admin } => {
                let password = ask_password(&name, password_stdin)?;
                let (_, made) =
                    ask(config, Op::UserAdd { name, display_name, emails, admin, password }).await?;
                say!("User {} added.", text(&made, "name"));
            }
            User::List { json } => {
                let (items, _) = ask(config, Op::UserList).await?;
                show::list(&items, &["name", "display_name", "emails", "admin", "created"], json);
            }
            User::Passwd { name, password_stdin } => {
                let password = ask_password(&name, password_stdin)?;
                let (_, changed) = ask(config, Op::UserPasswd { name, password }).await?;
                say!("Password of {} changed.", text(&changed, "name"));
            }
            User::Remove { name, yes } => {
                if !yes && !confirmed(&format!("Remove {name} with all calendars and files?"))? {
                    return Err("nothing was removed".into());
                }
                let (_, removed) = ask(config, Op::UserRemove { name }).await?;
                say!("User {} removed.", text(&removed, "name"));
            }
        }
        Ok(())
    }
}

/// Passwords for single devices
#[derive(Debug, Subcommand)]
pub(super) enum AppPassword {
    /// Make a password for one device; it is shown once
    #[command(after_help = "Example:\n  kalends app-password add anna \"Anna's phone\"")]
    Add {
        /// Login name
        user: String,
        /// What it is for
        label: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// List an account's app passwords
    #[command(after_help = "Example:\n  kalends app-password list anna")]
    List {
        /// Login name
        user: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Revoke one; the device's next request is refused
    #[command(after_help = "Example:\n  kalends app-password revoke anna \"Anna's phone\"")]
    Revoke {
        /// Login name
        user: String,
        /// Its id or its label
        which: String,
    },
}

impl AppPassword {
    pub(super) async fn run(self, config: &Config) -> Result<(), String> {
        match self {
            AppPassword::Add { user, label, json } => {
                let (_, made) = ask(config, Op::AppPasswordAdd { user, label }).await?;
                shown_once(&made, "password", json);
            }
            AppPassword::List { user, json } => {
                let (items, _) = ask(config, Op::AppPasswordList { user }).await?;
                show::list(&items, &["id", "label", "created"], json);
            }
            AppPassword::Revoke { user, which } => {
                let (_, revoked) = ask(config, Op::AppPasswordRevoke { user, which }).await?;
                say!("App password {:?} revoked.", text(&revoked, "label"));
            }
        }
        Ok(())
    }
}

/// Tokens for programs
#[derive(Debug, Subcommand)]
pub(super) enum Token {
    /// Make a token for one program; it is shown once
    #[command(after_help = "Example:\n  kalends token add anna \"home page\" --scope read --scope bookings")]
    Add {
        /// Login name
        user: String,
        /// What it is for
        label: String,
        /// What it allows: read, events, bookings, bridges, admin
        #[arg(long = "scope", value_name = "SCOPE", required = true, value_delimiter = ',')]
        scopes: Vec<Scope>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// List tokens
    #[command(after_help = "Example:\n  kalends token list anna --json")]
    List {
        /// Login name; without it, all
        user: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Revoke one; the program's next request is refused
    #[command(after_help = "Example:\n  kalends token revoke anna \"home page\"")]
    Revoke {
        /// Login name
        user: String,
        /// Its id or its label
        which: String,
    },
}

impl Token {
    pub(super) async fn run(self, config: &Config) -> Result<(), String> {
        match self {
            Token::Add { user, label, scopes, json } => {
                let (_, made) = ask(config, Op::TokenAdd { user, label, scopes }).await?;
                shown_once(&made, "token", json);
            }
            Token::List { user, json } => {
                let (items, _) = ask(config, Op::TokenList { user }).await?;
                show::list(&items, &["id", "user", "label", "scopes", "created"], json);
            }
            Token::Revoke { user, which } => {
                let (_, revoked) = ask(config, Op::TokenRevoke { user, which }).await?;
                say!("Token {:?} revoked.", text(&revoked, "label"));
            }
        }
        Ok(())
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// Shows a secret that cannot be shown again: alone on standard output, so that it can be piped.
fn shown_once(made: &Value, field: &str, json: bool) {
    if json {
        say!("{}", serde_json::to_string_pretty(made).unwrap_or_default());
    } else {
        say!("{}", text(made, field));
        eprintln!("It cannot be shown again. Its id, for revoking it: {}", text(made, "id"));
    }
}

/// Asks for a new password and says if it is weak; that is a warning, not a refusal.
fn ask_password(name: &str, stdin: bool) -> Result<Hushed, String> {
    let password = if stdin {
        let mut line = String::new();
        std::io::stdin()
            .read_line(&mut line)
            .map_err(|error| format!("no password on standard input: {error}"))?;
        line.trim_end_matches(['\r', '\n']).to_owned()
    } else if std::io::stdin().is_terminal() {
        let asked = |prompt: &str| {
            rpassword::prompt_password(prompt)
                .map_err(|error| format!("the password cannot be read: {error}"))
        };
        let first = asked(&format!("Password for {name}: "))?;
        if first != asked("Once more: ")? {
            return Err("the two passwords differ; nothing was changed".into());
        }
        first
    } else {
        return Err("there is no terminal to ask for the password; use --password-stdin".into());
    };
    if password.is_empty() {
        return Err("the password is empty".into());
    }
    if let Some(weakness) = password::weakness(&password, name) {
        eprintln!("Warning: this password is weak: {weakness}.");
    }
    Ok(Hushed(password))
}

/// Asks a question that is answered with yes.
pub(super) fn confirmed(question: &str) -> Result<bool, String> {
    if !std::io::stdin().is_terminal() {
        return Err("there is no terminal to ask on; say --yes if you are sure".into());
    }
    eprint!("{question} [y/N] ");
    let _ = std::io::stderr().flush();
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).map_err(|error| error.to_string())?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}
