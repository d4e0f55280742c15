//! A crowd of devices that talk in pairs, each with its own habits, while the server is killed under them.
//!
//! Every decision of a device comes from its own stream of the one seed. A device that loses its connection comes back and
//! goes on; when the play is over, each stays until everything it sent is acknowledged.

use super::Looking;
use super::chance::Chance;
use super::device::{Device, LogIn, Loss};
use super::journal::Journal;
use super::server::{Archive, Limits, Options, Server, Transport};
use super::tunnel::{self, Weather};
use super::wire::Lost;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How long devices may take to get everything acknowledged; what is not is a fault.
const SETTLING: Duration = Duration::from_secs(120);

/// What a device is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// Stays.
    Steady,
    /// Closes its stream, is away, and comes back.
    Traveller,
    /// Its connection is lost, and it resumes after a while: the session hibernates.
    Tunnel,
    /// Loses its connection right behind what it sends.
    Hasty,
    /// The same in a tunnel, and it logs in, resumes and binds at once (XEP-0388, XEP-0386).
    Modern,
    /// Somebody looks at it now and then only.
    Pocket,
    /// The same, and the way to the server is a tunnel: see `tunnel.rs`.
    Mobile,
}

/// Who is in a crowd.
pub struct Cast {
    pub accounts: usize,
    /// The devices of an account; account after account, over and over.
    pub households: &'static [&'static [Habit]],
    pub archive: Archive,
    pub seed: u64,
    pub pace: Pace,
}

/// All kinds of people.
pub const EVERYBODY: &[&[Habit]] = &[
    &[Habit::Steady],
    &[Habit::Steady, Habit::Tunnel],
    &[Habit::Traveller],
    &[Habit::Hasty],
    &[Habit::Tunnel],
    &[Habit::Traveller, Habit::Hasty, Habit::Pocket],
    &[Habit::Modern],
    &[Habit::Modern, Habit::Steady],
];

impl Cast {
    /// Partners are of different kinds, and in a large crowd each kind meets each.
    fn household(&self, number: usize) -> &'static [Habit] {
        let (half, kinds) = (self.accounts / 2, self.households.len());
        let kind = if number < half { number } else { number - half + 1 + (number - half) / kinds };
        self.households[kind % kinds]
    }

    pub fn options(&self) -> Options {
        Options {
            accounts: accounts(self.accounts),
            archive: self.archive,
            limits: Limits::Off,
            transport: Transport::Both,
            ..Options::default()
        }
    }
}

/// Where a test is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Play,
    /// Come back if away, stay, and let everything be acknowledged.
    Settle,
    /// Take what there is, and read the archive.
    Close,
}

/// How fast everybody is.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Milliseconds between two messages of a device, from and to.
    pub pause: (u64, u64),
    /// Milliseconds for which a device is away.
    pub away: (u64, u64),
}

impl Default for Pace {
    fn default() -> Self {
        Pace { pause: (10, 200), away: (50, 900) }
    }
}

pub struct Crowd {
    pub journal: Journal,
    pub weather: Weather,
    act: watch::Sender<Act>,
    players: Vec<JoinHandle<Player>>,
    archive: Archive,
}

struct Player {
    device: Device,
    habit: Habit,
    partner: String,
    partners_resources: Vec<String>,
    chance: Chance,
    pace: Pace,
    act: watch::Receiver<Act>,
    /// Whether it reads the archive of its account for the journal.
    reader: bool,
}

fn accounts(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("a{number}")).collect()
}

impl Crowd {
    /// Everybody comes. Each account of the first half has a partner in the second.
    pub async fn gather(server: &Server, cast: &Cast) -> Crowd {
        let journal = Journal::new();
        let weather = Weather::default();
        let accounts = accounts(cast.accounts);
        let (act, watch) = watch::channel(Act::Play);
        let mut players = Vec::new();
        let resource = |index: usize, habit: Habit| format!("{}{index}", format!("{habit:?}").to_lowercase());
        for (number, account) in accounts.iter().enumerate() {
            let partner = (number + cast.accounts / 2) % cast.accounts;
            let partners = cast.household(partner);
            for (index, habit) in cast.household(number).iter().enumerate() {
                let chance = Chance::new(cast.seed).fork((number * 8 + index) as u64);
                let port = match habit {
                    Habit::Mobile => tunnel::dig(&server.port, &weather, chance.fork(1)).await,
                    Habit::Modern => server.tls_port.clone(),
                    _ => server.port.clone(),
                };
                let player = Player {
                    device: Device::new(
                        &journal,
                        &port,
                        account,
                        &resource(index, *habit),
                        cast.archive,
                        if *habit == Habit::Modern { LogIn::AtOnce } else { LogIn::Classic },
                    ),
                    habit: *habit,
                    partner: accounts[partner].clone(),
                    partners_resources: partners
                        .iter()
                        .enumerate()
                        .filter(|(_, habit)| **habit != Habit::Modern)
                        .map(|(index, habit)| resource(index, *habit))
                        .collect(),
                    chance,
                    pace: cast.pace,
                    act: watch.clone(),
                    reader: index == 0,
                };
                players.push(tokio::spawn(player.live()));
            }
        }
        Crowd { journal, weather, act, players, archive: cast.archive }
    }

    pub fn devices(&self) -> u64 {
        self.players.len() as u64
    }

    /// The play is over: everybody comes back, is acknowledged, takes what there is; the journal is complete.
    pub async fn disperse(self) -> Journal {
        self.weather.calm_down();
        self.act.send(Act::Settle).unwrap();
        let mut players = Vec::new();
        for player in self.players {
            players.push(player.await.expect("a device does its part"));
        }
        let closing: Vec<_> = players.into_iter().map(|player| tokio::spawn(player.close(self.archive))).collect();
        for device in closing {
            device.await.expect("a device does its part");
        }
        self.journal
    }
}

impl Player {
    fn playing(&self) -> bool {
        *self.act.borrow() == Act::Play
    }

    /// Waits, connected or not, but not much longer than the play goes on. In slices: what reads is never cut off in the
    /// middle of what it writes.
    async fn wait(&mut self, span: Duration) -> Result<(), Lost> {
        let end = Instant::now() + span;
        while self.playing() {
            let slice = end.saturating_duration_since(Instant::now()).min(Duration::from_millis(50));
            if slice.is_zero() {
                break;
            }
            if self.device.is_connected() {
                self.device.read_for(slice).await?;
            } else {
                tokio::time::sleep(slice).await;
            }
        }
        Ok(())
    }

    /// Plays until the play is over; then stays until everything is acknowledged.
    async fn live(mut self) -> Player {
        // Not all at once.
        let begin = self.chance.millis(0, 300);
        let _ = self.wait(begin).await;
        while self.playing() {
            if !self.device.is_connected() && self.device.come_back().await.is_err() {
                let pause = self.chance.millis(20, 120);
                let _ = self.wait(pause).await;
                continue;
            }
            // What is lost is in the journal; the next turn comes back.
            let _ = self.step().await;
        }
        self.settle().await;
        self
    }

    /// Comes back if away, and stays until everything is acknowledged; but not for ever.
    async fn settle(&mut self) {
        let end = Instant::now() + SETTLING;
        while Instant::now() < end {
            if (self.device.is_connected() || self.device.come_back().await.is_ok())
                && self.device.read_until_acknowledged().await.is_ok()
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn close(mut self, archive: Archive) {
        // Nobody interferes any more: whatever fails here is in the journal as a fault, and tried again a few times so that
        // the journal gets as complete as it can.
        for _ in 0..3 {
            if self.try_close(archive).await.is_ok() {
                break;
            }
            let _ = self.device.come_back().await;
        }
        self.device.leave().await;
    }

    async fn try_close(&mut self, archive: Archive) -> Result<(), Lost> {
        self.device.look(Looking::Active).await?;
        self.device.fence().await?;
        if archive == Archive::On {
            self.device.catch_up_again().await?;
            if self.reader {
                self.device.read_archive().await?;
            }
        }
        self.device.fence().await
    }

    fn partner(&mut self) -> String {
        if self.chance.percent(15) && !self.partners_resources.is_empty() {
            let resource = self.chance.pick(&self.partners_resources);
            return format!("{}@localhost/{resource}", self.partner);
        }
        format!("{}@localhost", self.partner)
    }

    async fn step(&mut self) -> Result<(), Lost> {
        let to = self.partner();
        match self.habit {
            Habit::Traveller if self.chance.percent(12) => return self.travel().await,
            Habit::Tunnel | Habit::Modern if self.chance.percent(12) => return self.tunnel().await,
            Habit::Hasty if self.chance.percent(15) => {
                for _ in 0..self.chance.between(1, 5) {
                    self.device.say(&to).await?;
                }
                return self.tunnel().await;
            }
            Habit::Pocket | Habit::Mobile if self.chance.percent(15) => {
                let looking = *self.chance.pick(&[Looking::Active, Looking::Inactive]);
                self.device.look(looking).await?;
            }
            _ => {}
        }
        if self.chance.percent(20) {
            self.device.type_to(&to).await?;
        }
        self.device.say(&to).await?;
        if self.chance.percent(60) {
            self.device.ask().await?;
        }
        let pause = self.chance.millis(self.pace.pause.0, self.pace.pause.1);
        self.wait(pause).await
    }

    async fn travel(&mut self) -> Result<(), Lost> {
        self.device.leave().await;
        let away = self.chance.millis(self.pace.away.0, self.pace.away.1);
        self.wait(away).await
    }

    async fn tunnel(&mut self) -> Result<(), Lost> {
        let loss = *self.chance.pick(&[Loss::Cut, Loss::Cut, Loss::Vanish, Loss::Torn]);
        self.device.lose(loss).await;
        let away = self.chance.millis(0, self.pace.away.1);
        self.wait(away).await
    }
}

/// When the server is killed: at a random moment, of course, but always when something is going on.
#[derive(Clone, Copy, Debug)]
pub enum Moment {
    /// Behind this many more acknowledgements.
    Acknowledged(u64),
    /// When this many have come back, and the others are about to.
    Arrived(u64),
}

impl Moment {
    pub fn choose(chance: &mut Chance, devices: u64) -> Moment {
        if chance.percent(25) {
            Moment::Arrived(chance.between(1, devices))
        } else {
            Moment::Acknowledged(chance.between(10, 15 * devices))
        }
    }
}

impl Crowd {
    /// Kills the server and starts it again, and says so in the journal.
    pub async fn kill(&self, server: &mut Server, chance: &mut Chance) {
        self.moment(chance).await;
        self.journal.note("is killed");
        server.kill().await;
        // Devices notice, and find nobody, for a while.
        tokio::time::sleep(chance.millis(0, 150)).await;
        server.restart().await;
        self.journal.note("is there again");
    }

    /// Stops the server as an administrator does, and starts it again.
    pub async fn restart(&self, server: &mut Server, chance: &mut Chance) {
        self.moment(chance).await;
        self.journal.note("is stopped");
        if chance.percent(50) {
            server.stopped().await;
        } else {
            server.terminate().await;
        }
        self.journal.note("has ended in order");
        server.restart().await;
        self.journal.note("is there again");
    }

    async fn moment(&self, chance: &mut Chance) {
        match Moment::choose(chance, self.devices()) {
            Moment::Acknowledged(more) => self.journal.progress.acknowledged(more).await,
            Moment::Arrived(more) => self.journal.progress.arrived(more).await,
        }
        tokio::time::sleep(chance.millis(0, 60)).await;
    }
}
