//! What a server costs, read from `/proc` (proc(5)): CPU time and memory of a process and all its descendants.
//!
//! CPU is user + system time, with that of children already reaped, at the kernel's tick (10 ms). Memory is the
//! proportional set size, which counts shared pages once; the kernel's own socket memory is not in it.

use std::fs;
use std::time::Duration;

use crate::Result;

/// The processes of one server, by their root.
#[derive(Debug, Clone)]
pub(crate) struct ProcessTree(pub(crate) u32);

/// The fields of `/proc/PID/stat` that are of use here.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    /// utime + stime + cutime + cstime, in ticks.
    ticks: u64,
}

impl ProcessTree {
    /// CPU time used so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let mut ticks = 0;
        for process in self.members()? {
            // A descendant that has just ended is counted by its parent from now on.
            if let Some(stat) = stat_of(process) {
                ticks += stat.ticks;
            }
        }
        Ok(Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second().max(1)))
    }

    /// Proportional set size in KiB.
    pub(crate) fn pss_kib(&self) -> Result<u64> {
        let mut total = 0;
        for process in self.members()? {
            if let Ok(text) = fs::read_to_string(format!("/proc/{process}/smaps_rollup")) {
                total += parse_pss(&text).ok_or("smaps_rollup has no Pss line")?;
            }
        }
        Ok(total)
    }

    fn members(&self) -> Result<Vec<u32>> {
        if stat_of(self.0).is_none() {
            return Err(format!("process {} is not running", self.0).into());
        }
        let mut parents = Vec::new();
        for entry in fs::read_dir("/proc")?.flatten() {
            if let Some(process) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok())
                && let Some(stat) = stat_of(process)
            {
                parents.push((process, stat.parent));
            }
        }
        Ok(descendants(self.0, &parents))
    }
}

/// CPU time of this process: the client's own cost.
pub(crate) fn own_cpu() -> Duration {
    let ticks = stat_of(std::process::id()).map_or(0, |stat| stat.ticks);
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second().max(1))
}

fn stat_of(process: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The command stands in parentheses and may itself hold spaces and parentheses.
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field)?.parse::<u64>().ok();
    let parent = fields.get(1)?.parse().ok()?;
    // Fields 14 to 17 of proc(5), counted here from the state, which is field 3.
    Some(Stat { parent, ticks: number(11)? + number(12)? + number(13)? + number(14)? })
}

fn parse_pss(text: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    value.trim().strip_suffix("kB")?.trim().parse().ok()
}

fn descendants(root: u32, parents: &[(u32, u32)]) -> Vec<u32> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        for &(process, its_parent) in parents {
            if its_parent == parent && !found.contains(&process) {
                found.push(process);
            }
        }
        next += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_5_stat_sums_user_and_system_time_with_reaped_children() {
        let text = "4242 (a (b) c) S 17 4242 4242 0 -1 4194560 1 2 3 4 100 20 3 4 20 0 5 0 99 1 2 3";
        assert_eq!(parse_stat(text), Some(Stat { parent: 17, ticks: 127 }));
        assert_eq!(parse_stat("4242 (short) S 17"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn proc_5_smaps_rollup_takes_the_whole_pss_only() {
        let text = "55d0-7ffc ---p 00000000 00:00 0 [rollup]\nRss:   9000 kB\nPss:   1234 kB\nPss_Dirty:  10 kB\n";
        assert_eq!(parse_pss(text), Some(1234));
        assert_eq!(parse_pss("Pss_Anon: 3 kB\n"), None);
    }

    #[test]
    fn a_tree_holds_children_of_children_and_no_stranger() {
        let parents = [(1, 0), (5, 1), (7, 5), (6, 7), (8, 1)];
        let mut tree = descendants(5, &parents);
        tree.sort_unstable();
        assert_eq!(tree, [5, 6, 7]);
    }

    #[test]
    fn this_process_can_be_measured() {
        let own = ProcessTree(std::process::id());
        assert!(own.pss_kib().unwrap() > 0);
        own.cpu().unwrap();
        assert!(ProcessTree(u32::MAX).cpu().is_err());
    }
}
