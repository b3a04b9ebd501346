//! A batch's fingerprint: the same for the same request, another for every other.

use std::collections::BTreeMap;

use ledger::{
    Amount, BatchMode, Details, ExternalId, Fingerprint, IdempotencyKey, Operation, OperationKind,
    Submission, WalletId,
};

fn submission() -> Submission {
    let operation = Operation {
        kind: OperationKind::Deposit,
        debit: WalletId::new(1).unwrap(),
        credit: WalletId::new(2).unwrap(),
        amount: Amount::from_minor(5).unwrap(),
        details: Details::parse("ab").unwrap(),
        external_id: Some(ExternalId::parse("cd").unwrap()),
    };
    Submission { operation, key: Some(IdempotencyKey::parse("ef").unwrap()) }
}

fn changed(change: impl FnOnce(&mut Submission)) -> Submission {
    let mut submission = submission();
    change(&mut submission);
    submission
}

fn fingerprint(mode: BatchMode, submissions: &[Submission]) -> ledger::Hash {
    let mut fingerprint = Fingerprint::new(mode);
    submissions.iter().for_each(|submission| fingerprint.add(submission));
    fingerprint.finish()
}

#[test]
fn every_difference_makes_another_fingerprint() {
    let details = |text: &str| Details::parse(text).unwrap();
    let external_id = |text: &str| Some(ExternalId::parse(text).unwrap());
    let lists = [
        vec![],
        vec![submission()],
        vec![submission(), submission()],
        vec![changed(|it| it.operation.kind = OperationKind::Transfer)],
        vec![changed(|it| it.operation.debit = WalletId::new(3).unwrap())],
        vec![changed(|it| it.operation.credit = WalletId::new(3).unwrap())],
        vec![changed(|it| it.operation.amount = Amount::from_minor(6).unwrap())],
        vec![changed(|it| it.operation.details = None)],
        vec![changed(|it| it.operation.external_id = None)],
        vec![changed(|it| it.key = None)],
        // The same letters, parted elsewhere.
        vec![changed(|it| {
            it.operation.details = details("abc");
            it.operation.external_id = external_id("d");
        })],
        vec![changed(|it| {
            it.operation.details = None;
            it.operation.external_id = external_id("abcd");
        })],
    ];
    let mut seen = BTreeMap::new();
    for mode in [BatchMode::Atomic, BatchMode::Independent] {
        for list in &lists {
            let found = fingerprint(mode, list);
            assert_eq!(found, fingerprint(mode, list));
            assert_eq!(seen.insert(found, (mode, list)), None, "{mode:?} {list:?}");
        }
    }
    for texts in [&[""][..], &["a"], &["a", "b"], &["ab"]] {
        let mut fingerprint = Fingerprint::new(BatchMode::Independent);
        texts.iter().for_each(|text| fingerprint.add_unreadable(text));
        assert!(!seen.contains_key(&fingerprint.clone().finish()), "{texts:?}");
        seen.insert(fingerprint.finish(), (BatchMode::Independent, &lists[0]));
    }
}
