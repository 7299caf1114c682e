//! A drill's evidence as one page: a manager reads it in a minute, an auditor can check it.
//!
//! Invariant: every number on it comes from [`judge::recompute`](super::judge::recompute) over the facts, at the time of
//! drawing; the page needs nothing else, loads nothing, and runs nothing. All text from outside is escaped.

mod sections;
mod timeline;
mod words;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::evidence::Evidence;
use super::judge::{Headline, Judgement, judge};
use crate::record::TimeKind;
use crate::record::canonical::CanonicalError;
use crate::vault::Id;

const STYLE: &str = include_str!("report/style.css");

/// What the sections draw from: the evidence, and the judgement as computed anew.
struct Page<'a> {
    evidence: &'a Evidence,
    judgement: Judgement,
    digest: Id,
}

/// Draws the page.
///
/// When the evidence's own judgement does not follow from its facts, the page says so first and shows what does follow.
pub fn html(evidence: &Evidence) -> Result<String, CanonicalError> {
    let digest = Id::of(evidence.canonical()?.as_bytes());
    let page = Page { evidence, judgement: judge(&evidence.facts), digest };
    Ok(page.draw().into_string())
}

impl Page<'_> {
    fn draw(&self) -> Markup {
        let facts = &self.evidence.facts;
        let title = format!("Drill {} of {}: {}", facts.number, facts.plan, words::verdict(self.judgement.headline));
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    // even a page with a fault in its escaping could load and run nothing
                    meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'";
                    meta name="generator" content=(facts.machine.version);
                    title { (title) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    main class=(self.judgement.headline.name()) {
                        (self.masthead())
                        @if !self.evidence.is_sound() {
                            p.alarm { strong { "This evidence was altered or is faulty." } " Its recorded judgement does not follow from its facts. What is shown here does." }
                        }
                        (self.verdict())
                        (self.panels())
                        (self.promises())
                        (timeline::section(self))
                        (self.steps())
                        (self.gaps())
                        (self.restored())
                        (self.circumstances())
                        (self.verify())
                        (sections::glossary())
                    }
                }
            }
        }
    }

    fn is_simulated(&self) -> bool {
        self.evidence.facts.fail.as_ref().is_some_and(|loss| loss.at.time == TimeKind::Simulated)
    }

    /// The verdict on the drill.
    fn headline(&self) -> Headline {
        self.judgement.headline
    }
}

#[cfg(test)]
mod tests;
