//! The options `limits.*`: how much of anything is accepted.
//!
//! Owns: their names and defaults. Does not own: keeping to them.

use super::Setting;
use super::values::{calls, parsed, size};

/// How many requests a minute are answered; 0: any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requests {
    /// To the API, by one token.
    pub api: u32,
    /// To the API, from one address without a valid token.
    pub unknown: u32,
    /// To CalDAV, by one account, or from one address without a valid password.
    pub dav: u32,
}

impl Default for Requests {
    fn default() -> Requests {
        Requests { api: 600_000, unknown: 600, dav: 600_000 }
    }
}

/// Every one of them, in the order of the example.
pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        key: "limits.object_size",
        default: "\"10 MiB\"",
        example: "",
        doc: "The largest calendar object (an event with its changes and attachments within).",
        set: |config, text| size(text, &mut config.limits.object_size),
    },
    Setting {
        key: "limits.file_size",
        default: "\"64 MiB\"",
        example: "",
        doc: "The largest file below /dav/files/.",
        set: |config, text| size(text, &mut config.limits.file_size),
    },
    Setting {
        key: "limits.objects",
        default: "200000",
        example: "",
        doc: "The most objects in one calendar or folder.",
        set: |config, text| parsed(text, "a number", &mut config.limits.objects),
    },
    Setting {
        key: "limits.instances",
        default: "100000",
        example: "",
        doc: "The most instances of repeating events that one answer may hold.",
        set: |config, text| parsed(text, "a number", &mut config.limits.instances),
    },
    Setting {
        key: "limits.quota",
        default: "\"10 GiB\"",
        example: "",
        doc: "What one account may store in its calendars and folders. What is in the trash, or was replaced and is still kept,\n\
              is not counted.",
        set: |config, text| size(text, &mut config.limits.quota),
    },
    Setting {
        key: "limits.requests_per_minute",
        default: "600000",
        example: "",
        doc: "Requests a minute to /api by one token, and to the pages by one account; a minute's worth may come at once,\n\
              further ones are answered with 429 and Retry-After. The default only stops a program that runs wild; 600 is\n\
              plenty for most. 0: any number.",
        set: |config, text| parsed(text, "a number", &mut config.requests.api),
    },
    Setting {
        key: "limits.requests_per_minute_unknown",
        default: "600",
        example: "",
        doc: "The same for whoever has no valid token or session, and for readers of published feeds, from one address (of\n\
              IPv6: one /64).",
        set: |config, text| parsed(text, "a number", &mut config.requests.unknown),
    },
    Setting {
        key: "limits.requests_per_minute_dav",
        default: "600000",
        example: "",
        doc: "The same for /dav, by one account with all its devices, or from one address without a valid password. Clients\n\
              ask in bursts: stay above 6000.",
        set: |config, text| parsed(text, "a number", &mut config.requests.dav),
    },
    Setting {
        key: "limits.calls_per_minute.google",
        default: "300",
        example: "",
        doc: "Calls a minute to one connected account, all its calendars together. What is above waits a moment; when that\n\
              takes longer, the run is deferred and goes on by itself. Unused calls are saved up, so that a first sync is\n\
              quick: of two minutes for Google (but no minute has more than 580, or than this if it is more), of twenty for\n\
              Outlook, of three for Cozi, of an hour for CalDAV and feeds.",
        set: |config, text| calls(text, &mut config.rates.google.minute),
    },
    Setting {
        key: "limits.calls_per_minute.outlook",
        default: "300",
        example: "",
        doc: "The same for Outlook.",
        set: |config, text| calls(text, &mut config.rates.outlook.minute),
    },
    Setting {
        key: "limits.calls_per_minute.caldav",
        default: "30",
        example: "",
        doc: "The same for CalDAV, iCloud and feeds.",
        set: |config, text| calls(text, &mut config.rates.caldav.minute),
    },
    Setting {
        key: "limits.calls_per_minute.cozi",
        default: "10",
        example: "",
        doc: "The same for Cozi.",
        set: |config, text| calls(text, &mut config.rates.cozi.minute),
    },
    Setting {
        key: "limits.calls_per_day.google",
        default: "50000",
        example: "",
        doc: "Calls a day (UTC) to one connected account. Above, it goes on the next day; a notice says so.",
        set: |config, text| calls(text, &mut config.rates.google.day),
    },
    Setting {
        key: "limits.calls_per_day.outlook",
        default: "50000",
        example: "",
        doc: "The same for Outlook.",
        set: |config, text| calls(text, &mut config.rates.outlook.day),
    },
    Setting {
        key: "limits.calls_per_day.caldav",
        default: "20000",
        example: "",
        doc: "The same for CalDAV, iCloud and feeds.",
        set: |config, text| calls(text, &mut config.rates.caldav.day),
    },
    Setting {
        key: "limits.calls_per_day.cozi",
        default: "5000",
        example: "",
        doc: "The same for Cozi.",
        set: |config, text| calls(text, &mut config.rates.cozi.day),
    },
    Setting {
        key: "limits.manual_sync",
        default: "",
        example: "10",
        doc: "How often in an hour one person may ask for a sync by hand; one that joins a running one is not counted.\n\
              Default: 10 for people, no limit for programs with a token of the scope bridges. A number here holds for\n\
              both.",
        set: |config, text| {
            let mut most = 0;
            parsed(text, "a number", &mut most)?;
            config.manual_sync = Some(most);
            Ok(())
        },
    },
];
