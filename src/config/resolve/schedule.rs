//! Schedules.

use std::collections::BTreeSet;

use jiff::civil::{Time, Weekday};

use super::Context;
use crate::config::places::describe;
use crate::config::raw;
use crate::config::retention::{Tier, Tiers};
use crate::config::schedule::{Days, Rhythm, Schedule, TierDays};
use crate::units::Span;

impl Context<'_> {
    pub(super) fn schedule(&mut self, path: &str, raw: &raw::Schedule, kept: Option<&Tiers>) -> Option<Schedule> {
        let rhythm = self.rhythm(path, raw);
        let zone = raw.zone.as_deref().unwrap_or("UTC");
        let zone = match zone.parse() {
            Ok(zone) => Some(zone),
            Err(_) => {
                let what = format!("there is no time zone `{zone}` on this machine");
                self.error(&format!("{path}.zone"), what, "use an IANA name, like \"UTC\" or \"Europe/Berlin\"");
                None
            }
        };
        let rhythm = rhythm?;
        let tiers = self.tiers(path, raw, &rhythm, kept)?;
        Some(Schedule {
            rhythm,
            zone: zone?,
            daylight: raw.daylight,
            tiers,
            catch_up: raw.catch_up.unwrap_or_default(),
        })
    }

    fn rhythm(&mut self, path: &str, raw: &raw::Schedule) -> Option<Rhythm> {
        let at = match raw.at.as_deref().map(time_of_day) {
            None => None,
            Some(Some(time)) => Some(Rhythm::At(time)),
            Some(None) => {
                let key = format!("{path}.at");
                self.error(&key, format!("{} is no time of day", describe(&key)), "write it like \"01:30\"");
                return None;
            }
        };
        let cron = match raw.cron.as_deref().map(str::parse) {
            None => None,
            Some(Ok(line)) => Some(Rhythm::Cron(line)),
            Some(Err(refused)) => {
                let key = format!("{path}.cron");
                let refused = refused.to_string();
                let what = format!("{} is no cron expression: {}", describe(&key), refused.trim_end_matches('.'));
                self.error(&key, what, "write minute, hour, day, month and weekday, like \"30 1 * * *\"");
                return None;
            }
        };
        let every = raw.every.map(Rhythm::Every);
        if raw.every.is_some_and(|every| every < Span::from_secs(1)) {
            let key = format!("{path}.every");
            self.error(&key, format!("{} is shorter than a second", describe(&key)), "write it like \"15m\"");
            return None;
        }
        self.exactly_one(path, vec![("at", at), ("cron", cron), ("every", every)])
    }

    /// The tiers that runs serve, and on which days.
    fn tiers(
        &mut self,
        path: &str,
        raw: &raw::Schedule,
        rhythm: &Rhythm,
        kept: Option<&Tiers>,
    ) -> Option<Vec<TierDays>> {
        let is_at = matches!(rhythm, Rhythm::At(_));
        let tiers: BTreeSet<Tier> = match &raw.tiers {
            Some(tiers) => tiers.iter().copied().collect(),
            None if is_at => {
                let weekly = raw.weekly.map(|_| Tier::Weekly);
                let monthly = raw.monthly.map(|_| Tier::Monthly);
                [Some(Tier::Daily), weekly, monthly].into_iter().flatten().collect()
            }
            None => kept?.as_slice().iter().map(|keep| keep.tier).collect(),
        };
        if tiers.is_empty() {
            let key = format!("{path}.tiers");
            self.error(&key, format!("{} is empty", describe(&key)), "name a tier, or remove the key");
            return None;
        }
        let before = self.findings.len();
        for (tier, given) in [(Tier::Weekly, raw.weekly.is_some()), (Tier::Monthly, raw.monthly.is_some())] {
            match (tiers.contains(&tier), given) {
                (true, false) if is_at => {
                    let what = format!("{} serves tier `{tier}` on no day", describe(path));
                    let example = if tier == Tier::Weekly { "weekly = \"sun\"" } else { "monthly = 1" };
                    self.error(path, what, format!("add {example}"));
                }
                (false, true) => {
                    let what = format!("{} gives a day for tier `{tier}` and does not serve it", describe(path));
                    self.error(
                        &format!("{path}.{tier}"),
                        what,
                        format!("add \"{tier}\" to `tiers`, or remove the day"),
                    );
                }
                _ => {}
            }
        }
        let days = |tier| match tier {
            Tier::Daily => Days::Every,
            Tier::Weekly => Days::Weekly(raw.weekly.map_or(Weekday::Monday, Weekday::from)),
            Tier::Monthly => Days::Monthly(raw.monthly.unwrap_or(1)),
        };
        let tiers = tiers.into_iter().map(|tier| TierDays { tier, days: days(tier) }).collect();
        (self.findings.len() == before).then_some(tiers)
    }
}

/// "01:30" or "01:30:15", and nothing else that jiff would take.
fn time_of_day(text: &str) -> Option<Time> {
    let plain = matches!(text.len(), 5 | 8) && text.bytes().all(|b| b.is_ascii_digit() || b == b':');
    if plain { text.parse().ok() } else { None }
}
