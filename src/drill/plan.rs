//! Decides what a drill restores from, when it is due, and how exposed the data was since the one before. Pure.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use crate::config::{Plan, VaultConfig, VaultName};
use crate::objective::Disaster;
use crate::units::{Age, Span};

/// What a drill restores from, and what it does without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The vault.
    pub vault: VaultName,
    /// What must not be used, each as a person would name it.
    pub lost: Vec<String>,
}

/// There is nothing to restore from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoVault {
    /// The plan has nothing in this vault.
    #[error("find vault {0} among the places of the plan")]
    NotOfThePlan(VaultName),
    /// The vault that was asked for is lost in this scenario.
    #[error("restore from vault {vault}: the loss of {disaster} takes it away")]
    Lost {
        /// The vault.
        vault: VaultName,
        /// What is lost.
        disaster: String,
    },
    /// All are lost.
    #[error("find a vault that the loss of {disaster} leaves: the plan has snapshots in {}", places.join(" and "))]
    NoneLeft {
        /// What is lost.
        disaster: String,
        /// Where the plan's snapshots are.
        places: Vec<String>,
        /// Those of them that name no region, when a region is lost: none of them is known to be outside of it.
        unplaced: Vec<VaultName>,
    },
}

impl NoVault {
    /// The likely cause, and what to do about it.
    pub fn hint(&self) -> Option<String> {
        let Self::NoneLeft { unplaced, .. } = self else { return None };
        let first = unplaced.first()?;
        let verb = if unplaced.len() == 1 { "names" } else { "name" };
        Some(format!(
            "{} {verb} no region, so that it is not known what the loss of one leaves: say where each vault is, as with \
             region = \"...\" in [vault.{first}] of the configuration",
            named(unplaced)
        ))
    }
}

/// Chooses the vault: the one that was asked for, else the first that is left, the plan's own before its copies.
///
/// `lost` are vaults that are lost besides those that the disaster takes.
pub fn choose(
    plan: &Plan,
    vaults: &BTreeMap<VaultName, VaultConfig>,
    disaster: Disaster,
    lost: &[VaultName],
    wanted: Option<&VaultName>,
) -> Result<Choice, NoVault> {
    let places: Vec<&VaultName> =
        std::iter::once(&plan.vault).chain(plan.copies.iter().map(|copy| &copy.vault)).collect();
    if let Some(stranger) = lost.iter().chain(wanted).find(|name| !places.contains(name)) {
        return Err(NoVault::NotOfThePlan(stranger.clone()));
    }
    let own = vaults.get(&plan.vault);
    let is_left = |name: &VaultName| {
        let survives = own.zip(vaults.get(name)).is_some_and(|(own, vault)| vault.survives(disaster, own));
        survives && !lost.contains(name)
    };
    let left = places.iter().copied().find(|name| is_left(name) && wanted.is_none_or(|wanted| wanted == *name));
    let Some(vault) = left else {
        let is_unplaced = |name: &&&VaultName| {
            let unnamed = vaults.get(**name).is_some_and(|vault| vault.region.is_none());
            disaster == Disaster::Region && unnamed
        };
        let unplaced = places.iter().filter(is_unplaced).map(|name| (*name).clone()).collect();
        let disaster = if lost.is_empty() { format!("the {disaster}") } else { named(lost) };
        return Err(match wanted {
            Some(vault) => NoVault::Lost { vault: vault.clone(), disaster },
            None => NoVault::NoneLeft { disaster, places: places.iter().map(ToString::to_string).collect(), unplaced },
        });
    };
    let mut what: Vec<String> = match disaster {
        Disaster::Host => vec!["this host, with its catalog and caches".to_owned()],
        Disaster::Region | Disaster::Attack => Vec::new(),
    };
    let gone = places.iter().filter(|name| !is_left(name)).map(|name| match vaults.get(*name) {
        Some(VaultConfig { region: Some(region), .. }) => format!("vault {name} ({region})"),
        Some(_) | None => format!("vault {name}"),
    });
    what.extend(gone);
    Ok(Choice { vault: vault.clone(), lost: what })
}

fn named(vaults: &[VaultName]) -> String {
    let names: Vec<String> = vaults.iter().map(|vault| format!("vault {vault}")).collect();
    names.join(" and ")
}

/// When the next scheduled drill is due: drawn from the last part of the period, as long as runs of the plan are apart, so
/// that it does not always fall just after a backup, and never later than `every` allows.
///
/// `seed` was fixed before the period began (the id of the drill or snapshot that it counts from), so that nobody can
/// choose an instant that suits.
pub fn due_at(since: Timestamp, every: Age, apart: Span, seed: &str) -> Timestamp {
    let end = every.after(since);
    let window = apart.signed().min(end.duration_since(since) / 2);
    let draw = Sha256::digest(format!("drill after {seed}"));
    let draw = u64::from_be_bytes(draw[..8].try_into().expect("a digest has 32 bytes"));
    let millis = window.as_millis().max(1).unsigned_abs();
    let back = u64::try_from(u128::from(draw) % millis).unwrap_or(0);
    end.checked_sub(SignedDuration::from_millis(i64::try_from(back).unwrap_or(0))).unwrap_or(since)
}

/// A point that could be restored, and since when it could.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrival {
    /// When it was durable where it is restored from.
    pub at: Timestamp,
    /// What it is consistent to.
    pub point: Timestamp,
}

/// How exposed the data was at its worst between `since` and `until`: E(t) = t - the newest point that could be restored.
/// It grows until the next arrival, so it is looked at just before each, and at the end. Before the first arrival there
/// was nothing to lose from; the period begins there. `None`: nothing had arrived.
pub fn worst_exposure(arrivals: &[Arrival], since: Timestamp, until: Timestamp) -> Option<Worst> {
    let mut arrivals: Vec<Arrival> = arrivals.iter().copied().filter(|arrival| arrival.at <= until).collect();
    arrivals.sort_unstable();
    let mut newest = arrivals.iter().filter(|arrival| arrival.at <= since).map(|arrival| arrival.point).max();
    let from = if newest.is_some() { since } else { arrivals.first()?.at };
    let mut worst: Option<Worst> = None;
    let ends = arrivals.iter().filter(|arrival| arrival.at > since).copied();
    for Arrival { at, point } in ends.chain([Arrival { at: until, point: Timestamp::MIN }]) {
        if let Some(before) = newest {
            let here = Worst { point: before, at, since: from };
            worst = Some(worst.map_or(here, |worst| if here.lasted() > worst.lasted() { here } else { worst }));
        }
        newest = newest.max(Some(point));
    }
    worst
}

/// The worst exposure of a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Worst {
    /// The newest point that could be restored then.
    pub point: Timestamp,
    /// When it was at its worst.
    pub at: Timestamp,
    /// When the period began.
    pub since: Timestamp,
}

impl Worst {
    fn lasted(&self) -> SignedDuration {
        self.at.duration_since(self.point)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config;

    fn at(hours: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours)
    }

    fn chosen(disaster: Disaster, lost: &[&str], wanted: Option<&str>) -> Result<(String, Vec<String>), String> {
        let text = r#"
            [vault.primary]
            url = "s3://a/p"
            region = "eu"
            key = { env = "A" }
            [vault.near]
            url = "/mnt/near"
            key = { env = "B" }
            [vault.dr]
            url = "s3://b/p"
            region = "us"
            credentials = { profile = "other" }
            key = { env = "C" }
            [vault.elsewhere]
            url = "s3://c/p"
            key = { env = "D" }
            [plan.p]
            source = { kind = "files", paths = ["/srv"] }
            vault = "primary"
            copies = [{ vault = "near" }, { vault = "dr" }]
        "#;
        let config = config::parse("/drctl.toml".as_ref(), text).expect("a configuration");
        let lost: Vec<VaultName> = lost.iter().map(|name| name.parse().expect("a name")).collect();
        let wanted = wanted.map(|name| name.parse().expect("a name"));
        choose(&config.plans["p"], &config.vaults, disaster, &lost, wanted.as_ref())
            .map(|choice| (choice.vault.to_string(), choice.lost))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_vault_is_one_that_the_disaster_leaves() {
        let host = "this host, with its catalog and caches".to_owned();
        assert_eq!(
            chosen(Disaster::Host, &[], None),
            Ok(("primary".to_owned(), vec![host.clone(), "vault near".to_owned()]))
        );
        assert_eq!(
            chosen(Disaster::Region, &[], None),
            Ok(("dr".to_owned(), vec!["vault primary (eu)".to_owned(), "vault near".to_owned()]))
        );
        assert_eq!(chosen(Disaster::Attack, &[], None).map(|(vault, _)| vault), Ok("dr".to_owned()));
        let all = chosen(Disaster::Host, &["primary"], None).expect("dr is left");
        assert_eq!(all, ("dr".to_owned(), vec![host, "vault primary (eu)".to_owned(), "vault near".to_owned()]));
        assert_eq!(chosen(Disaster::Host, &[], Some("dr")).map(|(vault, _)| vault), Ok("dr".to_owned()));
    }

    #[test]
    fn a_lost_vault_is_never_taken() {
        assert_eq!(
            chosen(Disaster::Region, &["dr"], None),
            Err("find a vault that the loss of vault dr leaves: the plan has snapshots in primary and near and dr"
                .into())
        );
        assert_eq!(
            chosen(Disaster::Region, &[], Some("primary")),
            Err("restore from vault primary: the loss of the region takes it away".to_owned())
        );
        for (lost, wanted) in [(&["elsewhere"][..], None), (&[][..], Some("elsewhere"))] {
            let error = chosen(Disaster::Host, lost, wanted);
            assert_eq!(error, Err("find vault elsewhere among the places of the plan".to_owned()));
        }
    }

    #[test]
    fn exposure_is_at_its_worst_just_before_an_arrival_or_now() {
        let daily = |day: i64| Arrival { at: at(24 * day + 2), point: at(24 * day) };
        let week: Vec<Arrival> = [1, 2, 3, 5, 6].map(daily).to_vec();
        let worst = worst_exposure(&week, at(24), at(24 * 6 + 12)).expect("exposed");
        // day 4 was missed: day 3's point had to do until day 5's arrived
        assert_eq!(worst, Worst { point: at(72), at: at(24 * 5 + 2), since: at(26) });
        let after = worst_exposure(&week, at(24 * 5 + 3), at(24 * 6 + 12)).expect("exposed");
        assert_eq!(after, Worst { point: at(120), at: at(24 * 6 + 2), since: at(24 * 5 + 3) });
        let now = worst_exposure(&week, at(24), at(24 * 20)).expect("exposed");
        assert_eq!((now.point, now.at), (at(144), at(480)));
        // one that arrives late and is older than what is there helps nobody
        let late = [daily(3), Arrival { at: at(80), point: at(24) }];
        assert_eq!(worst_exposure(&late, at(0), at(90)).map(|worst| worst.point), Some(at(72)));
        assert_eq!(worst_exposure(&[], at(0), at(90)), None);
        assert_eq!(worst_exposure(&[daily(9)], at(0), at(90)), None, "what comes later is no help");
    }

    proptest! {
        #[test]
        fn the_worst_is_at_least_what_any_instant_sees(
            arrivals in prop::collection::vec((0_i64..1000, 0_i64..50), 1..20), instant in 0_i64..1000
        ) {
            let arrivals: Vec<Arrival> =
                arrivals.into_iter().map(|(hours, took)| Arrival { at: at(hours + took), point: at(hours) }).collect();
            let (since, until) = (at(100), at(1100));
            let seen = arrivals.iter().filter(|arrival| arrival.at <= at(instant)).map(|arrival| arrival.point).max();
            if let Some(seen) = seen.filter(|_| at(instant) >= since) {
                let worst = worst_exposure(&arrivals, since, until).expect("something arrived");
                prop_assert!(worst.lasted() >= at(instant).duration_since(seen));
            }
        }

        #[test]
        fn a_drill_is_due_in_the_last_part_of_its_period(seed in ".{0,20}", days in 2_u32..400, hours in 1_u32..400) {
            let (since, every) = (at(0), Age::days(days));
            let due = due_at(since, every, Span::from_hours(hours), &seed);
            prop_assert!(due <= every.after(since));
            prop_assert!(due > every.after(since) - SignedDuration::from_hours(i64::from(hours)));
            prop_assert!(due >= since + SignedDuration::from_hours(12 * i64::from(days)));
            prop_assert_eq!(due, due_at(since, every, Span::from_hours(hours), &seed));
        }
    }

    #[test]
    fn drills_fall_all_over_the_day() {
        let hour = |n: u32| {
            let due = due_at(at(0), Age::months(1), Span::from_hours(24), &n.to_string());
            due.as_second().rem_euclid(86_400) / 3600
        };
        let hours: std::collections::BTreeSet<i64> = (0..200).map(hour).collect();
        assert_eq!(hours.len(), 24, "{hours:?}");
    }
}
