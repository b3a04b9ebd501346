//! Owns what can be set: the command line, the environment, their defaults and units.
//!
//! Never: a secret on the command line (others can read it there): the bank's come by environment
//! only. Bounds: each option says its own in `--help`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use chrono_tz::Tz;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use ipnet::{IpNet, Ipv4Net};
use ledger::Currency;

use crate::auth::throttle::Rate;
use crate::bench;
use crate::commands::{backup, check, checkpoint, export, restore, verify_receipt};
use crate::environment;
use crate::http_threads;

const AFTER_HELP: &str = "\
The bank, by environment only:
  BANK_EMAIL  its e-mail address [default: bank@localhost]
  BANK_PASS   its password; without it a strong one is made at the first start and shown once
Both count at the first start only. Later: `kopeck bank set-password`.";

/// A wallet service in one binary.
#[derive(Debug, Parser)]
#[command(version, about, after_help = AFTER_HELP, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) serve: Serve,
}

impl Cli {
    /// What the command line and the environment say; ends the process where that is nothing.
    pub(crate) fn read() -> Self {
        let matches = environment::without_empty(Self::command()).try_get_matches();
        matches.and_then(|matches| Self::from_arg_matches(&matches)).unwrap_or_else(|error| {
            if let Some(variable) = environment::variable_of(&error, Self::command()) {
                // Else only an option is named, which nobody wrote.
                crate::complain(format_args!("kopeck: the environment has {variable}"));
            }
            error.exit()
        })
    }
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serves the API and the pages (the default).
    #[command(after_help = AFTER_HELP)]
    Serve(Box<Serve>),
    /// Everything about the bank.
    #[command(subcommand)]
    Bank(Bank),
    /// Asks a running service whether it is ready (`/readyz`): exits with 0 if it is.
    Health(Probe),
    /// Makes a backup: one plain file, checked and durable. A running service is not held up.
    Backup(backup::Wanted),
    /// Makes a data directory from a backup. The directory must have no data yet.
    Restore(restore::Wanted),
    /// Writes a wallet's or everybody's history, as CSV or JSON Lines, also beside a running service.
    Export(export::Wanted),
    /// Verifies everything in a data directory, also beside a running service: exits with 0 if it is
    /// sound, with 1 if something is damaged, with 2 if it could not be checked.
    Check(check::Wanted),
    /// Prints what the whole book is now, in one hash, to be published or kept: the same as
    /// `GET /api/checkpoint`.
    Checkpoint(checkpoint::Wanted),
    /// Verifies a receipt offline: exits with 0 if it proves what it says.
    VerifyReceipt(verify_receipt::Wanted),
    /// Measures what the service can do on this machine, against a private server with data of its
    /// own, and checks its own result: exits with 1 if a check fails. See docs/bench.md.
    Bench(Box<bench::Wanted>),
    /// The private servers of `bench`: the service, and what it is measured against, which keeps nothing.
    #[command(hide = true)]
    BenchStandIn(bench::stand_in::Wanted),
}

/// Whom to ask.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Probe {
    /// Where the service listens; an address for all interfaces is asked on this machine.
    #[arg(long, env = "KOPECK_LISTEN", default_value = "127.0.0.1:5000", value_parser = parse_listen)]
    pub(crate) listen: SocketAddr,
}

/// What can be done about the bank.
#[derive(Debug, Subcommand)]
pub(crate) enum Bank {
    /// Sets the bank's password and closes its sessions. The service must not be running.
    ///
    /// Asks twice on a terminal; elsewhere reads one line from standard input.
    SetPassword(Directory),
}

/// Where the data lie.
#[derive(Debug, Clone, Args)]
pub(crate) struct Directory {
    /// The directory of the data.
    #[arg(long, env = "KOPECK_DATA", default_value = "./data")]
    pub(crate) data: PathBuf,
}

/// Where the data lie, and in what currency.
#[derive(Debug, Clone, Args)]
pub(crate) struct Place {
    #[command(flatten)]
    pub(crate) directory: Directory,

    /// The currency of all wallets (ISO 4217). Written into the data at the first start.
    #[arg(long, env = "KOPECK_CURRENCY", default_value = "RUB", value_parser = Currency::parse)]
    pub(crate) currency: Currency,
}

/// The options of the service.
#[derive(Debug, Clone, Args)]
pub(crate) struct Serve {
    /// The address and port to listen on; port 0 takes a free one.
    #[arg(long, env = "KOPECK_LISTEN", default_value = "127.0.0.1:5000", value_parser = parse_listen)]
    pub(crate) listen: SocketAddr,

    #[command(flatten)]
    pub(crate) place: Place,

    /// Proxies whose X-Forwarded-For and X-Forwarded-Proto count: addresses or networks, repeated
    /// or separated by commas.
    #[arg(long, env = "KOPECK_TRUSTED_PROXY", value_delimiter = ',', value_parser = parse_net)]
    pub(crate) trusted_proxy: Vec<IpNet>,

    /// The time zone of the pages (IANA name).
    #[arg(long, env = "KOPECK_TIME_ZONE", default_value = "UTC", value_parser = parse_time_zone)]
    pub(crate) time_zone: Tz,

    /// How the log is written: `auto` is text on a terminal and JSON elsewhere.
    #[arg(long, env = "KOPECK_LOG_FORMAT", value_enum, default_value_t = LogFormat::Auto)]
    pub(crate) log_format: LogFormat,

    /// What is logged: a level, or levels by module, such as `info,kopeck=debug`.
    #[arg(long, env = "KOPECK_LOG", default_value = "info")]
    pub(crate) log: String,

    /// Connections at a time; more wait to be accepted. Fewer where the system allows too few open files: 256
    /// are left for the data.
    #[arg(
        long,
        env = "KOPECK_CONNECTIONS_MAX",
        default_value_t = 8_192,
        value_parser = parse_at_least::<1>,
        value_name = "COUNT"
    )]
    pub(crate) connections_max: usize,

    /// Connections at a time from one address, or one IPv6 /64, but for trusted proxies; twice as many from an
    /// IPv6 /56. More are closed at once.
    #[arg(
        long,
        env = "KOPECK_CONNECTIONS_PER_ADDRESS_MAX",
        default_value_t = 2_048,
        value_parser = parse_at_least::<1>,
        value_name = "COUNT"
    )]
    pub(crate) connections_per_address_max: usize,

    /// How long a client may take to send a request's head, and to be idle between two.
    #[arg(
        long,
        env = "KOPECK_HEADER_TIMEOUT_SECONDS",
        default_value = "30",
        value_parser = parse_seconds,
        value_name = "SECONDS"
    )]
    pub(crate) header_timeout_seconds: Duration,

    /// How long a client may take to send a request's body.
    #[arg(
        long,
        env = "KOPECK_BODY_TIMEOUT_SECONDS",
        default_value = "30",
        value_parser = parse_seconds,
        value_name = "SECONDS"
    )]
    pub(crate) body_timeout_seconds: Duration,

    /// How long a client may take nothing of an answer that waits for it to read on.
    #[arg(
        long,
        env = "KOPECK_ANSWER_TIMEOUT_SECONDS",
        default_value = "30",
        value_parser = parse_seconds,
        value_name = "SECONDS"
    )]
    pub(crate) answer_timeout_seconds: Duration,

    /// The greatest body of a request that is not a batch.
    #[arg(
        long,
        env = "KOPECK_BODY_BYTES_MAX",
        default_value_t = 65_536,
        value_parser = parse_at_least::<BODY_BYTES_MIN>,
        value_name = "BYTES"
    )]
    pub(crate) body_bytes_max: usize,

    /// Threads that read requests and write answers; 0 means one for each processor but one, which
    /// is left to the thread that writes the data.
    #[arg(
        long,
        env = "KOPECK_HTTP_THREADS",
        default_value = "0",
        value_parser = parse_threads,
        value_name = "COUNT"
    )]
    pub(crate) http_threads: usize,

    /// Where the only one of these threads stays (Linux): processors by number from 0, separated by commas,
    /// or `any`. `auto`: with two processors, of which the disk interrupts one, on the other; else on any. The thread
    /// that writes the data stays on those that are left.
    #[arg(long, env = "KOPECK_HTTP_PROCESSORS", default_value = "auto", value_name = "NUMBERS")]
    pub(crate) http_processors: http_threads::Place,

    /// How long, under load that lasts (40 operations under way or more), one of these threads looks for what comes
    /// next before it sleeps, as long as half of its looking is not in vain: that makes a busy service faster, and
    /// burns no processor in a quiet one. 0: never; nor with a single processor.
    #[arg(
        long,
        env = "KOPECK_BUSY_POLL_MICROSECONDS",
        default_value = "2000",
        value_parser = parse_microseconds,
        value_name = "MICROSECONDS"
    )]
    pub(crate) busy_poll_microseconds: Duration,

    /// The greatest body of a batch that is one JSON object; JSON Lines have no end.
    #[arg(
        long,
        env = "KOPECK_BATCH_BYTES_MAX",
        default_value_t = 8_388_608,
        value_parser = parse_at_least::<BODY_BYTES_MIN>,
        value_name = "BYTES"
    )]
    pub(crate) batch_bytes_max: usize,

    /// How long requests that were accepted may take to finish when the service stops.
    #[arg(
        long,
        env = "KOPECK_SHUTDOWN_SECONDS",
        default_value = "20",
        value_parser = parse_seconds,
        value_name = "SECONDS"
    )]
    pub(crate) shutdown_seconds: Duration,

    /// Operations that may wait for the ledger; more are refused with 503. Batches and imports together have half of
    /// it, so that single requests find room; with fewer than 2048 an import may take all of it, as a single batch may
    /// that is greater than half.
    #[arg(
        long,
        env = "KOPECK_QUEUE_OPERATIONS_MAX",
        default_value_t = 65_536,
        value_parser = parse_at_least::<1>,
        value_name = "COUNT"
    )]
    pub(crate) queue_operations_max: usize,

    /// How long an idempotency key is remembered, at least: 24 hours or more.
    #[arg(
        long,
        env = "KOPECK_IDEMPOTENCY_WINDOW_HOURS",
        default_value = "24",
        value_parser = parse_key_window,
        value_name = "HOURS"
    )]
    pub(crate) idempotency_window_hours: Duration,

    /// Password hashes computed at a time, 19 MiB each; 0 means one for every two processors.
    #[arg(
        long,
        env = "KOPECK_PASSWORD_HASHES_MAX",
        default_value = "0",
        value_parser = parse_threads,
        value_name = "COUNT"
    )]
    pub(crate) password_hashes_max: usize,

    /// How long a sign-up or login waits for its password's hash before it is refused with 503.
    #[arg(
        long,
        env = "KOPECK_PASSWORD_WAIT_SECONDS",
        default_value = "10",
        value_parser = parse_seconds,
        value_name = "SECONDS"
    )]
    pub(crate) password_wait_seconds: Duration,

    /// Sign-ups from one address: at once, and after how many seconds one more.
    #[arg(long, env = "KOPECK_SIGN_UPS_PER_ADDRESS", default_value = "300/0.2",
          value_parser = parse_rate, value_name = "COUNT/SECONDS")]
    pub(crate) sign_ups_per_address: Rate,

    /// Failed logins from one address: at once, and after how many seconds one more.
    #[arg(long, env = "KOPECK_FAILED_LOGINS_PER_ADDRESS", default_value = "300/1",
          value_parser = parse_rate, value_name = "COUNT/SECONDS")]
    pub(crate) failed_logins_per_address: Rate,

    /// Failed logins with one e-mail address from one address: at once, and after how many seconds
    /// one more.
    #[arg(long, env = "KOPECK_FAILED_LOGINS_PER_EMAIL", default_value = "20/15",
          value_parser = parse_rate, value_name = "COUNT/SECONDS")]
    pub(crate) failed_logins_per_email: Rate,

    /// Failed logins with one e-mail address from everywhere together: at once, and after how many
    /// seconds one more. Far more than from one address, so that a single guesser locks nobody out. An
    /// address from which its owner has logged in lately is not among them.
    #[arg(long, env = "KOPECK_FAILED_LOGINS_PER_EMAIL_EVERYWHERE", default_value = "500/5",
          value_parser = parse_rate, value_name = "COUNT/SECONDS")]
    pub(crate) failed_logins_per_email_everywhere: Rate,

    /// A session ends after so long without use.
    #[arg(
        long,
        env = "KOPECK_SESSION_IDLE_DAYS",
        default_value = "14",
        value_parser = parse_days,
        value_name = "DAYS"
    )]
    pub(crate) session_idle_days: Duration,

    /// A session ends after so long in any case.
    #[arg(
        long,
        env = "KOPECK_SESSION_ABSOLUTE_DAYS",
        default_value = "90",
        value_parser = parse_days,
        value_name = "DAYS"
    )]
    pub(crate) session_absolute_days: Duration,

    /// Sessions kept in memory, a few hundred bytes each; the store has them all.
    #[arg(long, env = "KOPECK_SESSIONS_CACHED", default_value_t = 100_000, value_name = "COUNT")]
    pub(crate) sessions_cached: usize,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// A line of text an event.
    Text,
    /// An object of JSON an event.
    Json,
}

fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "must be an address and a port, such as 127.0.0.1:5000".to_owned())
}

fn parse_time_zone(text: &str) -> Result<Tz, String> {
    text.parse().map_err(|_| "there is no such time zone; one is Europe/Moscow".to_owned())
}

fn parse_net(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    let net = text.parse::<IpNet>().ok();
    net.or_else(|| text.parse::<std::net::IpAddr>().map(IpNet::from).ok())
        .map(canonical)
        .ok_or_else(|| format!("`{text}` is neither an address nor a network such as 10.0.0.0/8"))
}

/// A network of IPv4 addresses that are written as IPv6 ones, as what it is: so clients are compared.
fn canonical(net: IpNet) -> IpNet {
    const MAPPED_BITS: u8 = 96;
    let mapped = || {
        let IpNet::V6(net) = net else { return None };
        let bits = net.prefix_len().checked_sub(MAPPED_BITS)?;
        Ipv4Net::new(net.addr().to_ipv4_mapped()?, bits).ok()
    };
    mapped().map_or(net, IpNet::V4)
}

/// How long something may take: far beyond a day, clocks have no such moment.
fn parse_seconds(text: &str) -> Result<Duration, String> {
    const SECONDS_MAX: u64 = 24 * 60 * 60;
    let duration = parse_interval(text)?;
    if duration > Duration::from_secs(SECONDS_MAX) {
        return Err(format!("must be at most {SECONDS_MAX}"));
    }
    Ok(duration)
}

/// With less, nobody could sign up: name, address and password may take so much, and escapes more.
const BODY_BYTES_MIN: usize = 4_096;

fn parse_at_least<const LEAST: usize>(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number >= LEAST);
    number.ok_or_else(|| format!("must be a whole number of at least {LEAST}"))
}

/// How many threads there are for something: the runtime has no more than these for hashes, and the system need not
/// have more for HTTP.
fn parse_threads(text: &str) -> Result<usize, String> {
    const THREADS_MAX: usize = 512;
    let threads = text.parse().ok().filter(|threads| *threads <= THREADS_MAX);
    threads.ok_or_else(|| format!("must be a whole number up to {THREADS_MAX}"))
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().map_err(|error| error.to_string())?;
    let duration = Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
    if duration.is_zero() { Err("must be more than zero".to_owned()) } else { Ok(duration) }
}

fn parse_microseconds(text: &str) -> Result<Duration, String> {
    text.parse().map(Duration::from_micros).map_err(|error| format!("{error}"))
}

fn parse_days(text: &str) -> Result<Duration, String> {
    // A second at least: with less, who logs in is logged out at once, and the cookie is kept for no time at all.
    const DAYS: std::ops::RangeInclusive<f64> = 0.000_02..=36_500.0;
    let days = text.parse().ok().filter(|days| DAYS.contains(days));
    let days = days.ok_or(format!("must be a number from {} to {}", DAYS.start(), DAYS.end()))?;
    Duration::try_from_secs_f64(days * 86_400.0).map_err(|error| error.to_string())
}

fn parse_key_window(text: &str) -> Result<Duration, String> {
    const HOURS: std::ops::RangeInclusive<u64> = 24..=24 * 366;
    let hours = text.parse().ok().filter(|hours| HOURS.contains(hours));
    let hours =
        hours.ok_or(format!("must be a whole number from {} to {}", HOURS.start(), HOURS.end()))?;
    Ok(Duration::from_secs(hours * 60 * 60))
}

fn parse_rate(text: &str) -> Result<Rate, String> {
    let (burst, interval) = text.split_once('/').ok_or("must be COUNT/SECONDS, such as 20/15")?;
    let burst = burst.parse::<u32>().map_err(|error| error.to_string())?;
    if burst == 0 {
        return Err("the count must be at least 1".to_owned());
    }
    // Far longer intervals are more than is counted to, and nothing would be refused any more.
    Ok(Rate { burst, interval: parse_seconds(interval)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
        let cli = Cli::parse_from(["kopeck"]);
        assert!(cli.command.is_none());
        assert_eq!(cli.serve.listen.to_string(), "127.0.0.1:5000");
        let cli = Cli::parse_from(["kopeck", "serve", "--trusted-proxy", "10.0.0.0/8,::1"]);
        let Some(Command::Serve(serve)) = cli.command else { panic!("not serve") };
        assert_eq!(serve.trusted_proxy.len(), 2);
    }

    #[test]
    fn networks_are_as_clients_are_compared() {
        for (text, expected) in [
            ("10.0.0.1", "10.0.0.1/32"),
            ("::ffff:10.0.0.1", "10.0.0.1/32"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("2001:db8::/96", "2001:db8::/96"),
            ("::1", "::1/128"),
            ("2001:db8::/32", "2001:db8::/32"),
        ] {
            assert_eq!(parse_net(text).unwrap().to_string(), expected);
        }
        assert!(parse_net("::ffff:10.0.0.1/129").is_err() && parse_net("proxy").is_err());
    }

    #[test]
    fn rates_and_durations() {
        let rate = Rate { burst: 300, interval: Duration::from_millis(200) };
        assert_eq!(parse_rate("300/0.2"), Ok(rate));
        for bad in ["", "5", "0/1", "1/0", "1/-1", "1/NaN", "x/1", "1/86401", "20/1e12"] {
            assert!(parse_rate(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_key_window("48"), Ok(Duration::from_secs(48 * 3_600)));
        for bad in ["", "23", "0", "-1", "24.5", "100000", "1e3"] {
            assert!(parse_key_window(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_days("0.5"), Ok(Duration::from_secs(43_200)));
        for bad in ["", "0", "-1", "1e-300", "0.00001", "36501", "1e300", "NaN", "inf"] {
            assert!(parse_days(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_seconds("86400"), Ok(Duration::from_secs(86_400)));
        for bad in ["86401", "1e19", "1e300", "inf", "NaN", "0", "-1", ""] {
            assert!(parse_seconds(bad).is_err(), "{bad}");
        }
        assert_eq!((parse_threads("0"), parse_threads("512")), (Ok(0), Ok(512)));
        for bad in ["513", "18446744073709551615", "-1", "many"] {
            assert!(parse_threads(bad).is_err(), "{bad}");
        }
        for option in ["--http-threads", "--password-hashes-max"] {
            let read = |count| Cli::try_parse_from(["kopeck", option, count]);
            assert!(read("512").is_ok() && read("513").is_err(), "{option}");
        }
    }

    #[test]
    fn what_is_refused_says_what_is_taken() {
        let check = |option: &str, bad: &str, taken: &str| {
            let error = Cli::try_parse_from(["kopeck", option, bad]).unwrap_err().to_string();
            assert!(error.contains(bad) && error.contains(taken), "{error}");
        };
        check("--listen", "localhost:5000", "such as 127.0.0.1:5000");
        check("--listen", "127.0.0.1", "such as 127.0.0.1:5000");
        check("--time-zone", "Moscow", "Europe/Moscow");
        check("--http-threads", "100000", "up to 512");
        check("--session-idle-days", "1e-300", "from 0.00002 to 36500");
        for count in
            ["--connections-max", "--connections-per-address-max", "--queue-operations-max"]
        {
            check(count, "0", "at least 1");
        }
        for bytes in ["--body-bytes-max", "--batch-bytes-max"] {
            check(bytes, "4095", "at least 4096");
            assert!(Cli::try_parse_from(["kopeck", bytes, "4096"]).is_ok(), "{bytes}");
        }
    }
}
