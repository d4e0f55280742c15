//! What the core itself implements, told where the XEPs want it told.

use stonechat_router::{Info, Place, Registrar};
use stonechat_stanza::ns;
use stonechat_xml::Element;

/// What clients say to one another, and the server treats by what it is: `stonechat_im::classify`.
pub(crate) const TOLD_APART: &[Info] = &[
    Info { xep: 85, name: "Chat State Notifications", version: "2.1", note: "not kept; dropped for who is inactive" },
    Info { xep: 184, name: "Message Delivery Receipts", version: "1.4.0", note: "kept and copied; wake nobody" },
    Info { xep: 249, name: "Direct MUC Invitations", version: "1.2", note: "kept and copied; wake" },
    Info { xep: 308, name: "Last Message Correction", version: "1.2.1", note: "as the message that comes instead" },
    Info { xep: 333, name: "Displayed Markers", version: "1.0.0", note: "kept and copied; wake nobody" },
    Info {
        xep: 353,
        name: "Jingle Message Initiation",
        version: "0.8.0",
        note: "kept and copied; a call wakes, its end does not",
    },
    Info {
        xep: 380,
        name: "Explicit Message Encryption",
        version: "0.4.0",
        note: "what is encrypted is a message with a body",
    },
    Info { xep: 428, name: "Fallback Indication", version: "0.2.1", note: "a body that stands for a reaction is none" },
    Info { xep: 444, name: "Message Reactions", version: "0.2.1", note: "kept and copied; wake nobody" },
    Info { xep: 482, name: "Call Invites", version: "0.1.0", note: "kept and copied; a call wakes, its end does not" },
];

const INFOS: &[Info] = &[
    Info {
        xep: 4,
        name: "Data Forms",
        version: "2.13.2",
        note: "in queries of archives, push registrations and contact addresses",
    },
    Info { xep: 82, name: "XMPP Date and Time Profiles", version: "1.1.1", note: "" },
    Info { xep: 128, name: "Service Discovery Extensions", version: "1.0.1", note: "contact addresses" },
    Info {
        xep: 160,
        name: "Best Practices for Handling Offline Messages",
        version: "1.0.1",
        note: "kept in order, bounded per account",
    },
    Info { xep: 178, name: "Best Practices for Use of SASL EXTERNAL", version: "1.2", note: "between servers" },
    Info { xep: 185, name: "Dialback Key Generation and Validation", version: "1.0", note: "" },
    Info {
        xep: 198,
        name: "Stream Management",
        version: "1.6.3",
        note: "acknowledgements and resumption, also across an orderly restart; acknowledged is committed",
    },
    Info {
        xep: 205,
        name: "Best Practices to Discourage Denial of Service Attacks",
        version: "1.0.2",
        note: "limits of size and rate, before and after log-in",
    },
    Info { xep: 203, name: "Delayed Delivery", version: "2.0", note: "kept messages" },
    Info { xep: 220, name: "Server Dialback", version: "1.1.1", note: "both directions" },
    Info { xep: 237, name: "Roster Versioning", version: "1.3", note: "" },
    Info {
        xep: 334,
        name: "Message Processing Hints",
        version: "1.0.0",
        note: "for archives, kept messages and copies",
    },
    Info { xep: 297, name: "Stanza Forwarding", version: "1.0", note: "in copies and archives" },
    Info {
        xep: 352,
        name: "Client State Indication",
        version: "1.0.0",
        note: "what can wait is let out in order before what cannot",
    },
    Info { xep: 368, name: "SRV records for XMPP over TLS", version: "1.1.0", note: "both directions, ALPN" },
    Info {
        xep: 440,
        name: "SASL Channel-Binding Type Capability",
        version: "1.0.0",
        note: "tls-exporter, tls-server-end-point",
    },
    Info {
        xep: 386,
        name: "Bind 2",
        version: "1.1.0",
        note: "with copies, stream management, client state and the archive's bounds inline",
    },
    Info {
        xep: 388,
        name: "Extensible SASL Profile",
        version: "1.0.4",
        note: "beside classic SASL, with the same mechanisms; resumption and tasks inline",
    },
    Info { xep: 509, name: "Initial Authentication Pipelining", version: "0.2.0", note: "" },
    Info { xep: 474, name: "SASL SCRAM Downgrade Protection", version: "0.5.0", note: "" },
    Info { xep: 478, name: "Stream Limits Advertisement", version: "0.2.0", note: "" },
    Info { xep: 480, name: "SASL Upgrade Tasks", version: "0.2.0", note: "to SCRAM-SHA-256 and SCRAM-SHA-512" },
    Info {
        xep: 484,
        name: "Fast Authentication Streamlining Tokens",
        version: "0.2.0",
        note: "HT-SHA-256 with tls-exporter, tls-server-end-point or no binding; without early data",
    },
    Info { xep: 515, name: "TLS Channel-Binding Downgrade Protection", version: "0.1.0", note: "" },
    Info { xep: 495, name: "Happy Eyeballs", version: "0.1.0", note: "to other servers" },
];

pub(crate) fn declare(registrar: &mut Registrar) {
    for info in INFOS {
        registrar.core(*info);
    }
    // XEP-0160 §4
    registrar.disco_feature(Place::Domain, "msgoffline");
    // RFC 6121 §2.6.1, §3.4
    registrar.feature_after_authentication(|_, _| Some(Element::new("ver", ns::ROSTER_VERSIONING)));
    registrar.feature_after_authentication(|_, _| Some(Element::new("sub", ns::PRE_APPROVAL)));
}
