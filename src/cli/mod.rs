//! The command line: what a person types, and what they read.
//!
//! Owns: arguments, prompts, tables and JSON on standard output, one clear line on standard error on failure.
//! Does not own: what a command does (`server::admin`).

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the command line speaks on the terminal")]

/// Prints a line. Whoever has read enough, as `head` has, is no failure.
macro_rules! say {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($words)*);
    }};
}

mod account;
mod backup;
mod calendar;
mod check;
mod demo;
mod import;
mod serve;
mod show;
mod simulate;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde_json::Value;

use crate::config::Config;
use crate::server::admin::{Line, Op, begin};

/// A CalDAV server.
///
/// Runs with no configuration at all: `kalends` serves http://127.0.0.1:8008 and keeps everything in ./kalends-data.
#[derive(Debug, Parser)]
#[command(name = "kalends", version, max_term_width = 100)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What every command takes.
#[derive(Debug, Clone, clap::Args)]
struct Common {
    /// The configuration file [default: kalends.toml here, if there is one]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve calendars (what happens without a command, too)
    Serve(serve::Serve),
    /// Try everything without an account: a furnished server with simulated providers, gone when it ends
    Demo(demo::Demo),
    /// Accounts
    #[command(subcommand)]
    User(account::User),
    /// Passwords for single devices
    #[command(subcommand)]
    AppPassword(account::AppPassword),
    /// Tokens for programs
    #[command(subcommand)]
    Token(account::Token),
    /// Calendars
    #[command(subcommand)]
    Calendar(calendar::Calendar),
    /// Write everything into one file, while the server runs
    Backup(backup::Backup),
    /// Make a store from a backup, where there is none yet
    Restore(backup::Restore),
    /// Verify the configuration and the store
    Check(check::Check),
    /// Seal the providers' passwords and tokens under a new key
    RotateKey(check::RotateKey),
    /// Print the DNS records that let clients find the server by a mail address
    Dns(check::Dns),
    /// Print the OpenAPI document of the JSON API
    #[command(after_help = "Example:\n  kalends openapi > kalends.json")]
    Openapi,
    /// Play a calendar provider, for developers
    Simulate(simulate::Simulate),
}

/// Runs what the arguments say.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("kalends: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), String> {
    // Clients of the bridge need one; a second call in one process is harmless.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (config, notes) = match &arguments.command {
        // It shows the program, not how somebody has set it up.
        Some(Command::Demo(_)) => (Config::default(), Vec::new()),
        _ => Config::load(arguments.common.config.as_deref(), std::env::vars())?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("the runtime cannot start: {error}"))?;
    let command = arguments.command.unwrap_or_else(|| Command::Serve(serve::Serve::default()));
    runtime.block_on(async {
        match command {
            Command::Serve(serve) => serve.run(config, notes).await,
            Command::Demo(demo) => demo.run().await,
            Command::User(user) => user.run(&config).await,
            Command::AppPassword(command) => command.run(&config).await,
            Command::Token(command) => command.run(&config).await,
            Command::Calendar(command) => command.run(&config).await,
            Command::Backup(backup) => backup.run(&config).await,
            Command::Restore(restore) => restore.run(&config).await,
            Command::Check(check) => check.run(&config).await,
            Command::RotateKey(command) => command.run(&config).await,
            Command::Dns(dns) => dns.run(&config),
            Command::Openapi => {
                say!("{}", crate::api::openapi());
                Ok(())
            }
            Command::Simulate(simulate) => simulate.run().await,
        }
    })
}

/// Carries an operation out and returns its items and its outcome.
async fn ask(config: &Config, op: Op) -> Result<(Vec<Value>, Value), String> {
    let mut wire = begin(config, op).await?;
    let mut items = Vec::new();
    while let Some(line) = wire.from.recv().await {
        match line {
            Line::Item { item } => items.push(item),
            Line::Done { outcome } => return Ok((items, outcome)),
            Line::Failed { why } => return Err(why),
            _ => return Err("the server answered with a question".into()),
        }
    }
    Err("the server stopped before it was done".into())
}
