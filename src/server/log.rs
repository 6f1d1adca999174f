//! What the server says on standard error, as text or as JSON lines.
//!
//! Owns: format and level. Does not own: what is said; nothing below this layer writes secrets, bodies or event text.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::time::SystemTime;

use crate::config::LogFormat;

/// Starts logging. A level is a word (`info`) or directives as in `info,kalends::bridge=debug`.
///
/// # Errors
/// A sentence, when the level is no level.
pub fn start(format: LogFormat, level: &str) -> Result<(), String> {
    let subscriber = subscriber(format, level, std::io::stderr)?;
    // Only a second start in one process fails, as in tests; the first one stays.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(())
}

/// Returns what [`start`] installs, writing elsewhere.
///
/// # Errors
/// A sentence, when the level is no level.
pub fn subscriber<W>(
    format: LogFormat,
    level: &str,
    writer: W,
) -> Result<Box<dyn tracing::Subscriber + Send + Sync>, String>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(level).map_err(|error| {
        format!("{level:?} is no log level ({error}); try error, warn, info, debug or trace")
    })?;
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_timer(SystemTime);
    Ok(match format {
        LogFormat::Text => Box::new(builder.with_ansi(false).finish()),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).finish()),
    })
}
