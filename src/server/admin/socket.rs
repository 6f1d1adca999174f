//! Lines over a Unix socket.
//!
//! Owns: making the socket so that only its owner can reach it at any moment, pumping lines both ways.

use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Line, Office, Wire};

/// The longest line: the largest file, in Base64, and some.
const LONGEST: u64 = 256 << 20;
/// What a socket's path may be long (`sun_path`), with some room.
const PATH: usize = 100;

/// A path to the same place that is short enough for a socket.
struct Short {
    path: PathBuf,
    /// Keeps `/proc/self/fd/N` alive.
    _directory: Option<std::fs::File>,
}

impl Short {
    fn of(path: &Path) -> io::Result<Short> {
        if path.as_os_str().len() <= PATH {
            return Ok(Short { path: path.to_owned(), _directory: None });
        }
        let directory = std::fs::File::open(path.parent().unwrap_or_else(|| Path::new("/")))?;
        let name = path.file_name().unwrap_or_default();
        let short = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
        Ok(Short { path: short, _directory: Some(directory) })
    }
}

/// Connects to a server's socket. Nothing: no server listens there.
pub(super) async fn connect(path: &Path) -> Result<Option<Wire>, String> {
    let stream = match Short::of(path) {
        Ok(short) => UnixStream::connect(&short.path).await,
        Err(error) => Err(error),
    };
    match stream {
        Ok(stream) => Ok(Some(pump(stream))),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            Ok(None)
        }
        Err(error) => Err(format!("a server's socket is at {} but cannot be used: {error}", path.display())),
    }
}

/// Listens on the socket until stopped, and removes it then.
pub(in crate::server) async fn serve(
    listener: UnixListener,
    path: PathBuf,
    office: Arc<Office>,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let (office, stop) = (Arc::clone(&office), stop.clone());
                    tokio::spawn(async move {
                        tokio::select! {
                            () = stop.cancelled() => {}
                            () = super::converse(office, pump(stream)) => {}
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!("the admin socket failed: {error}");
                    tokio::time::sleep(super::super::PAUSE).await;
                }
            }
        }
    }
    let _ = std::fs::remove_file(&path);
}

/// Makes the socket in a directory that only the owner may enter, and moves it in place when its mode is right.
pub(in crate::server) fn listen(path: &Path) -> io::Result<UnixListener> {
    let place = path.with_extension("new");
    let _ = std::fs::remove_dir_all(&place);
    std::fs::DirBuilder::new().mode(0o700).create(&place)?;
    let made = Short::of(&place.join("s"))?;
    let listener = UnixListener::bind(&made.path)?;
    std::fs::set_permissions(&made.path, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&made.path, path)?;
    std::fs::remove_dir(&place)?;
    Ok(listener)
}

/// Carries lines between a stream and a wire until either side ends.
fn pump(stream: UnixStream) -> Wire {
    let (read, mut write) = stream.into_split();
    let (to, mut outgoing) = mpsc::channel::<Line>(16);
    let (incoming, from) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Some(line) = outgoing.recv().await {
            let Ok(mut bytes) = serde_json::to_vec(&line) else { return };
            bytes.push(b'\n');
            if write.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    tokio::spawn(async move {
        let mut read = BufReader::with_capacity(64 << 10, read);
        loop {
            let mut bytes = Vec::new();
            match (&mut read).take(LONGEST).read_until(b'\n', &mut bytes).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            let line = serde_json::from_slice(&bytes).unwrap_or_else(|error| Line::Failed {
                why: format!("the other side said what this version does not understand: {error}"),
            });
            if incoming.send(line).await.is_err() {
                return;
            }
        }
    });
    Wire { to, from }
}
