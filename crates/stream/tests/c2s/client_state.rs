//! XEP-0352.

use crate::harness::Server;
use stonechat_stanza::StreamCondition;
use stonechat_stream::c2s::{ClientState, Event};

const ACTIVE: &str = "<active xmlns='urn:xmpp:csi:0'/>";
const INACTIVE: &str = "<inactive xmlns='urn:xmpp:csi:0'/>";

#[test]
fn xep0352_4_it_is_announced_after_authentication() {
    let mut server = Server::new(stonechat_stream::c2s::Transport::DirectTls);
    assert!(!server.send(crate::harness::HEADER).contains("<csi "));
    server.log_in();
    assert!(server.send(crate::harness::HEADER).contains("<csi xmlns='urn:xmpp:csi:0'/>"));
}

#[test]
fn xep0352_5_states_are_told_in_order_with_stanzas() {
    let mut server = Server::bound();
    let answer = server.send(&format!("<presence/>{INACTIVE}<presence/>{ACTIVE}{ACTIVE}"));
    assert_eq!(answer, "", "nothing answers it");
    let told: Vec<_> = server
        .events
        .iter()
        .map(|event| match event {
            Event::ClientState(state) => Some(*state),
            Event::Stanza(_) => None,
            other => panic!("{other:?}"),
        })
        .collect();
    let (active, inactive) = (Some(ClientState::Active), Some(ClientState::Inactive));
    assert_eq!(told, [None, inactive, None, active, active]);
}

#[test]
fn abuse_35_a_state_of_nobody_and_a_state_that_is_none() {
    let mut server = Server::binding();
    server.send(INACTIVE);
    assert_eq!(server.ended_with(), Some(StreamCondition::UnsupportedStanzaType));
    let mut server = Server::bound();
    server.send("<csi xmlns='urn:xmpp:csi:0'/>");
    assert_eq!(server.ended_with(), Some(StreamCondition::UnsupportedStanzaType));
    assert!(!server.events.iter().any(|event| matches!(event, Event::ClientState(_))));
}
