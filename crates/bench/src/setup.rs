//! Accounts for a measurement: by a command of the server's own, or in band (XEP-0077).

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::Result;
use crate::endpoint::Endpoint;
use crate::framing::contains;
use crate::load::chat::escape;
use crate::session::Session;

/// A command with `{user}`, `{domain}`, `{jid}` and `{password}` in its words, and perhaps a text for its input.
#[derive(Debug, Clone)]
pub(crate) struct RegisterCommand {
    words: Vec<String>,
    input: Option<String>,
}

impl RegisterCommand {
    /// Splits the template at white space; no shell is involved.
    pub(crate) fn new(template: &str, input: Option<String>) -> Result<Self> {
        Self::from_words(template.split_ascii_whitespace().map(str::to_owned).collect(), input)
    }

    pub(crate) fn from_words(words: Vec<String>, input: Option<String>) -> Result<Self> {
        if words.is_empty() {
            return Err("the registering command is empty".into());
        }
        Ok(Self { words, input })
    }

    fn fill(&self, endpoint: &Endpoint, number: u32) -> (Vec<String>, Option<String>) {
        let fill = |text: &String| {
            text.replace("{user}", &endpoint.users.user(number))
                .replace("{domain}", &endpoint.domain)
                .replace("{jid}", &endpoint.bare_jid(number))
                .replace("{password}", &endpoint.password)
        };
        (self.words.iter().map(fill).collect(), self.input.as_ref().map(fill))
    }

    fn run(&self, endpoint: &Endpoint, number: u32) -> Result<()> {
        let (words, input) = self.fill(endpoint, number);
        let [program, arguments @ ..] = words.as_slice() else {
            return Err("the registering command is empty".into());
        };
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{program}: {error}"))?;
        if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
            stdin.write_all(input.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if output.status.success() || said.contains("already") {
            Ok(())
        } else {
            Err(format!("{program} for {}: {}: {}", endpoint.bare_jid(number), output.status, said.trim()).into())
        }
    }
}

/// Runs the command for each account, two at a time. An account that exists is left alone.
pub(crate) async fn by_command(
    endpoint: &Endpoint,
    numbers: impl IntoIterator<Item = u32>,
    command: &RegisterCommand,
) -> Result<()> {
    let gate = Arc::new(Semaphore::new(2));
    let mut running = JoinSet::new();
    for number in numbers {
        let permit = Arc::clone(&gate).acquire_owned().await?;
        let (endpoint, command) = (endpoint.clone(), command.clone());
        running.spawn_blocking(move || {
            let outcome = command.run(&endpoint, number);
            drop(permit);
            outcome
        });
        while let Some(done) = running.try_join_next() {
            done??;
        }
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    Ok(())
}

/// Registers each account over a connection of its own. An account that exists is left alone.
pub(crate) async fn in_band(endpoint: &Endpoint, numbers: impl IntoIterator<Item = u32>) -> Result<()> {
    let gate = Arc::new(Semaphore::new(8));
    let mut running = JoinSet::<Result<()>>::new();
    for number in numbers {
        let permit = Arc::clone(&gate).acquire_owned().await?;
        let endpoint = endpoint.clone();
        running.spawn(async move {
            let _permit = permit;
            let (mut session, _) = Session::open_stream(&endpoint).await?;
            let request = format!(
                "<iq type='set' id='register' to='{}'><query xmlns='jabber:iq:register'><username>{}</username>\
                 <password>{}</password></query></iq>",
                endpoint.domain,
                escape(&endpoint.users.user(number)),
                escape(&endpoint.password)
            );
            match session.query("register", &request).await {
                Ok(_) => {}
                // XEP-0077 §3.1: the name is taken.
                Err(error) if contains(error.to_string().as_bytes(), "<conflict") => {}
                Err(error) => return Err(error),
            }
            session.close().await
        });
        while let Some(done) = running.try_join_next() {
            done??;
        }
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::{Protocol, Security, UserPattern};

    #[test]
    fn a_template_is_filled_word_by_word() {
        let endpoint = Endpoint::new(
            "127.0.0.1:1".parse().unwrap(),
            "b.lab",
            Security::Plain,
            Protocol::Xmpp,
            UserPattern::new("u{n}").unwrap(),
            "a secret",
        )
        .unwrap();
        let command =
            RegisterCommand::new("ctl register {user} {domain} {password}", Some("{jid}\n".to_owned())).unwrap();
        let (words, input) = command.fill(&endpoint, 3);
        assert_eq!(words, ["ctl", "register", "u3", "b.lab", "a secret"]);
        assert_eq!(input.as_deref(), Some("u3@b.lab\n"));
        assert!(RegisterCommand::new("  ", None).is_err());
    }
}
