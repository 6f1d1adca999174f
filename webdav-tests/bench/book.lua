-- POST of bookings, each of another quarter of an hour but the one before midnight: path token mark bearer first, in seconds since 1970
local path, first, count = nil, 0, 0

function init(args)
  path, first = args[1], tonumber(args[5])
  wrk.headers["Authorization"] = "Bearer " .. args[4]
  wrk.headers["Content-Type"] = "application/json"
end

function request()
  count = count + 1
  local at = first + count * 900
  if (at + 900) % 86400 < 900 then
    count = count + 1
    at = at + 900
  end
  local start = os.date("!%Y-%m-%dT%H:%M:%SZ", at)
  local body = '{"start":"' .. start .. '","duration":"PT15M","service":"Haircut","customer":{"name":"Number ' .. count
    .. '","email":"guest@example.org"},"reference":"order-' .. count .. '"}'
  return wrk.format("POST", path, nil, body)
end

function done(summary)
  local e = summary.errors
  local bad = e.status + e.connect + e.read + e.write + e.timeout
  print(string.format("answers=%d bad=%d micros=%d", summary.requests, bad, summary.duration))
end
