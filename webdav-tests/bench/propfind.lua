-- The poll: PROPFIND Depth 0 for ctag, sync-token and name: path token
local body = [[<?xml version="1.0" encoding="utf-8"?><D:propfind xmlns:D="DAV:" xmlns:CS="http://calendarserver.org/ns/"><D:prop><CS:getctag/><D:sync-token/><D:displayname/></D:prop></D:propfind>]]
local path

function init(args)
  path = args[1]
  wrk.headers["Authorization"] = "Basic " .. args[2]
  wrk.headers["Depth"] = "0"
  wrk.headers["Content-Type"] = "application/xml"
end

function request()
  return wrk.format("PROPFIND", path, nil, body)
end

function done(summary)
  local e = summary.errors
  local bad = e.status + e.connect + e.read + e.write + e.timeout
  print(string.format("answers=%d bad=%d micros=%d", summary.requests, bad, summary.duration))
end
