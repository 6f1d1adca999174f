-- GET of stored events as JSON, in turn: path token mark bearer count
local path, count, at = nil, 1000, 0

function init(args)
  path, count = args[1], tonumber(args[5])
  wrk.headers["Authorization"] = "Bearer " .. args[4]
end

function request()
  at = (at + 1) % count
  return wrk.format("GET", path .. string.format("event-%06d@bench.example", at))
end

function done(summary)
  local e = summary.errors
  local bad = e.status + e.connect + e.read + e.write + e.timeout
  print(string.format("answers=%d bad=%d micros=%d", summary.requests, bad, summary.duration))
end
