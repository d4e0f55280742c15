//! The cases every backend passes. A backend's test calls [`run`] with a way to open an empty store.
//!
//! A case is a function named after what it holds; it panics where the store does not keep its promise. What only one
//! kind of backend has (files, processes, disks) is tested beside that backend.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these are tests, in a library so that every backend can call them"
)]

mod accounts;
mod archive;
mod devices;
mod documents;
mod halves;
mod lists;
mod offline;
mod order;
mod residents;
mod rosters;
mod sessions;

use crate::{AccountId, NewAccount, OfflineMessage, OfflineStored, Store};
use stonechat_jid::BareJid;
use stonechat_sasl::{Credentials, ScramKeys};

/// Runs every case, each on a store of its own that `open` makes empty; each is closed afterwards.
pub async fn run<S: Store>(mut open: impl AsyncFnMut() -> S) {
    macro_rules! cases {
        ($($module:ident::$case:ident),* $(,)?) => {$({
            let store = open().await;
            Box::pin($module::$case(&store)).await;
            store.close().await.unwrap();
        })*};
    }
    cases![
        accounts::what_is_created_is_found,
        accounts::a_name_is_taken_once,
        accounts::changes_are_seen_and_need_the_account,
        accounts::a_domain_is_listed_in_order_and_in_pages,
        accounts::a_tombstone_keeps_a_name_until_it_is_old,
        accounts::abuse_156_a_new_owner_of_a_name_inherits_nothing,
        accounts::abuse_157_nothing_of_an_erased_account_can_be_read,
        residents::what_is_read_together_is_what_is_read_apart,
        rosters::entries_come_back_as_they_were_put,
        rosters::rfc6121_2_6_the_version_follows_every_change,
        rosters::a_removal_is_told_until_the_contact_is_listed_again,
        rosters::removals_are_bounded_by_the_horizon,
        rosters::rosters_are_apart,
        offline::messages_come_in_order_and_in_pages,
        offline::what_is_removed_is_gone_and_its_id_with_it,
        offline::the_number_and_the_bytes_are_bounded,
        offline::an_account_that_is_not_there_keeps_nothing,
        halves::a_half_is_kept_whole,
        halves::a_full_spool_refuses_its_rows_alone,
        halves::a_half_that_is_refused_leaves_nothing,
        halves::halves_are_kept_in_the_order_of_the_calls,
        halves::outgoing_messages_wait_until_they_are_removed,
        archive::xep0313_a_page_is_what_the_filter_leaves_in_both_directions,
        archive::xep0313_an_id_that_is_not_in_the_archive_is_not_found,
        archive::archives_are_apart_and_have_bounds,
        archive::xep0431_words_are_found_whatever_the_language_and_never_understood,
        archive::marks_are_recalled_newest_first,
        archive::xep0424_a_retracted_message_is_replaced_everywhere,
        archive::what_is_old_goes_from_every_archive,
        sessions::what_a_session_holds_is_hidden_until_it_lets_go,
        sessions::xep0198_what_is_acknowledged_is_gone,
        sessions::what_is_given_to_a_session_is_numbered_in_order,
        sessions::what_a_session_leaves_is_its_heirs_in_order,
        sessions::what_stands_behind_is_numbered_when_it_is_sent,
        sessions::a_session_is_forgotten_with_all_it_held,
        sessions::what_others_got_too_goes_with_a_session_that_wants_it_so,
        sessions::bounds_count_what_sessions_hold,
        sessions::sessions_are_saved_and_taken_once,
        sessions::xep0198_a_count_is_the_last_that_was_committed,
        sessions::old_marks_and_counts_are_forgotten,
        lists::a_block_list_is_changed_as_a_whole,
        lists::xep0357_a_registration_is_one_of_service_and_node,
        devices::a_device_comes_back_as_it_was_put,
        devices::the_device_seen_longest_ago_makes_room,
        devices::a_new_token_leaves_the_one_in_use,
        devices::xep0484_3_5_a_used_token_ends_those_before_it,
        devices::abuse_62_a_count_is_taken_once,
        devices::abuse_62_what_is_revoked_is_gone,
        documents::a_document_is_replaced_and_removed,
        documents::the_bytes_of_a_kind_are_bounded_together,
        documents::a_secret_is_made_once,
        order::writes_happen_in_the_order_of_the_calls,
        order::a_write_whose_future_is_dropped_happens,
        order::a_read_sees_the_writes_called_before_it,
        order::a_write_that_fails_costs_the_others_nothing,
        order::after_the_close_everything_is_refused,
    ];
}

fn jid(text: &str) -> BareJid {
    BareJid::parse(text).unwrap()
}

/// Keys of three sizes, told apart by `mark`.
fn credentials(mark: u8) -> Credentials {
    let keys = |size: usize| ScramKeys {
        salt: vec![mark; 16],
        iterations: 10_000 + u32::from(mark),
        stored_key: vec![mark.wrapping_add(1); size],
        server_key: vec![mark.wrapping_add(2); size],
    };
    Credentials { sha1: Some(keys(20)), sha256: Some(keys(32)), sha512: Some(keys(64)) }
}

fn new_account(name: &str) -> NewAccount {
    NewAccount { jid: jid(name), credentials: credentials(1), now: 1_000 }
}

async fn account(store: &dyn Store, name: &str) -> AccountId {
    store.create_account(new_account(name), 0).await.unwrap()
}

/// Keeps a message, with bounds that are not reached.
async fn keep(store: &dyn Store, id: AccountId, body: &str) -> OfflineStored {
    store.append_offline(id, 5, body.into(), 1_000, 1_000_000).await.unwrap()
}

fn bodies(messages: &[OfflineMessage]) -> Vec<&str> {
    messages.iter().map(|message| std::str::from_utf8(&message.stanza).unwrap()).collect()
}
