//! Archives, and what is written on the path of a message.

use super::{Kept, MemoryStore};
use crate::words::has_words;
use crate::{
    AccountId, ArchiveFilter, ArchiveId, ArchivePage, ArchivePosition, ArchiveRow, ArchivedMessage, Archives, Error,
    Half, Mark, Outgoing, OutgoingId, OutgoingMessage, Pending, Recorded, Reference, Repeatable, Result, Words,
};
use std::collections::BTreeMap;
use std::ops::Bound;
use stonechat_jid::{BareJid, Jid};

#[derive(Default)]
pub(super) struct Archive {
    rows: BTreeMap<ArchiveId, ArchiveRow>,
    /// Marks of what is not archived, and when they were written.
    marks: Vec<(u64, Mark)>,
}

impl Archive {
    pub(super) fn bounds(&self) -> Option<(ArchiveId, ArchiveId)> {
        Some((*self.rows.first_key_value()?.0, *self.rows.last_key_value()?.0))
    }

    fn known(&self, id: ArchiveId) -> Result<()> {
        if self.rows.contains_key(&id) { Ok(()) } else { Err(Error::NotFound) }
    }

    /// What the filter leaves, in order.
    fn filtered(&self, filter: &ArchiveFilter, words: Words) -> Result<Vec<&ArchiveRow>> {
        for id in filter.after_id.iter().chain(&filter.before_id).chain(&filter.ids) {
            self.known(*id)?;
        }
        let wanted = |row: &&ArchiveRow| {
            filter.with.as_ref().is_none_or(|with| is_with(&row.with, with))
                && filter.start.is_none_or(|start| row.id.millis() >= start)
                && filter.end.is_none_or(|end| row.id.millis() <= end)
                && filter.after_id.is_none_or(|after| row.id > after)
                && filter.before_id.is_none_or(|before| row.id < before)
                && (filter.ids.is_empty() || filter.ids.contains(&row.id))
                && filter
                    .words
                    .as_ref()
                    .is_none_or(|wanted| words(&row.stanza).is_some_and(|text| has_words(&text, wanted)))
        };
        Ok(self.rows.values().filter(wanted).collect())
    }
}

fn is_with(row: &Jid, with: &Jid) -> bool {
    if with.is_bare() { row.same_bare(with) } else { row == with }
}

fn page(
    archive: &Archive,
    filter: &ArchiveFilter,
    position: ArchivePosition,
    limit: usize,
    words: Words,
) -> Result<ArchivePage> {
    if let ArchivePosition::After(id) | ArchivePosition::Before(id) = position {
        archive.known(id)?;
    }
    let mut rows = archive.filtered(filter, words)?;
    match position {
        ArchivePosition::First | ArchivePosition::Last => {}
        ArchivePosition::After(id) => rows.retain(|row| row.id > id),
        ArchivePosition::Before(id) => rows.retain(|row| row.id < id),
    }
    let rest = rows.len().saturating_sub(limit);
    match position {
        ArchivePosition::First | ArchivePosition::After(_) => rows.truncate(limit),
        ArchivePosition::Last | ArchivePosition::Before(_) => drop(rows.drain(..rest)),
    }
    let message = |row: &ArchiveRow| ArchivedMessage { id: row.id, stanza: row.stanza.clone() };
    Ok(ArchivePage { messages: rows.into_iter().map(message).collect(), complete: rest == 0 })
}

pub(super) fn recent_marks(archive: &Archive, limit: usize) -> Vec<Reference> {
    let archived = archive.rows.values().rev().take(limit).filter_map(|row| Some((row.id.millis(), row.mark?)));
    let mut marks: Vec<_> = archived.chain(archive.marks.iter().rev().copied()).collect();
    marks.retain(|(_, mark)| mark.repeatable == Repeatable::Recognised);
    marks.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    marks.truncate(limit);
    marks.into_iter().map(|(_, mark)| mark.reference).collect()
}

impl Kept {
    /// Everything but the outgoing row. What can be refused whole is refused first.
    fn record(&mut self, half: &mut Half, limits: (u64, u64)) -> Result<Recorded> {
        if let Some(row) = half.archive.take() {
            if self.archive.rows.contains_key(&row.id) {
                return Err(Error::Conflict);
            }
            self.archive.rows.insert(row.id, row);
        }
        let kept =
            (half.at, half.mark.unwrap_or(Mark { reference: Reference(0), repeatable: Repeatable::No, named: None }));
        if kept.1.repeatable == Repeatable::Recognised && !self.archive.marks.contains(&kept) {
            self.archive.marks.push(kept);
        }
        if let Some((id, count)) = half.counted {
            self.spool.counts.insert(id, (count, half.at));
        }
        let spool = self.spool.append(std::mem::take(&mut half.spool), limits);
        Ok(Recorded { spool, outgoing: None })
    }
}

impl Archives for MemoryStore {
    fn record(&self, account: AccountId, mut half: Half, limits: (u64, u64)) -> Pending<Recorded> {
        self.write(|state| {
            let mut recorded = state.kept(account)?.record(&mut half, limits)?;
            if let Some(row) = half.outgoing {
                state.last_outgoing = state.last_outgoing.saturating_add(1);
                let id = OutgoingId(state.last_outgoing);
                state.outgoing.insert(id, OutgoingMessage { id, account, row });
                recorded.outgoing = Some(id);
            }
            Ok(recorded)
        })
    }

    fn archive_page(
        &self,
        account: AccountId,
        filter: ArchiveFilter,
        position: ArchivePosition,
        limit: usize,
        words: Words,
    ) -> Pending<ArchivePage> {
        self.look(|state| match state.accounts.get(&account) {
            Some(kept) => page(&kept.archive, &filter, position, limit, words),
            None => page(&Archive::default(), &filter, position, limit, words),
        })
    }

    fn count_archive(&self, account: AccountId, filter: ArchiveFilter, words: Words) -> Pending<u64> {
        self.look(|state| match state.accounts.get(&account) {
            Some(kept) => Ok(kept.archive.filtered(&filter, words)?.len() as u64),
            None => Ok(Archive::default().filtered(&filter, words)?.len() as u64),
        })
    }

    fn archive_bounds(&self, account: AccountId) -> Pending<Option<(ArchiveId, ArchiveId)>> {
        self.read(|state| state.accounts.get(&account)?.archive.bounds())
    }

    fn recent_marks(&self, account: AccountId, limit: usize) -> Pending<Vec<Reference>> {
        self.read(|state| {
            state.accounts.get(&account).map(|kept| recent_marks(&kept.archive, limit)).unwrap_or_default()
        })
    }

    fn replace_archived(
        &self,
        account: AccountId,
        with: BareJid,
        reference: Reference,
        stanza: Vec<u8>,
    ) -> Pending<Option<ArchiveId>> {
        self.write(|state| {
            let kept = state.kept(account)?;
            let referred = |row: &&mut ArchiveRow| {
                row.with.same_bare(with.as_jid())
                    && row.mark.is_some_and(|mark| mark.reference == reference || mark.named == Some(reference))
            };
            let Some(row) = kept.archive.rows.values_mut().rev().find(referred) else { return Ok(None) };
            row.stanza.clone_from(&stanza);
            let id = row.id;
            for copy in kept.spool.rows.values_mut().filter(|row| row.archive == Some(id)) {
                copy.stanza.clone_from(&stanza);
            }
            Ok(Some(id))
        })
    }

    fn expire_archive(&self, before: ArchiveId, limit: usize) -> Pending<u64> {
        self.write(|state| {
            let mut gone = 0_usize;
            for kept in state.accounts.values_mut() {
                let rows = &mut kept.archive.rows;
                while gone < limit
                    && let Some((&id, _)) = rows.range((Bound::Unbounded, Bound::Excluded(before))).next()
                {
                    rows.remove(&id);
                    gone = gone.saturating_add(1);
                }
            }
            Ok(gone as u64)
        })
    }

    fn expire_marks(&self, before: u64, limit: usize) -> Pending<u64> {
        self.write(|state| {
            let mut gone = 0_usize;
            let mut goes = |at: u64| {
                let goes = at < before && gone < limit;
                gone = gone.saturating_add(usize::from(goes));
                goes
            };
            for kept in state.accounts.values_mut() {
                kept.archive.marks.retain(|(at, _)| !goes(*at));
                kept.spool.counts.retain(|_, (_, at)| !goes(*at));
            }
            Ok(gone as u64)
        })
    }
}

impl Outgoing for MemoryStore {
    fn outgoing(&self, after: Option<OutgoingId>, limit: usize) -> Pending<Vec<OutgoingMessage>> {
        self.read(|state| {
            let behind = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
            state.outgoing.range(behind).take(limit).map(|(_, message)| message.clone()).collect()
        })
    }

    fn remove_outgoing(&self, ids: Vec<OutgoingId>) -> Pending<()> {
        self.write(|state| {
            ids.iter().for_each(|id| drop(state.outgoing.remove(id)));
            Ok(())
        })
    }
}
