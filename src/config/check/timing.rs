//! Schedules against tiers, clocks and proofs.

use super::{Checks, SINCE, Subject};
use crate::config::name::RetentionName;
use crate::config::retention::Tier;
use crate::config::schedule::Schedule;

impl Checks<'_> {
    pub(super) fn timing(&mut self, subject: &Subject<'_>) {
        if let Some(schedule) = &subject.plan.schedule {
            self.tiers(subject, schedule);
            self.calendar(subject, schedule);
        }
        self.proofs(subject);
    }

    fn tiers(&mut self, subject: &Subject<'_>, schedule: &Schedule) {
        let (config, plan, name) = (self.config, subject.plan, subject.name);
        let path = format!("{}.schedule", subject.path);
        let kept = |retention: &RetentionName, tier| {
            config.retention.get(retention).and_then(|tiers| tiers.get(tier)).is_some()
        };
        for tier in Tier::ALL {
            let scheduled = schedule.tiers.iter().any(|days| days.tier == tier);
            let keepers = std::iter::once(&plan.retention).chain(plan.copies.iter().map(|copy| &copy.retention));
            let keeper = keepers.clone().find(|retention| kept(retention, tier));
            match (scheduled, keeper) {
                (false, Some(retention)) => {
                    let what = format!("retention `{retention}` keeps tier `{tier}`, which plan `{name}` never makes");
                    let fix = match tier {
                        Tier::Daily => "add \"daily\" to `tiers`, or name a retention without it",
                        Tier::Weekly => "add weekly = \"sun\", or name a retention without it",
                        Tier::Monthly => "add monthly = 1, or name a retention without it",
                    };
                    self.error(&path, what, fix);
                }
                (true, None) => {
                    let what = format!("plan `{name}` makes tier `{tier}`, which retention `{}` drops", plan.retention);
                    self.error(&path, what, "keep the tier in the retention, or do not schedule it");
                }
                (true, Some(_)) | (false, None) => {}
            }
        }
    }

    fn calendar(&mut self, subject: &Subject<'_>, schedule: &Schedule) {
        let path = format!("{}.schedule", subject.path);
        if schedule.longest_gap(SINCE).is_none() {
            self.error(&path, format!("plan `{}` never runs", subject.name), "name a day that exists");
        }
        if schedule.daylight.is_none()
            && let Some((from, to)) = schedule.moved_by_daylight(SINCE)
        {
            let what = format!(
                "plan `{}` runs at a time that daylight saving moves: {} has no or two times from {} to {} on {}",
                subject.name,
                schedule.zone,
                from.time().strftime("%H:%M"),
                to.time().strftime("%H:%M"),
                from.date()
            );
            let fix = "add daylight = \"once\" (at the change when skipped, the first time when it comes twice), \
                       or use another time, or UTC";
            self.error(&path, what, fix);
        }
    }

    /// A proof that is due before anything could renew it.
    fn proofs(&mut self, subject: &Subject<'_>) {
        let Some(boot) = subject.plan.verify.boot else { return };
        let path = format!("{}.verify.boot", subject.path);
        let promised = format!("plan `{}` promises a drill at least every {boot}", subject.name);
        match subject.plan.recover.as_ref().and_then(|recover| recover.drill.as_ref()) {
            None => self.error(&path, format!("{promised} and has none"), "add recover.drill, or remove verify.boot"),
            Some(drill) if drill.every.at_least() > boot => {
                let what = format!("{promised} and has one every {}", drill.every);
                self.error(&path, what, "drill more often, or allow an older proof");
            }
            Some(_) => {}
        }
    }
}
