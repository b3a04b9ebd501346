-- wrk's side of `bench/http`: which request each connection sends next, and the result in one line.
-- Arguments: the path, a file with a line for each session: its wallet, and its cookie; and the name
-- of the header that gets a random UUID with every request.
--
-- wrk gives each thread a state of its own and does not tell connections apart, so every request
-- takes a session at random, and pays one kopeck to another wallet at random.

local threads = 0

function setup(thread)
  threads = threads + 1
  thread:set("number", threads)
end

local requests = {}
local mark = "KEYSTANDSHERE"
local random, format = math.random, string.format

function init(args)
  math.randomseed(os.time() * 1000 + number)
  local path, sessions = args[1], {}
  for line in io.lines(args[2]) do
    local wallet, cookie = line:match("^(%d+) (%S+)$")
    sessions[#sessions + 1] = { wallet = wallet, cookie = cookie }
  end
  -- Every request there can be, written out once: wrk shares the processors with the server.
  for _, from in ipairs(sessions) do
    local headers = { ["Content-Type"] = "application/json", ["Cookie"] = from.cookie }
    for _, to in ipairs(sessions) do
      if to.wallet ~= from.wallet then
        local body = '{"wallet_id":' .. to.wallet .. ',"amount":0.01}'
        headers[args[3]] = mark
        local before, after = wrk.format("POST", path, headers, body):match("^(.*)" .. mark .. "(.*)$")
        requests[#requests + 1] = { before, after }
      end
    end
  end
end

function request()
  local parts = requests[random(#requests)]
  local key = format("%08x-%04x-4%03x-%04x-%06x%06x", random(0, 0xffffffff), random(0, 0xffff),
    random(0, 0xfff), random(0x8000, 0xbfff), random(0, 0xffffff), random(0, 0xffffff))
  return parts[1] .. key .. parts[2]
end

-- "status" counts answers from 400 on; nothing here is answered by a redirect.
function done(summary, latency)
  local e = summary.errors
  print(string.format(
    "result %.0f %d %.2f %.2f %.2f",
    summary.requests / summary.duration * 1e6,
    e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50) / 1000,
    latency:percentile(99) / 1000,
    latency.max / 1000
  ))
end
