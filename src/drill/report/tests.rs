use super::super::judge::recompute;
use super::super::samples;
use super::*;
use crate::drill::evidence::Facts;

fn page(facts: Facts) -> String {
    html(&Evidence::conclude(facts)).unwrap()
}

/// The text that a reader sees: without tags, entities resolved.
fn text(page: &str) -> String {
    let body = page.split_once("<body>").unwrap().1;
    let mut out = String::new();
    let mut inside = false;
    for c in body.chars() {
        match c {
            '<' => inside = true,
            '>' => {
                inside = false;
                out.push(' ');
            }
            c if !inside => out.push(c),
            _ => {}
        }
    }
    let out = out.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&");
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn what_was_promised_and_achieved_can_be_read() {
    let page = page(samples::pass());
    let text = text(&page);
    for said in [
        "Recovery drill 12",
        "Passed",
        "orders came back from vault dr (us-east-1) in 36 min 9 s, declared times included, with the last 13 s of data lost.",
        "14 min 9 s measured + 22 min declared",
        "promised: at most 1 h",
        "promised: at most 15 s",
        "The region is lost RTO 1 h 14 min 9 s 22 min 36 min 9 s Passed RPO 15 s 13 s – 13 s",
        "The host is lost RTO 45 min – – – not drilled here",
        "4 of 4 exercised",
        "until the decision : taken as declared, 10 min, by plan orders",
        "Files 48 211",
        "Throughput 140 MiB/s",
    ] {
        assert!(text.contains(said), "{said:?} is missing in\n{text}");
    }
    assert!(!text.contains("simulated"));
}

#[test]
fn the_page_names_the_digest_of_its_evidence() {
    let evidence = Evidence::conclude(samples::fail());
    let digest = Id::of(evidence.canonical().unwrap().as_bytes()).to_string();
    assert!(html(&evidence).unwrap().contains(&digest));
}

#[test]
fn a_failure_says_why_first() {
    let text = text(&page(samples::fail()));
    let verdict = text.find("Failed").unwrap();
    let why = text.find("step same-as-source failed: 1 of 48211 paths differ").unwrap();
    assert!(verdict < why && why < text.find("Promised and achieved").unwrap());
    assert!(text.contains("up to 13 h 52 min 8 s of data were lost or at risk; 15 s were promised"));
    assert!(text.contains("No proven recovery of orders from vault dr"));
    assert!(text.contains("device busy while removing the sandbox"));
}

#[test]
fn what_was_not_exercised_and_not_real_is_marked() {
    let partial = text(&page(samples::partial()));
    assert!(partial.contains("within the objective, but not exercised: same-as-source"));
    assert!(partial.contains("Step same-as-source : there is no source to compare with"));
    let simulated = text(&page(samples::simulated()));
    assert!(simulated.contains("Simulated calendar."));
    assert!(simulated.contains("2027-11-23 18:00:00 UTC simulated"));
    assert!(simulated.contains("on less than production"));
}

#[test]
fn nothing_from_outside_becomes_markup_and_nothing_is_loaded() {
    for facts in [samples::pass(), samples::fail(), samples::partial(), samples::simulated(), samples::hostile()] {
        let page = page(facts);
        for mark in ["<script", "<img", "onerror=alert(1)>", "<b>primary", "<svg onload", "]]> --> </style>"] {
            assert!(!page.contains(mark), "{mark}");
        }
        for load in ["src=", "href=", "url(", "@import", "http://", "https://"] {
            assert!(!page.replace("src=x", "").contains(load), "{load}");
        }
        assert_eq!(page.matches("</style>").count(), 1);
        assert_eq!(page.matches("<table").count(), page.matches("</table>").count());
    }
    assert!(text(&page(samples::hostile())).contains("<script>alert('owner')</script> & \"co\""));
}

#[test]
fn an_altered_judgement_is_exposed_and_not_shown() {
    let mut evidence = Evidence::conclude(samples::fail());
    evidence.judgement = judge(&samples::pass());
    let text = text(&html(&evidence).unwrap());
    assert!(text.contains("This evidence was altered or is faulty."));
    assert!(text.contains("Failed") && !text.contains("36 min 9 s"));
}

#[test]
fn a_drill_that_never_began_still_has_a_page() {
    let facts = Facts {
        run: None,
        fail: None,
        exposure: None,
        canary: None,
        allowances: vec![],
        promises: vec![],
        ..samples::pass()
    };
    let text = text(&page(facts));
    assert!(text.contains("The drill never came to its first step."));
    assert!(text.contains("no critical check was green"));
}

#[test]
fn figures_on_the_page_are_recomputed_ones() {
    let mut evidence = Evidence::conclude(samples::pass());
    evidence.judgement.figures.files = 99_999;
    let text = text(&html(&evidence).unwrap());
    assert!(text.contains("Files 48 211") && !text.contains("99 999"));
    assert_eq!(recompute(&evidence.facts).files, 48_211);
}

#[test]
fn spans_round_up_and_read_well() {
    use crate::units::Span;
    use std::time::Duration;
    for (millis, said) in [
        (0, "0 s"),
        (1, "0.1 s"),
        (2445, "2.5 s"),
        (3000, "3 s"),
        (9_999, "10 s"),
        (10_001, "11 s"),
        (86_400_000, "24 h"),
        (172_800_000, "2 d"),
        (5_430_000, "1 h 30 min 30 s"),
    ] {
        let shown = words::span(Span::round_up(Duration::from_millis(millis)));
        assert!(shown.contains('\u{a0}'), "a unit stays with its number");
        assert_eq!(shown.replace('\u{a0}', " "), said);
    }
    assert_eq!(words::step_span(Span::round_up(Duration::from_millis(29))), "29\u{a0}ms");
    assert_eq!([7, 1234, 1_234_567].map(words::count), ["7", "1\u{202f}234", "1\u{202f}234\u{202f}567"]);
}

/// Writes the pages to the folder that `DRCTL_REPORT_SAMPLES` names, for a look at them in a browser.
#[test]
#[ignore = "for people's eyes"]
fn write_samples() {
    let folder = std::path::PathBuf::from(std::env::var_os("DRCTL_REPORT_SAMPLES").expect("DRCTL_REPORT_SAMPLES"));
    let samples = [
        ("pass", samples::pass()),
        ("fail", samples::fail()),
        ("partial", samples::partial()),
        ("simulated", samples::simulated()),
        ("hostile", samples::hostile()),
    ];
    for (name, facts) in samples {
        let path = folder.join(format!("{name}.html"));
        std::fs::write(&path, page(facts)).unwrap();
        assert!(path.is_file());
    }
}
