//! Each campaign in its short form, against the binary of this build. The long form is the
//! checker's own command: `cargo run --release -p checker -- all --long`.

use std::path::{Path, PathBuf};

use checker::faults::{Campaign, Form, Plan};
use checker::results::commit;
use tokio::sync::Semaphore;

/// Campaigns side by side; each of them keeps the machine busy.
static TURNS: Semaphore = Semaphore::const_new(2);

async fn check(campaign: Campaign) {
    let _turn = TURNS.acquire().await.unwrap();
    let plan = Plan::new(campaign, Form::Short, PathBuf::from(env!("CARGO_BIN_EXE_kopeck")));
    let line = campaign.report(&plan, &commit()).await.unwrap();
    line.append(&results()).unwrap();
    let name = campaign.name();
    if let Some(why) = &line.tally.skipped {
        eprintln!("SKIPPED: {name}: {why}");
        return;
    }
    let violations = line.tally.violations.join("\n");
    assert!(violations.is_empty(), "{name}, seed {}:\n{violations}", plan.seed);
    assert!(line.tally.count > 0 && line.tally.acknowledged > 0, "{name} did nothing");
}

/// Where the lines of all runs are gathered.
fn results() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
    target.unwrap().join("faults.jsonl")
}

macro_rules! campaigns {
    ($($test:ident: $campaign:ident,)*) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $test() {
            check(Campaign::$campaign).await;
        })*
    };
}

campaigns! {
    killed_under_load: Kill,
    power_cut_under_load: PowerCut,
    killed_asked_again_then_power_cut: RetryThenCut,
    every_failed_sync_and_write: IoError,
    full_disk: FullDisk,
    damaged_files: BitRot,
    clock_a_day_off: Clock,
    bad_network: Network,
    bursts_on_one_wallet: Burst,
    dead_while_keys_are_merged: KeyFiles,
    wrong_logins_beside_transfers: Logins,
}
