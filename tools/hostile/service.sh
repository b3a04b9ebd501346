# Sourced by the scripts beside it: a service of its own in a directory of its own, and who is in it.
# Everything ends and is removed with the script.

say() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }
die() { say "$@"; exit 1; }

readonly bank_email=bank@localhost.ru bank_password="the bank's password"
readonly password='Pa$$w0rd'

# start BINARY [OPTION...]: sets `url`, without a slash at its end, and `home`.
start() {
    [ -x "${1:-}" ] || die "the first argument is the service's binary, such as target/release/kopeck"
    home="$(mktemp -d)"
    local binary
    binary="$(realpath "$1")"
    shift
    # Guessers are not the matter here, and everything comes from one address.
    BANK_EMAIL="$bank_email" BANK_PASS="$bank_password" "$binary" serve --listen 127.0.0.1:0 \
        --data "$home/data" --log-format json --sign-ups-per-address 1000000/0.001 \
        --failed-logins-per-address 1000000/0.001 --failed-logins-per-email 1000000/0.001 \
        --failed-logins-per-email-everywhere 1000000/0.001 "$@" \
        >"$home/greeting" 2>"$home/log" &
    service=$!
    trap finish EXIT
    trap 'exit 130' INT TERM
    for _ in $(seq 300); do
        url="$(sed -n 's/.*"url":"\(http:[^"]*\)\/".*/\1/p' "$home/greeting")"
        [ -z "$url" ] || return 0
        kill -0 "$service" 2>/dev/null || break
        sleep 0.1
    done
    die "it does not start: $(cat "$home/log")"
}

finish() {
    kill "$service" 2>/dev/null || true
    wait "$service" 2>/dev/null || true
    rm -rf "$home"
}

# What the service itself calls an error is one, whatever its clients saw.
expect_quiet_log() {
    kill -0 "$service" 2>/dev/null || die "the service has ended: $(tail -3 "$home/log")"
    ! grep -E '"level":"ERROR"|panicked' "$home/log" || die "the service logged errors, see above"
}

# post PATH BODY COOKIE: prints the answer, its headers first; fails unless it is 200.
post() {
    local answer
    answer="$(curl -sS -i --max-time 30 -H 'content-type: application/json' -H "cookie: ${3:-a=b}" \
        -d "$2" "$url$1")"
    [[ "$answer" == "HTTP/1.1 200 "* ]] || die "$1: $answer"
    printf '%s' "$answer"
}

# log_in EMAIL PASSWORD and sign_up NAME print the session's cookie.
log_in() { post /api/login "{\"email\": \"$1\", \"password\": \"$2\"}" | session; }
sign_up() {
    post /api/signup "{\"name\": \"$1\", \"email\": \"$1@example.org\", \"password\": \"$password\"}" |
        session
}
session() { sed -n 's/^set-cookie: \([^;]*\);.*/\1/p'; }

# deposit COOKIE WALLET AMOUNT
deposit() { post /api/external_to_wallet "{\"wallet_id\": $2, \"amount\": $3}" "$1" >/dev/null; }

# python_tool PACKAGE VERSION: installs it once, sets `tool` to its directory of programs.
python_tool() {
    local place="${XDG_CACHE_HOME:-$HOME/.cache}/kopeck-hostile/$1-$2"
    tool="$place/bin"
    [ ! -e "$place/complete" ] || return 0
    say "installing $1 $2 from PyPI into $place"
    rm -rf "$place"
    python3 -m venv "$place"
    "$tool/pip" install --quiet --disable-pip-version-check "$1==$2"
    touch "$place/complete"
}
