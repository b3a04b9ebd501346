//! Users and sessions: made together with the wallet, found again, closed for good.

use ledger::{
    IdempotencyKey, LedgerError, People, Role, SESSIONS_PER_USER_MAX, Session, Timestamp,
    TokenHash, UserId,
};

use crate::support::{Engine, new_user, wait};

fn session(token: u8, user: u64, at: i64) -> Session {
    let at = Timestamp::from_micros(at);
    Session { token_hash: [token; 32], user: UserId::new(user).unwrap(), opened: at, seen: at }
}

#[test]
fn numbers_are_dense_and_an_address_is_taken_once() {
    let engine = Engine::with_people(0);
    let user = engine.sign_up("Ann@localhost", Role::Person).unwrap();
    assert_eq!((user.id.get(), user.wallet.get()), (2, 2));
    engine.sign_up("ann@LOCALHOST", Role::Person).unwrap_err();
    let user = engine.sign_up("bob@localhost", Role::Person).unwrap();
    assert_eq!((user.id.get(), user.wallet.get()), (3, 3));
    assert_eq!(engine.statement(3, None, 1).owner, user.id);
    let engine = engine.reopen().unwrap();
    let found = wait(engine.store.credentials("ann@localhost")).unwrap().unwrap();
    assert_eq!(found.user.email, "Ann@localhost");
    assert_eq!(found.password_hash, "$argon2id$of-nothing");
    assert_eq!(wait(engine.store.credentials("eve@localhost")).unwrap(), None);
    let bank = wait(engine.store.bank()).unwrap().unwrap();
    assert_eq!((bank.id, bank.role), (UserId::FIRST, Role::Bank));
}

#[test]
fn the_same_address_at_the_same_time_makes_one_user() {
    let engine = Engine::with_people(0);
    let both =
        [(); 2].map(|()| engine.store.sign_up(new_user("ann@localhost", Role::Person), None));
    let made = both.into_iter().map(wait).filter(|it| matches!(it, Ok(Ok(_))));
    assert_eq!(made.count(), 1);
}

#[test]
fn a_session_outlives_a_restart_until_it_is_closed() {
    let engine = Engine::with_people(1);
    wait(engine.store.open_session(session(7, 2, 1_000), None)).unwrap();
    wait(engine.store.touch_session([7; 32], Timestamp::from_micros(5_000))).unwrap();
    wait(engine.store.touch_session([7; 32], Timestamp::from_micros(4_000))).unwrap();
    let engine = engine.reopen().unwrap();
    let (found, user) = wait(engine.store.session([7; 32])).unwrap().unwrap();
    assert_eq!((found.opened.micros(), found.seen.micros()), (1_000, 5_000));
    assert_eq!(user.wallet.get(), 2);
    wait(engine.store.close_session([7; 32])).unwrap();
    wait(engine.store.touch_session([7; 32], Timestamp::from_micros(6_000))).unwrap();
    assert_eq!(wait(engine.store.session([7; 32])).unwrap(), None);
    wait(engine.store.close_session([7; 32])).unwrap();
}

#[test]
fn a_new_password_closes_the_users_sessions_and_nobody_elses() {
    let engine = Engine::with_people(2);
    wait(engine.store.open_session(session(2, 2, 0), None)).unwrap();
    wait(engine.store.open_session(session(3, 3, 0), None)).unwrap();
    wait(engine.store.set_password(UserId::new(2).unwrap(), "new".to_owned())).unwrap();
    assert_eq!(wait(engine.store.session([2; 32])).unwrap(), None);
    assert!(wait(engine.store.session([3; 32])).unwrap().is_some());
    let found = wait(engine.store.credentials("2@localhost")).unwrap().unwrap();
    assert_eq!(found.password_hash, "new");
}

#[test]
fn expired_sessions_are_forgotten() {
    let engine = Engine::with_people(1);
    for (token, at) in [(1, 10), (2, 20), (3, 30)] {
        wait(engine.store.open_session(session(token, 2, at), None)).unwrap();
    }
    wait(engine.store.touch_session([1; 32], Timestamp::from_micros(90))).unwrap();
    let forget = |opened, seen| {
        wait(
            engine
                .store
                .forget_sessions(Timestamp::from_micros(opened), Timestamp::from_micros(seen)),
        )
        .unwrap();
        [1, 2, 3].map(|token| wait(engine.store.session([token; 32])).unwrap().is_some())
    };
    assert_eq!(forget(0, 25), [true, false, true]);
    assert_eq!(forget(15, 0), [false, false, true]);
}

/// More than are looked at in one go, and more than are deleted in one.
#[test]
fn however_many_have_ended_all_are_forgotten_and_nobody_elses() {
    const SESSIONS: u32 = 20_000;
    let engine = Engine::with_people(1);
    // As the writer does not, so that one user may have them all.
    let engine = engine
        .reopen_after(|file| {
            let transaction = file.unchecked_transaction().unwrap();
            let mut insert = file.prepare("INSERT INTO session VALUES (?, 2, ?, ?)").unwrap();
            let mut key = file
                .prepare("INSERT INTO sign_up_key VALUES (printf('%08d', ?), 'n', 'e', NULL, ?)")
                .unwrap();
            for number in 0..SESSIONS {
                let mut token_hash = [1; 32];
                token_hash[..4].copy_from_slice(&number.wrapping_mul(0x9e37_79b9).to_be_bytes());
                // All have ended but every thousandth.
                let at = if number % 1_000 == 0 { 30 } else { 10 };
                insert.execute((token_hash, at, at)).unwrap();
                let at = if number % 1_000 == 0 { i64::MAX } else { 10 };
                key.execute((number, at)).unwrap();
            }
            transaction.commit().unwrap();
        })
        .unwrap();
    let moment = Timestamp::from_micros(20);
    wait(engine.store.forget_sessions(moment, moment)).unwrap();
    let key = |number: u32| IdempotencyKey::parse(&format!("{number:08}")).unwrap();
    assert!(wait(engine.store.sign_up_record(key(1_000))).unwrap().is_some());
    assert!(wait(engine.store.sign_up_record(key(1_001))).unwrap().is_none());
    let engine = engine
        .reopen_after(|file| {
            let left = |table: &str| {
                let count = format!("SELECT count(*) FROM {table}");
                file.query_row(&count, (), |row| row.get::<_, u32>(0)).unwrap()
            };
            assert_eq!((left("session"), left("sign_up_key")), (20, 20));
        })
        .unwrap();
    wait(engine.store.forget_sessions(Timestamp::from_micros(31), moment)).unwrap();
    engine
        .reopen_after(|file| {
            assert!(!file.prepare("SELECT 1 FROM session").unwrap().exists(()).unwrap());
        })
        .unwrap();
}

#[test]
fn a_user_has_so_many_sessions_and_those_longest_not_used_are_closed() {
    let engine = Engine::with_people(2);
    let open =
        |token: u8, user, at| wait(engine.store.open_session(session(token, user, at), None));
    assert_eq!(open(200, 3, 0), Ok(Vec::new()));
    let max = u8::try_from(SESSIONS_PER_USER_MAX).unwrap();
    for token in 0..max {
        assert_eq!(open(token, 2, 1_000 + i64::from(token)), Ok(Vec::new()));
    }
    // The one that is used is so now and then only, by what is noted of it.
    wait(engine.store.touch_session([0; 32], Timestamp::from_micros(1_001))).unwrap();
    assert_eq!(open(max, 2, 2_000), Ok(vec![[1; 32]]));
    // The clock was set back: the new one is not the one that goes.
    assert_eq!(open(max + 1, 2, 500), Ok(vec![[2; 32]]));
    let lives = |token: u8| wait(engine.store.session([token; 32])).unwrap().is_some();
    assert!(lives(0) && !lives(1) && !lives(2) && lives(3) && lives(max + 1) && lives(200));
}

#[test]
fn a_session_takes_the_place_of_another() {
    let engine = Engine::with_people(2);
    let open = |token: u8, user, replaces: Option<u8>| {
        let replaces = replaces.map(|token| [token; 32]);
        wait(engine.store.open_session(session(token, user, i64::from(token)), replaces))
    };
    let max = u8::try_from(SESSIONS_PER_USER_MAX).unwrap();
    for token in 0..max {
        assert_eq!(open(token, 2, None), Ok(Vec::new()));
    }
    let lives = |token: u8| wait(engine.store.session([token; 32])).unwrap().is_some();
    assert_eq!(open(max, 2, Some(7)), Ok(Vec::new()), "there is room for it");
    assert!(lives(max) && !lives(7) && lives(0));
    assert_eq!(open(200, 3, Some(max)), Ok(Vec::new()), "another user's");
    assert!(lives(200) && !lives(max));
    assert_eq!(open(201, 3, Some(99)), Ok(Vec::new()), "one that is not there");
    assert!(lives(200) && lives(201));
}

/// They are from before there was a bound.
#[test]
fn far_too_many_sessions_become_fewer_with_each_that_is_opened() {
    let engine = Engine::with_people(1);
    let engine = engine
        .reopen_after(|file| {
            let insert = "WITH RECURSIVE number(n) AS
                              (SELECT 1 UNION ALL SELECT n + 1 FROM number LIMIT 300)
                          INSERT INTO session SELECT unhex(printf('%064d', n)), 2, 10, n FROM number";
            file.execute(insert, ()).unwrap();
        })
        .unwrap();
    for (token, expected) in [(201, 100), (202, 100), (203, 53), (204, 1)] {
        let closed = wait(engine.store.open_session(session(token, 2, 100_000), None)).unwrap();
        assert_eq!(closed.len(), expected);
    }
}

#[test]
fn a_stopped_engine_says_so() {
    let engine = Engine::with_people(0);
    engine.store.close();
    assert_eq!(wait(engine.store.bank()), Err(LedgerError::Closed));
    let late = wait(engine.store.sign_up(new_user("late@localhost", Role::Person), None));
    assert_eq!(late, Err(LedgerError::Closed));
}

/// One changed bit makes user 2 of user 3, and a person of the bank. Nobody may be served by it.
#[test]
fn a_person_is_never_taken_for_another() {
    let at_start = |change: &'static str, number: u64| {
        let engine = Engine::with_people(2);
        let reopened = engine.reopen_after(|file| file.execute_batch(change).unwrap());
        let error = reopened.err().expect(change).to_string();
        assert!(error.contains(&format!("wallet {number} is kept as another kind")), "{error}");
    };
    at_start("UPDATE wallet SET system = 1 WHERE wallet_id = 2", 2);
    at_start("UPDATE wallet SET system = 0 WHERE wallet_id = 1", 1);
    at_start("UPDATE wallet SET user_id = 3 WHERE wallet_id = 2", 2);
    let when_read = |change: &str, number: u64| {
        let engine = Engine::with_people(2);
        let engine = engine.reopen_after(|file| file.execute_batch(change).unwrap()).unwrap();
        let email =
            if number == 1 { "bank@localhost".to_owned() } else { "2@localhost".to_owned() };
        let error = wait(engine.store.credentials(&email)).unwrap_err().to_string();
        assert!(error.contains(&format!("user {number} and wallet {number}")), "{error}");
        assert!(wait(engine.store.halted()).contains("do not belong together"));
    };
    when_read("UPDATE user SET wallet_id = 3 WHERE user_id = 2", 2);
    when_read("UPDATE user SET role = 'bank' WHERE user_id = 2", 2);
    when_read("UPDATE user SET role = 'person' WHERE user_id = 1", 1);
    let unchecked = "PRAGMA ignore_check_constraints = ON; UPDATE user SET role = 'bonk'";
    when_read(&format!("{unchecked} WHERE user_id = 1"), 1);
}

#[test]
fn a_session_whose_user_was_changed_opens_nothing() {
    let token_hash: TokenHash = std::array::from_fn(|at| 100 + at as u8);
    // In the table the user's number stands behind the token's hash, in the index before it.
    for in_table in [true, false] {
        let engine = Engine::with_people(2);
        let now = Timestamp::from_micros(1_000_000_000_000_000);
        let user = UserId::new(2).unwrap();
        wait(engine.store.open_session(Session { token_hash, user, opened: now, seen: now }, None))
            .unwrap();
        let (_, found) = wait(engine.store.session(token_hash)).unwrap().unwrap();
        assert_eq!(found.id, user);
        let engine = engine
            .reopen_after_files(|dir| {
                let path = dir.join("kopeck.db");
                let mut bytes = std::fs::read(&path).unwrap();
                let places: Vec<_> = (1..bytes.len() - 32)
                    .filter(|at| bytes[*at..].starts_with(&token_hash))
                    .map(|at| if in_table { at + 32 } else { at - 1 })
                    .filter(|at| bytes[*at] == 2)
                    .collect();
                assert_eq!(places.len(), 1, "{places:?}");
                bytes[places[0]] = 3;
                std::fs::write(path, bytes).unwrap();
            })
            .unwrap();
        assert_eq!(wait(engine.store.session(token_hash)).unwrap(), None);
    }
}
