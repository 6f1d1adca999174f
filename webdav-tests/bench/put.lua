-- PUT of new events, each with a name and a UID of its own: path token mark
local path, mark, count = nil, "a", 0

function init(args)
  path, mark = args[1], args[3]
  wrk.headers["Authorization"] = "Basic " .. args[2]
  wrk.headers["Content-Type"] = "text/calendar"
  wrk.headers["If-None-Match"] = "*"
end

function request()
  count = count + 1
  local uid = string.format("%s-%07d", mark, count)
  local day = string.format("2031%02d%02d", 1 + count % 12, 1 + count % 28)
  local body = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//kalends//bench//EN\r\nBEGIN:VEVENT\r\nUID:" .. uid
    .. "@bench.example\r\nDTSTAMP:20240101T000000Z\r\nDTSTART:" .. day .. "T090000Z\r\nDURATION:PT30M\r\nSUMMARY:New " .. uid
    .. "\r\nDESCRIPTION:Lorem ipsum dolor sit amet consectetur adipiscing elit sed\r\n"
    .. "LOCATION:Room 42\\, second floor\r\nBEGIN:VALARM\r\nACTION:DISPLAY\r\nDESCRIPTION:Soon\r\nTRIGGER:-PT15M\r\nEND:VALARM\r\n"
    .. "END:VEVENT\r\nEND:VCALENDAR\r\n"
  return wrk.format("PUT", path .. uid .. ".ics", nil, body)
end

function done(summary)
  local e = summary.errors
  local bad = e.status + e.connect + e.read + e.write + e.timeout
  print(string.format("answers=%d bad=%d micros=%d", summary.requests, bad, summary.duration))
end
