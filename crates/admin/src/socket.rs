//! The admin socket: a Unix socket in `data_dir` that only its owner may use.

use crate::{Admin, AdminError, Command, ErrorCode, Reply, dispatch};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tracing::{debug, warn};

/// A request line is never longer than this.
const MAX_LINE: u64 = 64 * 1024;
/// How long a command may take before the caller is told so.
const PATIENCE: Duration = Duration::from_secs(60);

/// The socket could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another server answers on it.
    #[error("another server runs with this data directory")]
    Taken,
    /// Anything else.
    #[error("the admin socket cannot be made: {0}")]
    Io(#[from] std::io::Error),
}

/// Makes the socket (mode 0600) and answers on it until the returned task is aborted.
pub async fn serve(path: &Path, admin: Arc<Admin>) -> Result<tokio::task::JoinHandle<()>, SocketError> {
    if path.exists() {
        // A socket that nobody answers on is left from a server that was killed.
        if UnixStream::connect(path).await.is_ok() {
            return Err(SocketError::Taken);
        }
        std::fs::remove_file(path)?;
    }
    // Nobody can slip in between the bind and the change of mode: the directory is the owner's alone.
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let admin = Arc::clone(&admin);
                    tokio::spawn(async move {
                        if let Err(source) = answer(stream, &admin).await {
                            debug!(event = "admin.connection_failed", %source, "an admin connection failed");
                        }
                    });
                }
                Err(source) => {
                    warn!(event = "admin.accept_failed", %source, "the admin socket cannot accept");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }))
}

async fn answer(stream: UnixStream, admin: &Admin) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = zeroize::Zeroizing::new(String::new());
    BufReader::new(reader.take(MAX_LINE)).read_line(&mut line).await?;
    let reply = match serde_json::from_str::<Command>(&line) {
        Ok(command) => match dispatch(admin, command).await {
            Ok(value) => Reply::Ok(value),
            Err(error) => Reply::Error(error),
        },
        // The request is not repeated: it may hold a password.
        Err(_) => Reply::Error(AdminError::new(ErrorCode::BadArgument, "the request is not one this server knows")),
    };
    let mut text = serde_json::to_vec(&reply).unwrap_or_default();
    text.push(b'\n');
    writer.write_all(&text).await?;
    writer.shutdown().await
}

/// Calls the running server.
pub async fn call(path: &Path, command: &Command) -> Result<serde_json::Value, AdminError> {
    let stream = UnixStream::connect(path).await.map_err(|source| match source.kind() {
        std::io::ErrorKind::PermissionDenied => {
            AdminError::new(ErrorCode::SocketRefused, format!("{} may not be used by this user", path.display()))
        }
        _ => AdminError::new(ErrorCode::NotRunning, "the server is not running (nothing answers on its admin socket)"),
    })?;
    let broken = |_| AdminError::new(ErrorCode::NotRunning, "the server closed the connection without an answer");
    let (reader, mut writer) = stream.into_split();
    let mut text = zeroize::Zeroizing::new(serde_json::to_vec(command).unwrap_or_default());
    text.push(b'\n');
    writer.write_all(&text).await.map_err(broken)?;
    let mut line = String::new();
    tokio::time::timeout(PATIENCE, BufReader::new(reader).read_line(&mut line))
        .await
        .map_err(|_| AdminError::new(ErrorCode::Internal, "the server did not answer within a minute"))?
        .map_err(broken)?;
    match serde_json::from_str::<Reply>(&line) {
        Ok(Reply::Ok(value)) => Ok(value),
        Ok(Reply::Error(error)) => Err(error),
        Err(_) => Err(AdminError::new(ErrorCode::NotRunning, "the server gave no answer that can be read")),
    }
}
