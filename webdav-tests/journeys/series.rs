//! Our own hard series: what makes each of them hard is its name.

use bytes::Bytes;

/// Name, lines of the master (none: there is no master), further components; `|` stands for a line break, `{+30}` for the day
/// thirty days from now. A component without a title has the name of its series.
type Row = (&'static str, &'static str, &'static [&'static str]);

const BERLIN: &str = "BEGIN:VTIMEZONE|TZID:Europe/Berlin|BEGIN:DAYLIGHT|TZOFFSETFROM:+0100|TZOFFSETTO:+0200|TZNAME:CEST|\
    DTSTART:19700329T020000|RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU|END:DAYLIGHT|BEGIN:STANDARD|TZOFFSETFROM:+0200|\
    TZOFFSETTO:+0100|TZNAME:CET|DTSTART:19701025T030000|RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU|END:STANDARD|END:VTIMEZONE";

/// The same clock under a name of somebody's own.
const OWN: &str = "BEGIN:VTIMEZONE|TZID:Office\\, 2nd floor|BEGIN:DAYLIGHT|TZOFFSETFROM:+0100|TZOFFSETTO:+0200|TZNAME:S|\
    DTSTART:20070325T020000|RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU|END:DAYLIGHT|BEGIN:STANDARD|TZOFFSETFROM:+0200|\
    TZOFFSETTO:+0100|TZNAME:W|DTSTART:20071028T030000|RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU|END:STANDARD|END:VTIMEZONE";

/// A clock that no place on earth has.
const ODD: &str = "BEGIN:VTIMEZONE|TZID:Nowhere|BEGIN:STANDARD|TZOFFSETFROM:+0137|TZOFFSETTO:+0137|TZNAME:N|\
    DTSTART:19700101T000000|END:STANDARD|END:VTIMEZONE";

const SERIES: &[Row] = &[
    ("single", "DTSTART:20261210T090000Z|DTEND:20261210T100000Z", &[]),
    ("all_day", "DTSTART;VALUE=DATE:20261224|DTEND;VALUE=DATE:20261227", &[]),
    (
        "over_new_year",
        "DTSTART;TZID=Europe/Berlin:20261231T220000|DTEND;TZID=Europe/Berlin:20270101T030000",
        &[],
    ),
    (
        "into_summer_time",
        "DTSTART;TZID=Europe/Berlin:20270301T090000|DTEND;TZID=Europe/Berlin:20270301T093000|\
         RRULE:FREQ=WEEKLY;BYDAY=MO,WE;COUNT=24",
        &[],
    ),
    (
        "holes",
        "DTSTART;TZID=Europe/Berlin:20270104T180000|DTEND;TZID=Europe/Berlin:20270104T190000|\
         RRULE:FREQ=WEEKLY;UNTIL=20270330T170000Z|EXDATE;TZID=Europe/Berlin:20270118T180000,20270201T180000",
        &[],
    ),
    (
        "moved",
        "DTSTART;TZID=Europe/Berlin:20270105T120000|DTEND;TZID=Europe/Berlin:20270105T130000|RRULE:FREQ=WEEKLY;COUNT=8",
        &["RECURRENCE-ID;TZID=Europe/Berlin:20270119T120000|DTSTART;TZID=Europe/Berlin:20270120T150000|\
           DTEND;TZID=Europe/Berlin:20270120T163000|SUMMARY:moved\\, later"],
    ),
    (
        "renamed",
        "DTSTART:20270106T090000Z|DTEND:20270106T093000Z|RRULE:FREQ=DAILY;COUNT=10",
        &[
            "RECURRENCE-ID:20270109T090000Z|DTSTART:20270109T090000Z|DTEND:20270109T093000Z|SUMMARY:another title",
        ],
    ),
    (
        "second_tuesday",
        "DTSTART;TZID=Europe/Berlin:20270112T100000|DTEND;TZID=Europe/Berlin:20270112T110000|\
         RRULE:FREQ=MONTHLY;BYDAY=2TU;COUNT=6",
        &[],
    ),
    ("last_friday", "DTSTART;VALUE=DATE:20270129|RRULE:FREQ=MONTHLY;BYDAY=-1FR;COUNT=5", &[]),
    ("birthday", "DTSTART;VALUE=DATE:20270214|RRULE:FREQ=YEARLY;COUNT=3|TRANSP:TRANSPARENT", &[]),
    (
        "new_york",
        "DTSTART;TZID=America/New_York:20270308T083000|DTEND;TZID=America/New_York:20270308T091500|\
         RRULE:FREQ=DAILY;COUNT=12",
        &[],
    ),
    (
        "fortnights",
        "DTSTART:20270111T070000Z|DTEND:20270111T080000Z|RRULE:FREQ=WEEKLY;INTERVAL=2;WKST=MO;BYDAY=MO,FR;COUNT=9",
        &[],
    ),
    // The hour that comes twice, and the one that does not come.
    (
        "autumn_night",
        "DTSTART;TZID=Europe/Berlin:20271029T023000|DTEND;TZID=Europe/Berlin:20271029T031500|RRULE:FREQ=DAILY;COUNT=5",
        &[],
    ),
    (
        "spring_night",
        "DTSTART;TZID=Europe/Berlin:20270326T023000|DTEND;TZID=Europe/Berlin:20270326T031500|RRULE:FREQ=DAILY;COUNT=5",
        &[],
    ),
    (
        "through_the_change",
        "DTSTART;TZID=Europe/Berlin:20270327T200000|DTEND;TZID=Europe/Berlin:20270328T080000|RRULE:FREQ=WEEKLY;COUNT=3",
        &[],
    ),
    (
        "southern_summer",
        "DTSTART;TZID=Australia/Sydney:20270329T090000|DTEND;TZID=Australia/Sydney:20270329T100000|\
         RRULE:FREQ=WEEKLY;COUNT=30",
        &[],
    ),
    (
        "half_an_hour_of_summer",
        "DTSTART;TZID=Australia/Lord_Howe:20270329T090000|DTEND;TZID=Australia/Lord_Howe:20270329T100000|\
         RRULE:FREQ=WEEKLY;COUNT=6",
        &[],
    ),
    (
        "three_quarters",
        "DTSTART;TZID=Asia/Kathmandu:20270329T054500|DURATION:PT45M|RRULE:FREQ=WEEKLY;BYDAY=MO,TU;COUNT=6",
        &[],
    ),
    ("leap_day", "DTSTART;VALUE=DATE:20240229|RRULE:FREQ=YEARLY", &[]),
    ("leap_day_or_the_last", "DTSTART;VALUE=DATE:20240229|RRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=-1", &[]),
    (
        "last_workday",
        "DTSTART;TZID=Europe/Berlin:20270129T160000|DTEND;TZID=Europe/Berlin:20270129T170000|\
         RRULE:FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1;COUNT=8",
        &[],
    ),
    (
        "next_to_last_day",
        "DTSTART:20270130T160000Z|DTEND:20270130T170000Z|RRULE:FREQ=MONTHLY;BYMONTHDAY=-2",
        &[],
    ),
    (
        "two_of_a_set",
        "DTSTART:20270104T160000Z|DTEND:20270104T170000Z|RRULE:FREQ=MONTHLY;BYDAY=MO,TU;BYSETPOS=1,-1",
        &[],
    ),
    ("thirty_first", "DTSTART:20270131T160000Z|DTEND:20270131T170000Z|RRULE:FREQ=MONTHLY;BYMONTHDAY=31", &[]),
    ("fifth_monday", "DTSTART:20270329T160000Z|DTEND:20270329T170000Z|RRULE:FREQ=MONTHLY;BYDAY=5MO", &[]),
    (
        "days_of_months",
        "DTSTART;VALUE=DATE:20270101|RRULE:FREQ=YEARLY;BYMONTH=1,7;BYMONTHDAY=1,15;COUNT=9",
        &[],
    ),
    (
        "week_numbers",
        "DTSTART:20270517T160000Z|DTEND:20270517T170000Z|RRULE:FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO",
        &[],
    ),
    ("day_hundred", "DTSTART;VALUE=DATE:20270410|RRULE:FREQ=YEARLY;BYYEARDAY=100", &[]),
    (
        "every_four_hours",
        "DTSTART:{+20}T060000Z|DTEND:{+20}T061000Z|RRULE:FREQ=HOURLY;INTERVAL=4;COUNT=9",
        &[],
    ),
    (
        "weeks_from_sunday",
        "DTSTART:20270105T070000Z|DTEND:20270105T080000Z|RRULE:FREQ=WEEKLY;INTERVAL=2;WKST=SU;BYDAY=TU,SU;COUNT=8",
        &[],
    ),
    (
        "further_dates",
        "DTSTART;TZID=Europe/Berlin:20270104T180000|DTEND;TZID=Europe/Berlin:20270104T190000|\
         RRULE:FREQ=WEEKLY;COUNT=4|RDATE;TZID=Europe/Berlin:20270106T180000,20270410T070000",
        &[],
    ),
    ("dates_alone", "DTSTART;VALUE=DATE:20270104|RDATE;VALUE=DATE:20270106,20270201", &[]),
    (
        "periods",
        "DTSTART:{+40}T180000Z|DTEND:{+40}T190000Z|RDATE;VALUE=PERIOD:{+42}T080000Z/PT3H,{+44}T080000Z/{+44}T093000Z",
        &[],
    ),
    (
        "gaps_in_other_clocks",
        "DTSTART;TZID=Europe/Berlin:20270104T180000|DTEND;TZID=Europe/Berlin:20270104T190000|\
         RRULE:FREQ=WEEKLY;COUNT=20|EXDATE:20270118T170000Z|EXDATE;TZID=America/New_York:20270412T120000",
        &[],
    ),
    (
        "and_all_following",
        "DTSTART;TZID=Europe/Berlin:20270104T180000|DTEND;TZID=Europe/Berlin:20270104T190000|RRULE:FREQ=WEEKLY;COUNT=20",
        &[
            "RECURRENCE-ID;RANGE=THISANDFUTURE;TZID=Europe/Berlin:20270201T180000|DTSTART;TZID=Europe/Berlin:20270201T190000|\
           DTEND;TZID=Europe/Berlin:20270201T203000|SUMMARY:later from now on",
        ],
    ),
    (
        "over_a_day",
        "DTSTART;TZID=Europe/Berlin:20270105T120000|DTEND;TZID=Europe/Berlin:20270105T130000|\
         RRULE:FREQ=WEEKLY;BYDAY=TU,WE;COUNT=8",
        &["RECURRENCE-ID;TZID=Europe/Berlin:20270112T120000|DTSTART;TZID=Europe/Berlin:20270114T120000|\
           DTEND;TZID=Europe/Berlin:20270114T130000"],
    ),
    (
        "onto_midnight",
        "DTSTART;TZID=Europe/Berlin:20270105T230000|DTEND;TZID=Europe/Berlin:20270105T233000|RRULE:FREQ=WEEKLY;COUNT=5",
        &["RECURRENCE-ID;TZID=Europe/Berlin:20270112T230000|DTSTART;TZID=Europe/Berlin:20270113T000000|\
           DTEND;TZID=Europe/Berlin:20270113T003000|LOCATION:Elsewhere"],
    ),
    (
        "days_with_exceptions",
        "DTSTART;VALUE=DATE:20270104|DTEND;VALUE=DATE:20270106|RRULE:FREQ=WEEKLY;COUNT=8|EXDATE;VALUE=DATE:20270118",
        &[
            "RECURRENCE-ID;VALUE=DATE:20270111|DTSTART;VALUE=DATE:20270112|DTEND;VALUE=DATE:20270113|SUMMARY:one day only",
            "RECURRENCE-ID;VALUE=DATE:20270125|DTSTART;VALUE=DATE:20270125|DTEND;VALUE=DATE:20270129|DESCRIPTION:four of them",
        ],
    ),
    (
        "day_becomes_hours",
        "DTSTART;VALUE=DATE:20270104|DTEND;VALUE=DATE:20270105|RRULE:FREQ=WEEKLY;COUNT=5",
        &[
            "RECURRENCE-ID;VALUE=DATE:20270111|DTSTART;TZID=Europe/Berlin:20270111T090000|DTEND;TZID=Europe/Berlin:20270111T100000",
        ],
    ),
    (
        "called_off_once",
        "DTSTART;TZID=Europe/Berlin:20270105T120000|DTEND;TZID=Europe/Berlin:20270105T130000|RRULE:FREQ=WEEKLY;COUNT=8",
        &["RECURRENCE-ID;TZID=Europe/Berlin:20270119T120000|DTSTART;TZID=Europe/Berlin:20270119T120000|\
           DTEND;TZID=Europe/Berlin:20270119T130000|STATUS:CANCELLED"],
    ),
    (
        "instance_without_series",
        "",
        &["RECURRENCE-ID:{+33}T120000Z|DTSTART:{+33}T130000Z|DTEND:{+33}T140000Z"],
    ),
    (
        "zone_of_ones_own",
        "DTSTART;TZID=\"Office, 2nd floor\":20270322T090000|DTEND;TZID=\"Office, 2nd floor\":20270322T093000|\
         RRULE:FREQ=WEEKLY;COUNT=4",
        &[],
    ),
    ("zone_of_nowhere", "DTSTART;TZID=Nowhere:20270322T090000|DTEND;TZID=Nowhere:20270322T093000", &[]),
    (
        "zone_of_nowhere_weekly",
        "DTSTART;TZID=Nowhere:20270322T090000|DTEND;TZID=Nowhere:20270322T093000|RRULE:FREQ=WEEKLY",
        &[],
    ),
    (
        "zone_of_windows",
        "DTSTART;TZID=W. Europe Standard Time:20270322T090000|DTEND;TZID=W. Europe Standard Time:20270322T093000|\
         RRULE:FREQ=WEEKLY;COUNT=4",
        &[],
    ),
    ("floating", "DTSTART:20270322T090000|DTEND:20270322T093000|RRULE:FREQ=WEEKLY;COUNT=4", &[]),
    (
        "two_clocks",
        "DTSTART;TZID=Europe/Berlin:20270322T090000|DTEND;TZID=America/New_York:20270322T120000",
        &[],
    ),
    ("five_thousand", "DTSTART:20270101T070000Z|DTEND:20270101T071000Z|RRULE:FREQ=DAILY;COUNT=5000", &[]),
    (
        "three_days_a_week",
        "DTSTART;TZID=Europe/Berlin:20270105T220000|DURATION:P2DT10H|RRULE:FREQ=WEEKLY;COUNT=5",
        &[],
    ),
    ("days_by_duration", "DTSTART;VALUE=DATE:20270105|DURATION:P3D|RRULE:FREQ=MONTHLY;COUNT=3", &[]),
    ("until_a_day", "DTSTART:20270105T220000Z|DTEND:20270105T223000Z|RRULE:FREQ=DAILY;UNTIL=20270112", &[]),
    (
        "alarms",
        "DTSTART:20270105T220000Z|DTEND:20270105T223000Z|BEGIN:VALARM|ACTION:DISPLAY|DESCRIPTION:x|\
         TRIGGER;RELATED=END:-PT10M|END:VALARM|BEGIN:VALARM|ACTION:AUDIO|TRIGGER;VALUE=DATE-TIME:20270104T080000Z|\
         REPEAT:3|DURATION:PT5M|END:VALARM|BEGIN:VALARM|ACTION:DISPLAY|DESCRIPTION:y|TRIGGER:-P1D|END:VALARM",
        &[],
    ),
    (
        "commas",
        "DTSTART:20270105T220000Z|DTEND:20270105T223000Z|CATEGORIES:Work\\, hard,Home\\; sweet|CATEGORIES;LANGUAGE=de:Büro|\
         RESOURCES:a\\,b,c|DESCRIPTION:one\\, two\\; three\\\\four\\nfive",
        &[],
    ),
    (
        "folded",
        "DTSTART:20270105T220000Z|DTEND:20270105T223000Z|SUMMARY:Grüße aus Zürich – 東京 🎉 und noch viel mehr W|\u{20}örter\\, die \
         über eine Zeile hinausgeh|\tn|DESCRIPTION:ä|\u{20}ö|\u{20}ü|\u{20}🎉🎉🎉|\u{20}|\u{20}ende",
        &[],
    ),
    (
        "quoted",
        "DTSTART:20270105T220000Z|DTEND:20270105T223000Z|X-OWN;X-P=\"a;b:c,d\";X-Q=e:kept; as, it is|ATTACH:https://x.example/a,b",
        &[],
    ),
    ("no_length", "DTSTART:20270105T220000Z", &[]),
    ("last_second", "DTSTART:20270105T235959Z|DTEND:20270106T000001Z", &[]),
    (
        "private",
        "DTSTART:20270105T220000Z|DTEND:20270105T223000Z|CLASS:CONFIDENTIAL|STATUS:TENTATIVE|PRIORITY:1",
        &[],
    ),
    (
        "repeated_exception",
        "DTSTART;TZID=Europe/Berlin:20270104T180000|DTEND;TZID=Europe/Berlin:20270104T190000|\
         RRULE:FREQ=WEEKLY;COUNT=6|RDATE;TZID=Europe/Berlin:20270107T180000",
        &["RECURRENCE-ID;TZID=Europe/Berlin:20270107T180000|DTSTART;TZID=Europe/Berlin:20270108T180000|\
           DTEND;TZID=Europe/Berlin:20270108T190000|SUMMARY:a further date that moved"],
    ),
    (
        "exception_in_another_clock",
        "DTSTART;TZID=Europe/Berlin:20270104T180000|DTEND;TZID=Europe/Berlin:20270104T190000|RRULE:FREQ=WEEKLY;COUNT=20",
        &["RECURRENCE-ID:20270405T160000Z|DTSTART;TZID=America/New_York:20270405T130000|\
           DTEND;TZID=America/New_York:20270405T140000|SUMMARY:from over there"],
    ),
];

/// Those that take place soon, for a far side that does not look far.
const NEAR: &[Row] = &[
    ("single", "DTSTART:{+3}T090000Z|DTEND:{+3}T100000Z|DESCRIPTION:one\\, two\\n[three]", &[]),
    ("all_day", "DTSTART;VALUE=DATE:{+4}|DTEND;VALUE=DATE:{+7}", &[]),
    ("over_night", "DTSTART;TZID=Europe/Berlin:{+5}T220000|DURATION:PT5H", &[]),
    (
        "weekly",
        "DTSTART;TZID=Europe/Berlin:{+1}T180000|DTEND;TZID=Europe/Berlin:{+1}T193000|RRULE:FREQ=WEEKLY;COUNT=4",
        &[],
    ),
    (
        "holes",
        "DTSTART;TZID=Europe/Berlin:{+2}T070000|DTEND;TZID=Europe/Berlin:{+2}T071500|RRULE:FREQ=DAILY;COUNT=12|\
         EXDATE;TZID=Europe/Berlin:{+4}T070000,{+5}T070000",
        &[],
    ),
    (
        "moved",
        "DTSTART;TZID=Europe/Berlin:{+2}T120000|DTEND;TZID=Europe/Berlin:{+2}T130000|RRULE:FREQ=DAILY;INTERVAL=3;COUNT=6",
        &["RECURRENCE-ID;TZID=Europe/Berlin:{+8}T120000|DTSTART;TZID=Europe/Berlin:{+9}T150000|\
           DTEND;TZID=Europe/Berlin:{+9}T163000|SUMMARY:moved\\, later"],
    ),
    (
        "called_off_once",
        "DTSTART;TZID=Europe/Berlin:{+2}T140000|DTEND;TZID=Europe/Berlin:{+2}T150000|RRULE:FREQ=WEEKLY;COUNT=3",
        &["RECURRENCE-ID;TZID=Europe/Berlin:{+9}T140000|DTSTART;TZID=Europe/Berlin:{+9}T140000|\
           DTEND;TZID=Europe/Berlin:{+9}T150000|STATUS:CANCELLED"],
    ),
    ("days_with_holes", "DTSTART;VALUE=DATE:{+2}|RRULE:FREQ=DAILY;COUNT=9|EXDATE;VALUE=DATE:{+5}", &[]),
    (
        "days_with_exceptions",
        "DTSTART;VALUE=DATE:{+2}|DTEND;VALUE=DATE:{+4}|RRULE:FREQ=WEEKLY;COUNT=4",
        &[
            "RECURRENCE-ID;VALUE=DATE:{+9}|DTSTART;VALUE=DATE:{+10}|DTEND;VALUE=DATE:{+11}|SUMMARY:one day only",
        ],
    ),
    ("floating", "DTSTART:{+6}T090000|DTEND:{+6}T093000", &[]),
    ("far_clock", "DTSTART;TZID=Asia/Kathmandu:{+6}T051500|DTEND;TZID=Asia/Kathmandu:{+6}T060000", &[]),
    (
        "far_clock_weekly",
        "DTSTART;TZID=Asia/Kathmandu:{+6}T051500|DTEND;TZID=Asia/Kathmandu:{+6}T060000|RRULE:FREQ=WEEKLY;COUNT=3",
        &[],
    ),
    ("every_four_hours", "DTSTART:{+7}T060000Z|DTEND:{+7}T061000Z|RRULE:FREQ=HOURLY;INTERVAL=4;COUNT=9", &[]),
    ("further_dates", "DTSTART:{+7}T060000Z|DTEND:{+7}T061000Z|RDATE:{+9}T060000Z,{+12}T080000Z", &[]),
    (
        "two_days_of_months",
        "DTSTART:{-5}T060000Z|DTEND:{-5}T061000Z|RRULE:FREQ=MONTHLY;BYMONTHDAY=1,5,10,15,20,25",
        &[],
    ),
    ("birthday", "DTSTART;VALUE=DATE:{+11}|RRULE:FREQ=YEARLY", &[]),
    (
        "long_running",
        "DTSTART;TZID=Europe/Berlin:{-300}T060000|DTEND;TZID=Europe/Berlin:{-300}T061000|RRULE:FREQ=DAILY;COUNT=5000",
        &[],
    ),
    (
        "and_all_following",
        "DTSTART;TZID=Europe/Berlin:{+1}T180000|DTEND;TZID=Europe/Berlin:{+1}T190000|RRULE:FREQ=DAILY;COUNT=20",
        &[
            "RECURRENCE-ID;RANGE=THISANDFUTURE;TZID=Europe/Berlin:{+9}T180000|DTSTART;TZID=Europe/Berlin:{+9}T190000|\
           DTEND;TZID=Europe/Berlin:{+9}T203000|SUMMARY:later from now on",
        ],
    ),
    ("no_length", "DTSTART:{+8}T220000Z", &[]),
    (
        "folded",
        "DTSTART:{+8}T090000Z|DTEND:{+8}T093000Z|SUMMARY:Grüße – 東京 🎉|\u{20}und mehr|CATEGORIES:a\\,b,c",
        &[],
    ),
    (
        "alarms",
        "DTSTART:{+8}T120000Z|DTEND:{+8}T123000Z|BEGIN:VALARM|ACTION:DISPLAY|DESCRIPTION:x|TRIGGER:-PT15M|END:VALARM|\
         BEGIN:VALARM|ACTION:DISPLAY|DESCRIPTION:x|TRIGGER;RELATED=END:-PT10M|END:VALARM",
        &[],
    ),
    ("private", "DTSTART:{+8}T150000Z|DTEND:{+8}T153000Z|CLASS:CONFIDENTIAL|STATUS:TENTATIVE", &[]),
];

/// All of them as calendar objects: name of the file and text.
pub(super) fn all() -> Vec<(String, Bytes)> {
    SERIES.iter().map(|row| (format!("{}.ics", row.0), Bytes::from(text(row)))).collect()
}

/// The same of those that take place soon.
pub(super) fn near() -> Vec<(String, Bytes)> {
    NEAR.iter().map(|row| (format!("{}.ics", row.0), Bytes::from(text(row)))).collect()
}

fn text((name, master, more): &Row) -> String {
    let masters = (!master.is_empty()).then(|| format!("LOCATION:Room {name}|X-OURS:{name}|{master}"));
    let all = masters.into_iter().chain(more.iter().map(|lines| (*lines).to_owned()));
    let events: String = all
        .map(|lines| {
            let title = if lines.contains("SUMMARY:") { String::new() } else { format!("SUMMARY:{name}|") };
            format!("BEGIN:VEVENT|UID:{name}@journey|DTSTAMP:20261101T000000Z|{title}{lines}|END:VEVENT|")
        })
        .collect();
    let zones: String = [("Europe/Berlin", BERLIN), ("Office", OWN), ("TZID=Nowhere", ODD)]
        .iter()
        .filter(|(named, _)| events.contains(named))
        .map(|(_, zone)| format!("{zone}|"))
        .collect();
    let whole = format!("BEGIN:VCALENDAR|VERSION:2.0|PRODID:-//x//EN|{zones}{events}END:VCALENDAR|");
    dated(&whole).replace('|', "\r\n")
}

/// Puts days in the place of `{+30}` and `{-5}`.
fn dated(text: &str) -> String {
    let mut pieces = text.split('{');
    let mut out = pieces.next().unwrap().to_owned();
    for piece in pieces {
        let (days, rest) = piece.split_once('}').unwrap();
        let then = jiff::Timestamp::now().as_second() + days.parse::<i64>().unwrap() * 86_400;
        out.push_str(&jiff::Timestamp::from_second(then).unwrap().strftime("%Y%m%d").to_string());
        out.push_str(rest);
    }
    out
}
