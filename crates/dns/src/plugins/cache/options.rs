//! What the directive says.

use std::time::Duration;

use crate::config::directive::{Directive, Mistakes};
use crate::name::Name;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Empty: all zones of the block.
    pub zones: Vec<Name>,
    pub success: Kind,
    pub denial: Kind,
    /// How long a failure of the upstream is remembered (RFC 2308 section 7 allows five minutes at the most).
    pub servfail: Duration,
    pub serve_stale: Option<Stale>,
    /// `serve_stale_policy prefer_positive`: while an answer with records may be served, stale or not, none without takes its place.
    pub prefer_positive: bool,
    pub prefetch: Option<Prefetch>,
    pub keep_ttl: bool,
}

/// What holds for one kind of answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    pub most: Duration,
    pub least: Duration,
    /// Zones for which it is off.
    pub disabled: Vec<Name>,
}

/// `serve_stale [DURATION [immediate [TTL [RECHECK]] | verify [PATIENCE [TTL [RECHECK]]]]]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale {
    pub for_at_most: Duration,
    /// The upstream is asked first; otherwise the old answer goes out at once, and the new one is for those who come after.
    pub verify: bool,
    /// How long that may take before the old answer goes out after all; `None`: as long as the upstream's own time-out.
    pub patience: Option<Duration>,
    /// What old answers say of themselves. 0 as CoreDNS's default; RFC 8767 section 4 recommends 30.
    pub ttl: u32,
    /// The pause after a refresh that failed.
    pub recheck: Duration,
}

/// `prefetch AMOUNT [DURATION [PERCENTAGE%]]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefetch {
    /// So many questions, with no pause between two of them longer than `within`.
    pub amount: u32,
    pub within: Duration,
    /// What is left of the time that the answer is kept.
    pub percentage: u8,
}

pub(crate) fn parse(directive: &Directive, mistakes: &mut Mistakes) -> Option<Options> {
    const KNOWN: &[&str] = &["success", "denial", "prefetch", "serve_stale", "serve_stale_policy", "servfail", "disable", "keepttl"];
    // 3,600 s, 1,800 s and 5 s: CoreDNS's defaults.
    let kind = |most| Kind { most: Duration::from_secs(most), least: Duration::from_secs(5), disabled: Vec::new() };
    let mut options = Options {
        zones: Vec::new(),
        success: kind(3_600),
        denial: kind(1_800),
        servfail: Duration::from_secs(5),
        serve_stale: None,
        prefer_positive: false,
        prefetch: None,
        keep_ttl: false,
    };
    let mut zones = directive.args.as_slice();
    if let Some((first, rest)) = zones.split_first()
        && let Ok(secs) = first.parse::<i32>()
    {
        let ttl = at_least_one(directive, secs, mistakes);
        (options.success.most, options.denial.most) = (ttl, ttl);
        zones = rest;
    }
    options.zones = zones.iter().flat_map(|zone| crate::config::directive::zones(directive.line, zone, mistakes)).collect();
    for property in &directive.body {
        match property.name.as_str() {
            "success" => capacity(property, &mut options.success, mistakes),
            "denial" => capacity(property, &mut options.denial, mistakes),
            "prefetch" => options.prefetch = prefetch(property, mistakes),
            "serve_stale" => options.serve_stale = stale(property, mistakes),
            "serve_stale_policy" => match property.one(mistakes).map(str::to_ascii_lowercase).as_deref() {
                Some("prefer_positive") => options.prefer_positive = true,
                Some(other) => mistakes.add(property.line, format!("`serve_stale_policy {other}`: there is prefer_positive alone")),
                None => {}
            },
            "servfail" => {
                let most = Duration::from_secs(300);
                match property.duration(mistakes) {
                    Some(duration) if duration > most => mistakes.add(property.line, "`servfail` is 5m at the most"),
                    Some(duration) => options.servfail = duration,
                    None => {}
                }
            }
            "keepttl" => {
                property.bare(mistakes);
                options.keep_ttl = true;
            }
            "disable" => {
                let Some((what, zones)) = property.args.split_first() else {
                    mistakes.add(property.line, "`disable` takes `success` or `denial`, and zones");
                    continue;
                };
                let mut disabled: Vec<Name> =
                    zones.iter().flat_map(|zone| crate::config::directive::zones(property.line, zone, mistakes)).collect();
                if zones.is_empty() {
                    disabled.push(Name::root());
                }
                match what.as_str() {
                    "success" => options.success.disabled.extend(disabled),
                    "denial" => options.denial.disabled.extend(disabled),
                    _ => mistakes.add(property.line, format!("`disable {what}`: neither success nor denial")),
                }
            }
            _ => mistakes.unknown(property, "cache", KNOWN),
        }
    }
    if options.prefer_positive && options.serve_stale.is_none() {
        mistakes.add(directive.line, "`serve_stale_policy` says nothing without `serve_stale`");
    }
    Some(options)
}

fn at_least_one(directive: &Directive, secs: i32, mistakes: &mut Mistakes) -> Duration {
    if secs < 1 {
        mistakes.add(directive.line, format!("`{} ... {secs}`: a TTL is one second at least", directive.name));
    }
    Duration::from_secs(u64::try_from(secs).unwrap_or_default())
}

/// `CAPACITY [TTL [MINTTL]]`. The capacity counts entries; ours is bounded in bytes for all zones together, so it is read and let be.
fn capacity(property: &Directive, kind: &mut Kind, mistakes: &mut Mistakes) {
    let numbers: Result<Vec<i32>, _> = property.args.iter().map(|arg| arg.parse()).collect();
    match numbers.as_deref() {
        Ok([_]) => {}
        Ok([_, most]) => kind.most = at_least_one(property, *most, mistakes),
        Ok([_, most, least]) if *least >= 0 => {
            kind.most = at_least_one(property, *most, mistakes);
            kind.least = Duration::from_secs(u64::from(least.unsigned_abs()));
        }
        _ => mistakes.add(property.line, format!("`{}` takes a capacity, a TTL and a least TTL, all numbers", property.name)),
    }
}

fn stale(property: &Directive, mistakes: &mut Mistakes) -> Option<Stale> {
    let hour = Duration::from_secs(3_600);
    let mut stale = Stale { for_at_most: hour, verify: false, patience: None, ttl: 0, recheck: Duration::ZERO };
    let mut args = property.args.iter();
    let time = |text: Option<&String>, mistakes: &mut Mistakes| {
        let text = text?;
        let time = crate::config::directive::duration(text);
        if time.is_none() {
            mistakes.add(property.line, format!("`serve_stale {text}`: not a duration such as 1h"));
        }
        time
    };
    stale.for_at_most = time(args.next(), mistakes).unwrap_or(hour);
    match args.next().map(|mode| mode.to_ascii_lowercase()).as_deref() {
        None | Some("immediate") => {}
        Some("verify") => {
            stale.verify = true;
            stale.patience = time(args.next(), mistakes).filter(|patience| !patience.is_zero());
        }
        Some(other) => mistakes.add(property.line, format!("`serve_stale ... {other}`: neither immediate nor verify")),
    }
    let ttl = time(args.next(), mistakes).unwrap_or_default();
    stale.ttl = u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX);
    if ttl.subsec_nanos() > 0 {
        mistakes.add(property.line, "`serve_stale`: a TTL is whole seconds");
    }
    stale.recheck = time(args.next(), mistakes).unwrap_or_default();
    // RFC 8767 section 5.
    if stale.recheck > Duration::from_secs(300) {
        mistakes.add(property.line, "`serve_stale`: the pause after a failure is 5m at the most");
    }
    if let Some(rest) = args.next() {
        mistakes.add(property.line, format!("`serve_stale ... {rest}`: one word too many"));
    }
    Some(stale)
}

fn prefetch(property: &Directive, mistakes: &mut Mistakes) -> Option<Prefetch> {
    let mut wrong = |text: &str, wanted: &str| {
        mistakes.add(property.line, format!("`prefetch {text}`: not {wanted}"));
        None
    };
    // One minute and 10 %: CoreDNS's defaults.
    let mut prefetch = Prefetch { amount: 0, within: Duration::from_secs(60), percentage: 10 };
    let [amount, rest @ ..] = property.args.as_slice() else { return wrong("", "a number of questions") };
    match amount.parse() {
        Ok(amount) => prefetch.amount = amount,
        Err(_) => return wrong(amount, "a number of questions"),
    }
    for arg in rest {
        match (arg.strip_suffix('%').map(str::parse), crate::config::directive::duration(arg)) {
            (Some(Ok(percentage @ 10..=90)), _) => prefetch.percentage = percentage,
            (Some(_), _) => return wrong(arg, "a percentage from 10% to 90%"),
            (None, Some(within)) => prefetch.within = within,
            (None, None) => return wrong(arg, "a duration such as 1m, or a percentage"),
        }
    }
    (prefetch.amount > 0).then_some(prefetch)
}
