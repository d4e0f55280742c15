//! The memory ceiling (abuse case 149): what the process holds is measured here, and what a shortage asks for is done. In
//! which order the server gives way is [`Shortage`]'s affair.
//!
//! What counts is what the system cannot take back without killing or swapping: anonymous and shared pages, and what was
//! swapped out. Pages of files (the program, the database) are not counted.
//!
//! Deliberately absent: buffers of sockets, which the system holds on its own account and bounds itself; and any measurement
//! where there is no `/proc`: there is no ceiling then, and a notice says so.

use std::path::Path;
use std::time::{Duration, Instant};
use stonechat_router::{Router, Shed, Shortage};
use tracing::{info, warn};

/// `[limits] memory`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ceiling {
    /// Three quarters of what the machine has, or of what the process may have of it.
    Auto,
    /// There is none.
    Off,
    /// Bytes.
    At(u64),
}

/// With less there is no server.
pub(crate) const LEAST: u64 = 16 * 1024 * 1024;

/// Growth that is reckoned with between two looks, in bytes a millisecond.
const GROWTH: u64 = 1024 * 1024;
/// The shortest and the longest time between two looks.
const SOON: Duration = Duration::from_millis(20);
const LATE: Duration = Duration::from_secs(1);
/// What is forgotten comes back with use: it is worth forgetting again after so long.
const AGAIN: Duration = Duration::from_secs(10);

impl Ceiling {
    /// In bytes, on this machine. `None` for no ceiling.
    pub(crate) fn bytes(self) -> Option<u64> {
        held(Path::new("/"))?;
        match self {
            Ceiling::Off => None,
            Ceiling::At(bytes) => Some(bytes),
            Ceiling::Auto => available(Path::new("/")).map(|bytes| (bytes / 4).saturating_mul(3).max(LEAST)),
        }
    }
}

/// Measures and gives way until the server ends.
pub(crate) async fn watch(router: Router) {
    let memory = router.memory();
    let mut told = Shortage::None;
    let mut forgotten: Option<Instant> = None;
    let mut in_vain: Option<Instant> = None;
    loop {
        let Some(used) = held(Path::new("/")) else { return };
        let shortage = memory.measured(used);
        if shortage != told {
            tell(shortage, used, memory.ceiling());
            told = shortage;
        }
        if shortage >= Shortage::Caches && forgotten.is_none_or(|at| at.elapsed() >= AGAIN) {
            forgotten = Some(Instant::now());
            router.forget_unused();
            router.store().give_back();
        }
        // Looking for those who hold much costs a look at everybody: not worth it where it was in vain a moment ago.
        if in_vain.is_none_or(|at| at.elapsed() >= LATE) {
            let Shed { sessions, bytes } = router.shed();
            in_vain = (sessions == 0 && memory.excess() > 0).then(Instant::now);
            if sessions > 0 {
                warn!(
                    event = "memory.sessions_ended",
                    sessions, bytes, "memory is short: the sessions that held the most were ended"
                );
            }
        }
        tokio::time::sleep(pause(used, memory.ceiling())).await;
    }
}

fn tell(shortage: Shortage, used: u64, ceiling: Option<u64>) {
    let ceiling = ceiling.unwrap_or_default();
    let done = match shortage {
        Shortage::None => return info!(event = "memory.enough", used, ceiling, "memory is not short any more"),
        Shortage::Caches => "what is only remembered is forgotten",
        Shortage::Newcomers => "nobody new is let in for now",
        Shortage::Holders => "sessions that hold much are ended",
        Shortage::Everybody => "everybody is read from slowly",
    };
    warn!(event = "memory.short", stage = shortage.name(), used, ceiling, "memory is short: {done}");
}

/// How long after a look the next one is due: before it could be too late.
fn pause(used: u64, ceiling: Option<u64>) -> Duration {
    let left = ceiling.map_or(u64::MAX, |ceiling| (ceiling / 10 * 8).saturating_sub(used));
    Duration::from_millis(left / GROWTH).clamp(SOON, LATE)
}

/// Bytes that the process holds; `root` is `/`.
fn held(root: &Path) -> Option<u64> {
    let status = std::fs::read_to_string(root.join("proc/self/status")).ok()?;
    let of = |key: &str| kilobytes(&status, key);
    Some(of("RssAnon:")?.saturating_add(of("RssShmem:")?).saturating_add(of("VmSwap:").unwrap_or(0)))
}

/// Bytes that the process may have: what the machine has, or the least that any control group around it allows.
fn available(root: &Path) -> Option<u64> {
    let machine = kilobytes(&std::fs::read_to_string(root.join("proc/meminfo")).ok()?, "MemTotal:")?;
    let groups = std::fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    Some(groups.lines().filter_map(|line| group_limit(root, line)).fold(machine, u64::min))
}

/// The least limit of a control group and of those around it: a line of `/proc/self/cgroup`, of either version.
fn group_limit(root: &Path, line: &str) -> Option<u64> {
    let (_, rest) = line.split_once(':')?;
    let (controllers, path) = rest.split_once(':')?;
    let (base, file) = match controllers {
        "" => (root.join("sys/fs/cgroup"), "memory.max"),
        some if some.split(',').any(|one| one == "memory") => {
            (root.join("sys/fs/cgroup/memory"), "memory.limit_in_bytes")
        }
        _ => return None,
    };
    Path::new(path.trim_start_matches('/'))
        .ancestors()
        .filter_map(|group| std::fs::read_to_string(base.join(group).join(file)).ok()?.trim().parse().ok())
        .min()
}

fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    const MACHINE: (&str, &str) = ("proc/meminfo", "MemTotal:        1000 kB\nMemFree:          10 kB\n");

    #[test]
    fn pages_of_files_are_not_counted_and_swapped_ones_are() {
        let status = "VmRSS:\t  900 kB\nRssAnon:\t  100 kB\nRssFile:\t  780 kB\nRssShmem:\t  20 kB\nVmSwap:\t  3 kB\n";
        assert_eq!(held(root(&[("proc/self/status", status)]).path()), Some(123 * 1024));
        assert_eq!(held(root(&[]).path()), None, "elsewhere nothing is measured");
        let (before, much) = (held(Path::new("/")).unwrap(), vec![1u8; 32 << 20]);
        assert!(held(Path::new("/")).unwrap() >= before + (24 << 20), "{}", much.len());
    }

    #[test]
    fn the_least_limit_around_the_process_counts() {
        let alone = root(&[MACHINE, ("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/memory.max", "max\n")]);
        assert_eq!(available(alone.path()), Some(1000 * 1024));
        let service = root(&[
            MACHINE,
            ("proc/self/cgroup", "0::/system.slice/stonechat.service\n"),
            ("sys/fs/cgroup/system.slice/memory.max", "500000\n"),
            ("sys/fs/cgroup/system.slice/stonechat.service/memory.max", "max\n"),
        ]);
        assert_eq!(available(service.path()), Some(500_000));
        let older = root(&[
            MACHINE,
            ("proc/self/cgroup", "5:cpu,cpuacct:/a\n4:memory:/docker/1\n"),
            ("sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", "400000\n"),
            ("sys/fs/cgroup/cpu/a/memory.limit_in_bytes", "1\n"),
        ]);
        assert_eq!(available(older.path()), Some(400_000));
    }

    #[test]
    fn the_nearer_the_ceiling_the_sooner_is_the_next_look() {
        assert_eq!(pause(0, None), LATE);
        assert_eq!(pause(0, Some(100 << 30)), LATE);
        assert_eq!(pause(40 << 20, Some(200 << 20)).as_millis(), 120);
        assert_eq!(pause(300 << 20, Some(200 << 20)), SOON);
    }
}
