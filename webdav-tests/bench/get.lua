-- GET of stored events in turn: path token first count
local path, token, count, at = nil, nil, 1000, 0

function init(args)
  path, token, count = args[1], args[2], tonumber(args[3])
  wrk.headers["Authorization"] = "Basic " .. token
end

function request()
  at = (at + 1) % count
  return wrk.format("GET", path .. string.format("event-%06d.ics", at))
end

function done(summary)
  local e = summary.errors
  local bad = e.status + e.connect + e.read + e.write + e.timeout
  print(string.format("answers=%d bad=%d micros=%d", summary.requests, bad, summary.duration))
end
