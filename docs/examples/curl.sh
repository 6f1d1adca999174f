#!/bin/sh
# Kalends with curl. KALENDS is the server's address, TOKEN a token with the scopes read, events and bookings.
set -eu

api() { # METHOD PATH [BODY [HEADER]]: prints the answer, fails on a refusal
    curl --silent --show-error --fail-with-body -X "$1" "$KALENDS/api/v1$2" \
        -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" \
        ${4:+-H "$4"} ${3:+--data "$3"}
}
member() { # NAME: the first value of a member of the JSON that is read; use jq where you have it
    sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p" | head -n 1
}

# The calendars. Each has an id.
calendar=$(api GET "/calendars?limit=1" | sed 's/.*"items":\[{//' | member id)
echo "calendar $calendar"

# An event.
day=$(date -u -d "+30 days" +%Y-%m-%d 2>/dev/null || date -u -v+30d +%Y-%m-%d)
event="{\"title\": \"Team meeting\", \"start\": \"${day}T09:00:00\", \"duration\": \"PT1H\", \"time_zone\": \"Europe/Berlin\"}"
uid=$(api POST "/calendars/$calendar/events" "$event" | member uid)
echo "event $uid"

# The same as iCalendar text.
curl -s --fail-with-body "$KALENDS/api/v1/calendars/$calendar/events/$uid" -H "Authorization: Bearer $TOKEN" -H "Accept: text/calendar" | grep SUMMARY

# When could somebody come?
api GET "/availability?from=${day}T12:00:00Z&to=${day}T16:00:00Z&duration=PT45M" | grep -o '"start":"[^"]*"' | head -n 3

# Book it. The key makes it safe to send again when no answer came: it is carried out once.
booking="{\"start\": \"${day}T12:00:00Z\", \"duration\": \"PT45M\", \"service\": \"Haircut\", \"customer\": {\"name\": \"Eva Example\"}, \"reference\": \"order-7\"}"
first=$(api POST /bookings "$booking" "Idempotency-Key: order-7-$day")
again=$(api POST /bookings "$booking" "Idempotency-Key: order-7-$day")
[ "$first" = "$again" ] && echo "booked once"

# Somebody else wants the same time: 409, with what is in the way.
answer=$(curl -s -w ' %{http_code}' -X POST "$KALENDS/api/v1/bookings" \
    -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" -d "$booking")
echo "${answer##* } $(printf '%s' "$answer" | member detail)"

# What was written since? Without `since` from the beginning; `wait` holds the answer until there is something.
cursor=$(api GET "/changes?calendar=$calendar&limit=500" | sed 's/.*"next_cursor"/"next_cursor"/' | member next_cursor)
api PATCH "/calendars/$calendar/events/$uid" '{"title": "Team meeting, moved"}' > /dev/null
api GET "/changes?calendar=$calendar&since=$cursor&wait=20" | grep -o '"change":"[^"]*"'
