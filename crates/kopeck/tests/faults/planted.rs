//! The checker is proven too: each planted fault must be caught by a short campaign, and the same
//! campaign without it must find everything right.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use checker::disk::PowerDisk;
use checker::machine::{Need, lacks};
use checker::service::{Service, Setup};
use checker::{Address, Audit, Code, LoadOptions, Report, World, WorldOptions};

const PATIENCE: Duration = Duration::from_secs(120);
/// How often the service crashes, at most, until a read has shown what was lost: one crash may lose
/// nothing, as where the system has just written out by itself what was never synced.
const CRASHES_MAX: u64 = 40;

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_ignored_is_caught() {
    let campaign = async |fault| Stage::new(fault, None).await.load_only().await;
    expect_caught(
        campaign(None).await,
        &campaign(Some("key-ignored")).await,
        &[Code::Doubled, Code::ReplayUnmarked, Code::ReplayDiffers],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credit_that_is_dropped_is_caught() {
    let campaign = async |fault| Stage::new(fault, None).await.load_only().await;
    let codes = [Code::OneSided, Code::SumNotZero];
    expect_caught(campaign(None).await, &campaign(Some("credit-dropped")).await, &codes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_of_what_is_not_committed_is_caught() {
    let campaign =
        async |fault, crashes| Stage::new(fault, None).await.load_and_crash(crashes).await;
    let sound = campaign(None, 3).await;
    expect_caught(sound, &campaign(Some("dirty-read"), CRASHES_MAX).await, &[Code::ReadDirty]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_is_skipped_is_caught() {
    let campaign = async |fault| Stage::new(fault, None).await.load_and_crash(1).await;
    expect_caught(campaign(None).await, &campaign(Some("replay-skipped")).await, &[Code::Lost]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_before_the_fsync_is_caught() {
    let home = tempfile::tempdir().unwrap();
    if let Some(why) = lacks(&[Need::PowerDisk], home.path()) {
        println!("SKIPPED: answered-before-fsync: {why}");
        return;
    }
    let campaign = async |fault, crashes| {
        let disk = PowerDisk::new(home.path(), 256).unwrap();
        Stage::new(fault, Some(disk)).await.load_and_crash(crashes).await
    };
    let sound = campaign(None, 3).await;
    let faulty = campaign(Some("answered-before-fsync"), CRASHES_MAX).await;
    expect_caught(sound, &faulty, &[Code::Lost]);
}

/// The campaign without the fault found nothing; with it, all of these and maybe more.
fn expect_caught(sound: Report, faulty: &Report, expected: &[Code]) {
    assert!(sound.is_clean() && sound.new > 0, "without the fault: {sound}");
    println!("{faulty}");
    for code in expected {
        let caught = faulty.violations.iter().any(|violation| violation.code == *code);
        assert!(caught, "{code:?} was not found: {faulty}");
    }
}

/// A service that may have a fault planted, and the checker's world.
struct Stage {
    _home: tempfile::TempDir,
    setup: Setup,
    service: Service,
    /// Where the data lie when the power can be cut.
    disk: Option<PowerDisk>,
    world: World,
}

impl Stage {
    async fn new(fault: Option<&str>, disk: Option<PowerDisk>) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut setup = Setup::new(binary(), home.path());
        if let Some(disk) = &disk {
            setup.data = disk.path().join("data");
        }
        setup.options.push("--sign-ups-per-address=1000000/0.001".into());
        let service = setup.start().await.unwrap();
        let address = Address::new(&format!("http://{}", service.address()));
        let options = WorldOptions { hot: 2, cold: 6, ..WorldOptions::default() };
        let world = World::prepare(&address, options).await.unwrap();
        let mut stage = Self { _home: home, setup, service, disk, world };
        // The people are there for good: what is lost later is money, and not who had it.
        assert!(stage.service.terminate().await.unwrap().success());
        if let Some(fault) = fault {
            stage.setup.environment.push(("KOPECK_PLANTED_FAULT".into(), fault.into()));
        }
        stage.start_again().await;
        stage
    }

    /// Load, and everything is read back.
    async fn load_only(mut self) -> Report {
        let load = self.world.start_load(LoadOptions::default());
        load.wait_acknowledged(500, PATIENCE).await.unwrap();
        load.stop().await;
        self.world.audit(Audit::New).await.unwrap()
    }

    /// Load, and a crash in the midst of it, so many times or until something is found.
    async fn load_and_crash(mut self, crashes: u64) -> Report {
        let mut report = None;
        for crash in 0..crashes {
            let load = self.world.start_load(LoadOptions::default());
            load.wait_acknowledged(100, PATIENCE).await.unwrap();
            tokio::time::sleep(Duration::from_millis(crash * 61 % 100)).await;
            self.crash().await;
            load.stop().await;
            if let Some(disk) = &mut self.disk {
                disk.come_back().unwrap();
            }
            self.start_again().await;
            let found = self.read_back().await;
            let clean = found.is_clean();
            println!("crash {}: {} operations", crash + 1, found.operations);
            report = Some(found);
            if !clean {
                break;
            }
        }
        // Nobody may have a file open on the disk when it goes.
        self.service.kill().await.unwrap();
        report.unwrap()
    }

    /// SIGKILL; where there is a disk for it, the power goes.
    async fn crash(&mut self) {
        if let Some(disk) = &self.disk {
            // Frozen first: a sync that is under way may return success though its data are gone,
            // which no sync does when the power goes.
            self.service.freeze().await.unwrap();
            disk.cut_power().unwrap();
        }
        self.service.kill().await.unwrap();
    }

    async fn start_again(&mut self) {
        self.service = self.setup.start().await.unwrap();
        self.world.address().set(&format!("http://{}", self.service.address()));
    }

    /// What is unknown is sent again before the second look.
    async fn read_back(&mut self) -> Report {
        let first = self.world.audit(Audit::New).await.unwrap();
        if !first.is_clean() {
            return first;
        }
        self.world.retry_unknown().await.unwrap();
        let mut second = self.world.audit(Audit::Full).await.unwrap();
        assert_eq!(second.unknown, 0, "{second}");
        second.new += first.new;
        second
    }
}

/// The service built with the feature, once, beside the one without it.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        // target/PROFILE/kopeck
        let target = Path::new(env!("CARGO_BIN_EXE_kopeck")).ancestors().nth(2).unwrap();
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        // As the whole workspace is tested: then little has to be built anew.
        build.args(["build", "--workspace", "--locked", "--quiet"]);
        build.args(["--features", "kopeck/planted-faults", "--example", "kopeck-planted"]);
        build.arg("--target-dir").arg(target).current_dir(env!("CARGO_MANIFEST_DIR"));
        assert!(build.status().unwrap().success(), "{build:?}");
        target.join("debug/examples/kopeck-planted")
    })
}
