-- wrk's side of the flags' measurement. Arguments: a file with a line for each session, its wallet and
-- its cookie, in the order of the wallets; and the scenario, uniform or hot.
--
-- A request takes a session at random. Hot: wallet 1 pays or is paid in every transfer.

local threads = 0

function setup(thread)
  threads = threads + 1
  thread:set("number", threads)
end

local cookies, hot = {}, false
local random = math.random

function init(args)
  math.randomseed(os.time() * 1000 + number)
  for line in io.lines(args[1]) do
    cookies[#cookies + 1] = line:match("^%d+ (%S+)$")
  end
  hot = args[2] == "hot"
end

local function pair()
  if hot then
    local other = random(2, #cookies)
    if random(2) == 1 then return 1, other end
    return other, 1
  end
  local from, other = random(#cookies), random(#cookies - 1)
  return from, other >= from and other + 1 or other
end

function request()
  local from, to = pair()
  local headers = { ["Content-Type"] = "application/json", ["Cookie"] = cookies[from] }
  return wrk.format("POST", "/wallet_to_wallet", headers, '{"wallet_id":' .. to .. ',"amount":0.01}')
end

-- Answers in all, those from 400 on, what broke, microseconds, p50 and p99 in milliseconds.
function done(summary, latency)
  local e = summary.errors
  print(string.format("result %d %d %d %d %.3f %.3f", summary.requests, e.status,
    e.connect + e.read + e.write + e.timeout, summary.duration,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
