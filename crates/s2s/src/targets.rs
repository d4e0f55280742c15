//! Which addresses to try for a domain, and in which order (RFC 6120 §3.2, RFC 2782, XEP-0368).

use crate::SrvRecord;

/// How TLS begins at a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// STARTTLS.
    StartTls,
    /// From the first byte (XEP-0368).
    Direct,
}

/// One place to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// A name or an address literal.
    pub host: String,
    /// Port.
    pub port: u16,
    /// TLS.
    pub security: Security,
}

/// What SRV records say about a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Try these, in this order.
    Try(Vec<Target>),
    /// The domain says that it has no such service (a target of ".").
    NoService,
}

/// Both kinds of records of a domain.
pub(crate) struct Srv {
    pub(crate) starttls: Option<Vec<SrvRecord>>,
    pub(crate) direct: Option<Vec<SrvRecord>>,
}

/// Merges both kinds of records by priority and draws within one priority by weight. `None` for a kind that has no
/// records. `draw(n)` gives a number below `n`.
pub(crate) fn plan(
    domain: &str,
    starttls: Option<Vec<SrvRecord>>,
    direct: Option<Vec<SrvRecord>>,
    mut draw: impl FnMut(u32) -> u32,
) -> Plan {
    if starttls.is_none() && direct.is_none() {
        // RFC 6120 §3.2.2: the domain itself at the registered port.
        return Plan::Try(vec![Target { host: domain.to_owned(), port: 5269, security: Security::StartTls }]);
    }
    let tagged =
        |records: Option<Vec<SrvRecord>>, security| records.into_iter().flatten().map(move |record| (record, security));
    // RFC 2782: a target of "." says that the service is decidedly not available.
    let mut left: Vec<(SrvRecord, Security)> = tagged(direct, Security::Direct)
        .chain(tagged(starttls, Security::StartTls))
        .filter(|(record, _)| !record.target.is_empty() && record.target != ".")
        .collect();
    if left.is_empty() {
        return Plan::NoService;
    }
    let mut ordered = Vec::with_capacity(left.len());
    while let Some(priority) = left.iter().map(|(record, _)| record.priority).min() {
        let total: u32 = weights(&left, priority);
        // RFC 2782: zero weights have a small chance: they come first in the running sum.
        let mut pick = if total == 0 { 0 } else { draw(total.saturating_add(1)) };
        left.sort_by_key(|(record, _)| (record.priority, record.weight != 0));
        let chosen = left.iter().position(|(record, _)| {
            if record.priority != priority {
                return false;
            }
            let weight = u32::from(record.weight);
            if pick <= weight {
                return true;
            }
            pick = pick.saturating_sub(weight);
            false
        });
        let (record, security) = left.remove(chosen.unwrap_or(0));
        ordered.push(Target { host: record.target, port: record.port, security });
    }
    Plan::Try(ordered)
}

fn weights(records: &[(SrvRecord, Security)], priority: u16) -> u32 {
    records
        .iter()
        .filter(|(record, _)| record.priority == priority)
        .map(|(record, _)| u32::from(record.weight))
        .fold(0, u32::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(priority: u16, weight: u16, target: &str) -> SrvRecord {
        SrvRecord { priority, weight, port: 1, target: target.into() }
    }

    fn hosts(plan: Plan) -> Vec<String> {
        match plan {
            Plan::Try(targets) => targets.into_iter().map(|target| target.host).collect(),
            Plan::NoService => vec!["no service".into()],
        }
    }

    #[test]
    fn rfc6120_3_2_2_without_records_the_domain_itself_is_tried() {
        let Plan::Try(targets) = plan("a.lab", None, None, |_| 0) else { panic!("a plan") };
        assert_eq!(targets, [Target { host: "a.lab".into(), port: 5269, security: Security::StartTls }]);
    }

    #[test]
    fn rfc2782_a_target_of_a_dot_is_no_service() {
        assert_eq!(plan("a.lab", Some(vec![record(0, 0, ".")]), None, |_| 0), Plan::NoService);
        let both = plan("a.lab", Some(vec![record(0, 0, ".")]), Some(vec![record(5, 0, "b")]), |_| 0);
        assert_eq!(hosts(both), ["b"]);
    }

    #[test]
    fn xep0368_both_kinds_are_merged_by_priority() {
        let merged = plan("a.lab", Some(vec![record(10, 0, "s")]), Some(vec![record(20, 0, "d")]), |_| 0);
        assert_eq!(hosts(merged), ["s", "d"]);
        let direct_first = plan("a.lab", Some(vec![record(10, 0, "s")]), Some(vec![record(10, 0, "d")]), |_| 0);
        assert_eq!(hosts(direct_first), ["d", "s"]);
    }

    #[test]
    fn rfc2782_weights_decide_within_a_priority() {
        let records = || Some(vec![record(1, 10, "light"), record(1, 90, "heavy"), record(0, 1, "first")]);
        assert_eq!(hosts(plan("a", records(), None, |n| n - 1)), ["first", "heavy", "light"]);
        assert_eq!(hosts(plan("a", records(), None, |_| 0)), ["first", "light", "heavy"]);
    }
}
