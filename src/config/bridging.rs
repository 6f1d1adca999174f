//! The options `bridge.*`: when far sides are looked at and how much of them.
//!
//! Owns: their names and defaults. Does not own: keeping to them (`crate::bridge`).

use super::Setting;
use super::values::{duration, interval, items, parsed, reach, time_of_day, word};
use crate::bridge::Detect;
use crate::bridge::record::Direction;
use crate::http::dns::{Dns, name_server};
use crate::http::fetch::Private;

/// How a certificate begins (RFC 7468 §5.1).
const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// Every one of them, in the order of the example.
pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        key: "bridge.poll_interval",
        default: "\"15 min\"",
        example: "",
        doc: "How often a bridged calendar is looked at on the far side; up to a quarter more or less, so that not\n\
              all are asked at once. Changes made here go out at once.",
        set: |config, text| interval(text, &mut config.schedule.poll),
    },
    Setting {
        key: "bridge.poll_interval_caldav",
        default: "\"10 min\"",
        example: "",
        doc: "The same for iCloud and other CalDAV servers.",
        set: |config, text| interval(text, &mut config.schedule.caldav),
    },
    Setting {
        key: "bridge.poll_interval_cozi",
        default: "\"30 min\"",
        example: "",
        doc: "The same for Cozi.",
        set: |config, text| interval(text, &mut config.schedule.cozi),
    },
    Setting {
        key: "bridge.poll_interval_ics",
        default: "\"60 min\"",
        example: "",
        doc: "The same for feeds that do not say how often they wish to be asked for (REFRESH-INTERVAL, X-PUBLISHED-TTL).",
        set: |config, text| interval(text, &mut config.schedule.feed),
    },
    Setting {
        key: "bridge.window_past",
        default: "\"30 d\"",
        example: "",
        doc: "How far back bridged calendars are carried over, where a mapping does not say otherwise: days, or \"all\". An\n\
              event that leaves the window stays where it is.",
        set: |config, text| reach(text, &mut config.window_past),
    },
    Setting {
        key: "bridge.window_future",
        default: "\"365 d\"",
        example: "",
        doc: "How far ahead, the same way.",
        set: |config, text| reach(text, &mut config.window_future),
    },
    Setting {
        key: "bridge.full_resync_at",
        default: "\"03:00\"",
        example: "",
        doc: "When both sides are compared as a whole, once a day, by the clock of the calendar's time zone (else of the\n\
              one that most of its owner's calendars name, else UTC), up to 90 minutes earlier or later, so that not all\n\
              are asked at once. Only differences are written.",
        set: |config, text| time_of_day(text, &mut config.full_resync_at),
    },
    Setting {
        key: "bridge.retry_schedule",
        default: "[\"1 min\", \"5 min\", \"15 min\"]",
        example: "",
        doc: "After the first, second … failure in a row, before the next attempt; after that, once a day.",
        set: |config, text| {
            config.schedule.retry = items(text).map(duration).collect::<Result<_, _>>()?;
            Ok(())
        },
    },
    Setting {
        key: "bridge.mass_delete_limit",
        default: "20",
        example: "",
        doc: "A far side on which more objects than this, and more than 30 % of a calendar, are missing at once: nothing\n\
              is deleted here until somebody says that it is meant.",
        set: |config, text| parsed(text, "a number", &mut config.mass_delete_limit),
    },
    Setting {
        key: "bridge.detect_overlap",
        default: "\"off\"",
        example: "",
        doc: "Whether somebody is told when an event from a far side overlaps one that is here: off, bookings (only those\n\
              that were booked through this server) or all.",
        set: |config, text| {
            let words = [("off", Detect::Off), ("bookings", Detect::Bookings), ("all", Detect::All)];
            word(text, &words, &mut config.detect_overlap)
        },
    },
    Setting {
        key: "bridge.default_direction",
        default: "\"both\"",
        example: "",
        doc: "Which way a new mapping carries if nobody says: both, pull (from there to here) or push.",
        set: |config, text| {
            let words = [("both", Direction::Both), ("pull", Direction::Pull), ("push", Direction::Push)];
            word(text, &words, &mut config.default_direction)
        },
    },
    Setting {
        key: "bridge.mapping_limit",
        default: "0",
        example: "",
        doc: "How many calendars of one connected account may be mapped; 0: any number.",
        set: |config, text| {
            let mut limit: usize = 0;
            parsed(text, "a number", &mut limit)?;
            config.mapping_limit = Some(limit).filter(|limit| *limit > 0);
            Ok(())
        },
    },
    Setting {
        key: "bridge.primary_only",
        default: "false",
        example: "",
        doc: "Whether only the main calendar of an account is offered, where the provider has such a thing (Google, Outlook,\n\
              Cozi): true or false.",
        set: |config, text| parsed(text, "true or false", &mut config.primary_only),
    },
    Setting {
        key: "bridge.feeds",
        default: "true",
        example: "",
        doc: "Whether people may connect ICS feeds: true or false.",
        set: |config, text| parsed(text, "true or false", &mut config.feeds),
    },
    Setting {
        key: "bridge.match_confidence",
        default: "0.85",
        example: "",
        doc: "How sure it has to be, at a first sync, that two events without a common UID are one (same title, time and place,\n\
              but for small differences), so that they are joined and not doubled: from 0.5 to 1. With 1 only events that\n\
              do not differ in any of it are.",
        set: |config, text| {
            parsed(text, "a number", &mut config.match_confidence)?;
            match (0.5..=1.0).contains(&config.match_confidence) {
                true => Ok(()),
                false => Err(format!("{text:?} is not between 0.5 and 1")),
            }
        },
    },
    Setting {
        key: "bridge.calendar_color",
        default: "\"#4285f4\"",
        example: "",
        doc: "The colour in which a calendar of a far side is offered that names none.",
        set: |config, text| {
            let digits = text.strip_prefix('#').unwrap_or_default();
            if digits.len() != 6 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(format!("{text:?} is no colour like #4285f4"));
            }
            config.calendar_color = text.to_owned();
            Ok(())
        },
    },
    Setting {
        key: "bridge.allow_private",
        default: "false",
        example: "",
        doc: "Whether connected accounts may be on private addresses: true, false, or a list of networks such as\n\
              [\"192.168.1.0/24\"]. With false nobody can reach a neighbour of this server through it.",
        set: |config, text| {
            config.allow_private = match text {
                "true" => Private::Allowed,
                "false" => Private::Refused,
                list => Private::Within(items(list).map(str::parse).collect::<Result<_, _>>()?),
            };
            Ok(())
        },
    },
    Setting {
        key: "bridge.ca_file",
        default: "",
        example: "\"/etc/kalends.ca.pem\"",
        doc: "Certificates (PEM) of authorities of your own: connected servers and a mail server that they vouch for are\n\
              believed, too. For a home or an office whose servers no public authority knows.",
        set: |config, text| {
            config.authorities = std::fs::read(text).map_err(|error| format!("{text}: {error}"))?;
            let any = config.authorities.windows(CERTIFICATE.len()).any(|bytes| bytes == CERTIFICATE);
            if any { Ok(()) } else { Err(format!("{text} holds no certificate in PEM")) }
        },
    },
    Setting {
        key: "bridge.name_servers",
        default: "[]",
        example: "",
        doc: "The name servers that are asked for the hosts of connected accounts and their services (SRV, TXT), such as\n\
              [\"192.168.1.1\", \"192.168.1.1:5353\"]. Without any, those of the system are, and its list of hosts.",
        set: |config, text| {
            let server = |item: &str| {
                name_server(item).ok_or_else(|| format!("{item:?} is no address of a name server"))
            };
            let servers: Vec<_> = items(text).map(server).collect::<Result<_, _>>()?;
            config.dns = if servers.is_empty() { Dns::system() } else { Dns::at(servers) };
            Ok(())
        },
    },
];
