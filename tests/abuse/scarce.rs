//! A process with less than it needs: no descriptors left, no room on the disk.

use super::{Person, condition};
use crate::support::server::{Archive, Limits, Options, Server};
use crate::support::wire::Wire;
use std::process::Command;
use stonechat_xml::Element;

#[tokio::test(flavor = "multi_thread")]
async fn abuse_143_without_descriptors_those_who_are_there_go_on_and_others_wait() {
    let options = Options { limits: Limits::Off, before: "ulimit -n 80", ..Options::default() };
    let server = Server::start_with(&options).await;
    let mut romeo = Person::present(&server, "romeo", "balcony").await;
    let mut juliet = Person::present(&server, "juliet", "garden").await;
    let mut idle = Vec::new();
    for _ in 0..150 {
        // The system accepts on the server's behalf.
        idle.push(Wire::dial(server.port.get(), None).await.expect("the system accepts"));
    }
    while server.log.with("listener.paused").is_empty() {
        romeo.heard().await;
    }
    for number in 0..20 {
        romeo.say(&format!("<message to='juliet@localhost/garden' id='m{number}'><body>x</body></message>")).await;
        romeo.heard().await;
        let heard = juliet.heard().await;
        assert!(heard.iter().any(|came| came.attribute("id") == Some(&format!("m{number}"))), "{heard:?}");
    }
    // It recovers by itself.
    drop(idle);
    let mut nurse = Person::present(&server, "nurse", "hall").await;
    nurse.heard().await;
    server.stop().await;
}

fn message(number: usize, body: &str) -> String {
    format!("<message to='juliet@localhost' type='chat' id='m{number}'><body>{number} {body}</body></message>")
}

fn is_error_of(came: &Element, number: usize) -> bool {
    came.attribute("id") == Some(&format!("m{number}")) && came.attribute("type") == Some("error")
}

#[tokio::test(flavor = "multi_thread")]
async fn abuse_148_without_room_on_the_disk_nothing_is_promised_and_nobody_is_cut_off() {
    for archive in [Archive::On, Archive::Off] {
        // Some files of the database reach their bound: as on a full disk, a write fails.
        let before = "trap '' XFSZ; ulimit -S -f 3000";
        let options = Options { limits: Limits::Off, archive, before, ..Options::default() };
        let server = Server::start_with(&options).await;
        let mut romeo = Person::present(&server, "romeo", "balcony").await;
        let body = "x".repeat(20_000);
        let mut accepted = Vec::new();
        let mut refused = Vec::new();
        for number in 0..400 {
            romeo.say(&message(number, &body)).await;
            let heard = romeo.heard().await;
            match heard.iter().find(|came| is_error_of(came, number)) {
                Some(error) => {
                    let condition = condition(error);
                    assert!(
                        matches!(condition, Some("internal-server-error" | "resource-constraint")),
                        "{condition:?}"
                    );
                    refused.push(number);
                }
                None => accepted.push(number),
            }
            if refused.len() == 5 {
                break;
            }
        }
        assert_eq!(refused.len(), 5, "{archive:?}: the bound was not reached, {} were accepted", accepted.len());
        assert!(!accepted.is_empty());
        // There is room again: it goes on without a restart.
        let id = server.id().to_string();
        assert!(Command::new("prlimit").args(["--fsize=unlimited:", "--pid", &id]).status().unwrap().success());
        romeo.say(&message(1_000, "after")).await;
        let heard = romeo.heard().await;
        assert!(!heard.iter().any(|came| is_error_of(came, 1_000)), "{heard:?}");
        accepted.push(1_000);
        // Everything that was accepted is there, in order.
        let mut juliet = Person::bound(&server, "juliet", "garden").await;
        juliet.say("<presence/>").await;
        let mut came = Vec::new();
        while came.last() != Some(&1_000) {
            for element in juliet.heard().await {
                if let Some(body) = element.child("body", "jabber:client") {
                    came.push(body.text().split(' ').next().unwrap().parse().unwrap());
                }
            }
        }
        // What was refused reached nobody, even when the sender's own half could have been written.
        assert_eq!(came, accepted, "{archive:?}");
        server.stop().await;
    }
}
