#!/usr/bin/env python3
"""What a client of python-caldav sees: seen.py URL USER PASSWORD UID prints the events of that UID, one after another, as JSON."""
import json
import sys

import caldav

url, user, password, uid = sys.argv[1:]
found = []
with caldav.DAVClient(url, username=user, password=password) as client:
    for calendar in client.principal().calendars():
        for event in calendar.events():
            for part in event.icalendar_instance.walk("VEVENT"):
                if str(part["UID"]) == uid:
                    end = part["DTEND"].dt if "DTEND" in part else part["DTSTART"].dt + part["DURATION"].dt
                    found.append({
                        "title": str(part.get("SUMMARY", "")),
                        "start": part["DTSTART"].dt.isoformat(),
                        "end": end.isoformat(),
                        "instance": part["RECURRENCE-ID"].dt.isoformat() if "RECURRENCE-ID" in part else None,
                        "rule": part["RRULE"].to_ical().decode() if "RRULE" in part else None,
                        "calendar": calendar.id,
                    })
print(json.dumps(found))
