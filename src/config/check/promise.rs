//! Objectives against the vaults that would be left.

use super::{Checks, SINCE, Subject};
use crate::config::Severity;
use crate::objective::{Disaster, Objective};
use crate::units::Span;

impl Checks<'_> {
    pub(super) fn promise(&mut self, subject: &Subject<'_>) {
        for (disaster, objective) in subject.plan.objective.iter() {
            let path = format!("{}.objective.{disaster}", subject.path);
            self.time(subject, disaster, objective, &path);
            match self.newest(subject, disaster) {
                None => self.nothing_left(subject, disaster, &path, "promises recovery from"),
                Some(lag) => self.point(subject, disaster, objective, lag, &path),
            }
        }
        let drill = subject.plan.recover.as_ref().and_then(|recover| recover.drill.as_ref());
        for disaster in drill.iter().flat_map(|drill| &drill.scenarios) {
            // Where it is promised too, that has been said.
            if subject.plan.objective.get(*disaster).is_none() && self.newest(subject, *disaster).is_none() {
                let path = format!("{}.recover.drill.scenarios", subject.path);
                self.nothing_left(subject, *disaster, &path, "drills");
            }
        }
    }

    fn time(&mut self, subject: &Subject<'_>, disaster: Disaster, objective: Objective, path: &str) {
        let allowed = subject.plan.objective.allow.sum();
        if objective.rto.0 <= allowed {
            let what = format!(
                "plan `{}` promises an RTO of {} for {disaster}, of which its allowances take {allowed}",
                subject.name, objective.rto
            );
            self.error(&format!("{path}.rto"), what, "promise a longer RTO, or allow less");
        }
    }

    fn point(&mut self, subject: &Subject<'_>, disaster: Disaster, objective: Objective, lag: Span, path: &str) {
        let promised = format!("plan `{}` promises an RPO of {} for {disaster}", subject.name, objective.rpo);
        let path = format!("{path}.rpo");
        let Some(schedule) = &subject.plan.schedule else {
            self.error(&path, format!("{promised} and has no schedule"), "add a schedule");
            return;
        };
        // A schedule that never runs is a finding of its own.
        let Some(gap) = schedule.longest_gap(SINCE) else { return };
        let oldest = gap.saturating_add(lag);
        let why = match lag {
            Span::ZERO => format!("its runs are up to {gap} apart"),
            lag => format!("what would be left is up to {oldest} old: runs {gap} apart, copied within {lag}"),
        };
        match oldest.cmp(&objective.rpo.0) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => {
                let fix = "promise a little more, or run more often";
                self.add(Severity::Warning, &path, format!("{promised}, which leaves no time for the run: {why}"), fix);
            }
            std::cmp::Ordering::Greater => {
                self.error(&path, format!("{promised}, but {why}"), "run more often, or promise less");
            }
        }
    }

    /// The least lag behind the plan's own vault that a surviving vault has. `None` when none survives.
    fn newest(&self, subject: &Subject<'_>, disaster: Disaster) -> Option<Span> {
        let own = self.config.vaults.get(&subject.plan.vault)?;
        let copies =
            subject.plan.copies.iter().filter_map(|copy| Some((self.config.vaults.get(&copy.vault)?, copy.max_lag)));
        let all = std::iter::once((own, Span::ZERO)).chain(copies);
        all.filter(|(vault, _)| vault.survives(disaster, own)).map(|(_, lag)| lag).min()
    }

    fn nothing_left(&mut self, subject: &Subject<'_>, disaster: Disaster, path: &str, verb: &str) {
        let what = format!("plan `{}` {verb} the loss of {}, which leaves no vault", subject.name, lost(disaster));
        let own_region = self.config.vaults.get(&subject.plan.vault).and_then(|own| own.region.as_deref());
        let fix = match (disaster, own_region) {
            (Disaster::Host, _) => {
                "copy to a vault elsewhere; one on a mount of another site names its `region`".to_owned()
            }
            (Disaster::Region, Some(region)) => format!("copy to a vault whose `region` is not {region}"),
            (Disaster::Region, None) => {
                format!("say which `region` vault `{}` is in, and copy to another", subject.plan.vault)
            }
            (Disaster::Attack, _) => {
                format!("copy to a vault with other credentials than those of `{}`", subject.plan.vault)
            }
        };
        self.error(path, what, fix);
    }
}

fn lost(disaster: Disaster) -> &'static str {
    match disaster {
        Disaster::Host => "the host",
        Disaster::Region => "the region",
        Disaster::Attack => "all that the host can delete",
    }
}
