//! The command line as a client of the admin socket, or of the store where no server runs.

use crate::config::{self, Config};
use crate::output::{self, Failure, Format};
use crate::server;
use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};
use stonechat_admin::{Command, ErrorCode, Secret};

/// The admin socket of a configuration.
pub(crate) fn socket(config: &Config) -> PathBuf {
    config.data_dir.join("admin.sock")
}

/// Loads the configuration for a command.
pub(crate) fn load(named: Option<&Path>) -> Result<Config, Failure> {
    let path = config::find(named).map_err(config_failure)?;
    config::load(&path).map_err(config_failure)
}

pub(crate) fn config_failure(error: config::ConfigError) -> Failure {
    Failure::new(error.code(), error.to_string())
}

/// Runs a command: by the running server, or on the store when none runs and the command can do without.
pub(crate) fn run(named: Option<&Path>, command: Command, format: Format) -> Result<(), Failure> {
    let answer = execute(named, command, format).map_err(|failure| failure.in_format(format))?;
    output::print(&answer, format);
    Ok(())
}

fn execute(named: Option<&Path>, command: Command, format: Format) -> Result<serde_json::Value, Failure> {
    let config = load(named)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Failure::new(ErrorCode::Internal, format!("the runtime cannot start: {source}")))?;
    runtime.block_on(async {
        match stonechat_admin::call(&socket(&config), &command).await {
            Err(error) if error.code == ErrorCode::NotRunning && command.works_offline() => {
                if format == Format::Text && std::io::stderr().is_terminal() {
                    eprintln!("no server is running: working on the database itself");
                }
                let admin = server::offline(&config)?;
                let answer = stonechat_admin::dispatch(&admin, command).await;
                // The write is committed; closing is tidiness.
                let _ = admin.router.store().close().await;
                Ok(answer?)
            }
            answer => Ok(answer?),
        }
    })
}

/// Reads a password without showing it.
pub(crate) fn read_password(stdin: bool, file: Option<&Path>) -> Result<Secret, Failure> {
    let trimmed = |line: String| Secret::new(line.trim_end_matches(['\r', '\n']).to_owned());
    let failed =
        |source: std::io::Error| Failure::new(ErrorCode::BadPassword, format!("no password could be read: {source}"));
    if let Some(file) = file {
        let text = std::fs::read_to_string(file).map_err(|source| {
            Failure::new(ErrorCode::BadPassword, format!("cannot read {}: {source}", file.display()))
        })?;
        return Ok(trimmed(text.lines().next().unwrap_or_default().to_owned()));
    }
    if stdin {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).map_err(failed)?;
        return Ok(trimmed(line));
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new(
            ErrorCode::BadPassword,
            "there is no terminal to ask for the password: use --password-stdin or --password-file",
        ));
    }
    let first = rpassword::prompt_password("Password: ").map_err(failed)?;
    let second = rpassword::prompt_password("Again: ").map_err(failed)?;
    if first != second {
        return Err(Failure::new(ErrorCode::BadPassword, "the two passwords differ"));
    }
    Ok(Secret::new(first))
}
