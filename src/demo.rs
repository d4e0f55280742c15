//! `demo`: a server for `localhost` on loopback with two accounts, to try things out.

use crate::cli::{Demo, LogFormat};
use crate::output::Failure;
use crate::{config, serve, server};
use stonechat_admin::{Command, ErrorCode, Secret};

const ACCOUNTS: [&str; 2] = ["romeo", "juliet"];
const PASSWORD: &str = "stonechat";

pub(crate) fn run(options: &Demo) -> Result<(), Failure> {
    let port = options.port;
    let direct = port.checked_add(1).ok_or_else(|| Failure::new(ErrorCode::BadArgument, "that port is too high"))?;
    let text = format!(
        "domains = [\"localhost\"]\ndata_dir = \".\"\n\
         [listen]\nc2s = [\"127.0.0.1:{port}\", \"[::1]:{port}\"]\nc2s_tls = [\"127.0.0.1:{direct}\", \"[::1]:{direct}\"]\n\
         s2s = []\ns2s_tls = []\n[registration]\nmode = \"open\"\n"
    );
    let path = options.data_dir.join("stonechat.toml");
    let failed = |source: std::io::Error| {
        Failure::new(ErrorCode::StoreUnusable, format!("cannot use {}: {source}", options.data_dir.display()))
    };
    std::fs::create_dir_all(&options.data_dir).map_err(failed)?;
    // The file is the demonstration's own; it is there so that the other commands find the server.
    std::fs::write(&path, &text).map_err(failed)?;
    let config = config::load(&path).map_err(crate::client::config_failure)?;
    crate::logging::start("info,stonechat_net=info", LogFormat::Text);
    serve::runtime()?.block_on(async {
        let signals = serve::Signals::catch()?;
        let server = server::start(config).await?;
        for name in ACCOUNTS {
            let command = Command::UserAdd { jid: format!("{name}@localhost"), password: Secret::new(PASSWORD.into()) };
            match stonechat_admin::dispatch(&server.admin(), command).await {
                Ok(_) => {}
                // From an earlier demonstration.
                Err(error) if error.code == ErrorCode::UserExists => {}
                Err(error) => return Err(error.into()),
            }
        }
        println!("{}", welcome(port, direct, &path.display().to_string()));
        serve::until_stopped(server, signals, serve::HangUp::Ends).await
    })
}

fn welcome(port: u16, direct: u16, config: &str) -> String {
    format!(
        "\nStonechat is running for localhost. Two accounts are there:\n\n    \
             romeo@localhost   password {PASSWORD}\n    juliet@localhost  password {PASSWORD}\n\n\
         Gajim: add an existing account, enter the address and the password, and under Advanced set the host to\n    \
             127.0.0.1, port {port}, STARTTLS (or port {direct}, direct TLS). Accept the self-signed certificate.\n\
         Profanity:\n    \
             /connect romeo@localhost server 127.0.0.1 port {port} tls trust\n\n\
         Look inside from another terminal:\n    \
             stonechat --config {config} session list\n    stonechat --config {config} status\n\n\
         Ctrl-C ends it, or closing the terminal. What happens follows.\n"
    )
}
