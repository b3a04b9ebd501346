//! No fault at all: the checker finds everything right, and leaves nothing open.

use std::path::Path;
use std::time::Duration;

use checker::service::Setup;
use checker::{Address, Audit, LoadOptions, World, WorldOptions};

const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn load_and_bursts_are_found_right() {
    let home = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(Path::new(env!("CARGO_BIN_EXE_kopeck")), home.path());
    setup.options.push("--sign-ups-per-address=1000000/0.001".into());
    let service = setup.start().await.unwrap();
    let address = Address::new(&format!("http://{}", service.address()));
    let history = home.path().join("history.jsonl");
    let options =
        WorldOptions { cold: 30, history: Some(history.clone()), ..WorldOptions::default() };
    let mut world = World::prepare(&address, options).await.unwrap();
    for audit in [Audit::New, Audit::New, Audit::Full] {
        let load = world.start_load(LoadOptions::default());
        load.wait_acknowledged(500, PATIENCE).await.unwrap();
        assert!(load.stop().await >= 500);
        for round in 0..3 {
            world.burst(round).await;
        }
        let report = world.audit(audit).await.unwrap();
        println!("{report}");
        assert!(report.is_clean(), "{report}");
        assert_eq!((report.unknown, world.history().unknown()), (0, 0));
        assert!(report.reads > 50, "{report}");
    }
    assert_eq!(world.history().acknowledged(), world.book().len());
    let lines = std::fs::read_to_string(&history).unwrap();
    // What the load meets follows from chance; these, every load of this size does.
    for code in ["insufficient_funds", "idempotency_key_reused"] {
        assert!(lines.contains(code), "the load never met {code}");
    }
    assert!(lines.contains(r#""replayed":true"#), "nothing was sent twice");
}
