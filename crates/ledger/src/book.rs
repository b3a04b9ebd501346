//! Owns the decision: the state of every wallet, and what an operation does to it.
//!
//! Never: I/O, a clock, a key, a history. It knows each wallet's balance and its newest operation,
//! and nothing older. Bounds: 16 bytes a wallet; a decision is constant time whatever the wallet's
//! history and however hot it is; an open batch remembers one undo step for each wallet touched.

use std::cmp::Ordering;

use crate::{
    Balance, Operation, OperationId, OperationKind, Rejection, Side, Timestamp, Transfer, WalletId,
};

/// Who a wallet belongs to, as far as the rules care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WalletKind {
    /// A person's: never below zero.
    Person,
    /// A system wallet (the bank's): may go negative, pays by deposits only.
    System,
}

/// What the book knows of a wallet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalletState {
    /// Whose it is.
    pub kind: WalletKind,
    /// Its balance after its newest operation.
    pub balance: Balance,
    /// Its newest operation.
    pub last: Option<OperationId>,
}

/// What is kept does not fit the rules: somebody or something changed it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// An operation is missing, doubled or out of order.
    #[error("operation {found} stands where operation {expected} should")]
    OutOfOrder {
        /// The id that should come next.
        expected: u64,
        /// The id that came.
        found: OperationId,
    },
    /// An operation names a wallet that does not exist.
    #[error("operation {0} names wallet {1}, which does not exist")]
    WalletMissing(OperationId, WalletId),
    /// An operation does not follow from the state before it.
    #[error("operation {0} does not follow from the state of wallet {1} before it")]
    DoesNotFollow(OperationId, WalletId),
    /// A person's wallet is below zero.
    #[error("wallet {0} is below zero")]
    BelowZero(WalletId),
    /// The balances do not sum to zero.
    #[error("the balances of all wallets sum to {0} minor units instead of zero")]
    SumNotZero(i128),
    /// A wallet's newest operation is later than the newest of all.
    #[error("wallet {0} points to operation {1}, which does not exist")]
    OperationMissing(WalletId, OperationId),
}

/// A wallet's slot: its balance in minor units, and its newest operation (0: none).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Slot {
    balance: Balance,
    last: u64,
}

/// The state of all wallets, and the only place that decides.
///
/// Decisions take effect at once, for those that follow in the same batch; [`commit`](Self::commit)
/// makes them final, [`roll_back`](Self::roll_back) undoes all since the last commit;
/// [`commit_to`](Self::commit_to) and [`roll_back_to`](Self::roll_back_to) do so up to and from a
/// [`mark`](Self::mark).
#[derive(Debug, Default)]
pub struct Book {
    /// Wallet `n` is at index `n - 1`.
    slots: Vec<Slot>,
    /// Few, ascending: today the bank's alone.
    system: Vec<WalletId>,
    last: u64,
    time: Timestamp,
    undo: Undo,
}

/// A state since the last commit, to which the book can be rolled back, or up to which it can be made final, until
/// the next one.
#[derive(Debug)]
pub struct Mark {
    undo_slots: usize,
    wallets: usize,
    system: usize,
    last: u64,
    time: Timestamp,
}

/// What the last commit looked like.
#[derive(Debug, Default)]
struct Undo {
    slots: Vec<(usize, Slot)>,
    wallets: usize,
    system: usize,
    last: u64,
    time: Timestamp,
}

impl Book {
    /// A book with no wallets.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens the next wallet.
    pub fn open_wallet(&mut self, kind: WalletKind) -> Option<WalletId> {
        let wallet = WalletId::new(self.wallets() + 1)?;
        if kind == WalletKind::System {
            self.system.push(wallet);
        }
        self.slots.push(Slot::default());
        Some(wallet)
    }

    /// Decides an operation at `now` and, if it is accepted, applies it.
    ///
    /// A clock that was set back does not turn the book's time back. Refusals come in the order of
    /// [`Rejection`]; a refusal changes nothing.
    pub fn decide(&mut self, operation: &Operation, now: Timestamp) -> Result<Transfer, Rejection> {
        let debit = self.wallet(operation.debit);
        let (debit_balance, credit_balance) =
            judge(operation, debit, self.wallet(operation.credit))?;
        let id = OperationId::new(self.last + 1).ok_or(Rejection::BalanceLimit)?;
        self.last = id.get();
        self.time = self.time.max(now);
        let debit = self.move_to(operation.debit, debit_balance, id);
        let credit = self.move_to(operation.credit, credit_balance, id);
        Ok(Transfer {
            id,
            kind: operation.kind,
            debit,
            credit,
            amount: operation.amount,
            details: operation.details.clone(),
            external_id: operation.external_id.clone(),
            time: self.time,
        })
    }

    /// Makes everything since the last commit final.
    pub fn commit(&mut self) {
        self.undo.slots.clear();
        self.undo.wallets = self.slots.len();
        self.undo.system = self.system.len();
        self.undo.last = self.last;
        self.undo.time = self.time;
    }

    /// Undoes everything since the last commit.
    pub fn roll_back(&mut self) {
        let Undo { wallets, system, last, time, .. } = self.undo;
        self.roll_back_to(Mark { undo_slots: 0, wallets, system, last, time });
    }

    /// Remembers the state as it is now.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark {
            undo_slots: self.undo.slots.len(),
            wallets: self.slots.len(),
            system: self.system.len(),
            last: self.last,
            time: self.time,
        }
    }

    /// Makes everything up to a mark final that was set after the last commit; what came after it can still be
    /// undone.
    pub fn commit_to(&mut self, mark: Mark) {
        self.undo.slots.drain(..mark.undo_slots.min(self.undo.slots.len()));
        self.undo.wallets = mark.wallets;
        self.undo.system = mark.system;
        self.undo.last = mark.last;
        self.undo.time = mark.time;
    }

    /// Undoes everything since a mark that was set after the last commit.
    pub fn roll_back_to(&mut self, mark: Mark) {
        while self.undo.slots.len() > mark.undo_slots
            && let Some((index, before)) = self.undo.slots.pop()
        {
            if let Some(slot) = self.slots.get_mut(index) {
                *slot = before;
            }
        }
        self.slots.truncate(mark.wallets);
        self.system.truncate(mark.system);
        self.last = mark.last;
        self.time = mark.time;
    }

    /// How many wallets there are.
    #[must_use]
    pub fn wallets(&self) -> u64 {
        self.slots.len() as u64
    }

    /// The newest operation.
    #[must_use]
    pub fn last_operation(&self) -> Option<OperationId> {
        OperationId::new(self.last)
    }

    /// A wallet's state; `None` when there is no such wallet.
    #[must_use]
    pub fn wallet(&self, wallet: WalletId) -> Option<WalletState> {
        let slot = self.slots.get(index(wallet))?;
        let kind =
            if self.system.contains(&wallet) { WalletKind::System } else { WalletKind::Person };
        Some(WalletState { kind, balance: slot.balance, last: OperationId::new(slot.last) })
    }

    /// Sets the next wallet to a state that was recorded for it; the first step of a recovery.
    pub fn restore_wallet(&mut self, state: WalletState) -> Option<WalletId> {
        let wallet = self.open_wallet(state.kind)?;
        if let Some(slot) = self.slots.last_mut() {
            *slot = Slot { balance: state.balance, last: state.last.map_or(0, OperationId::get) };
        }
        Some(wallet)
    }

    /// Says up to which operation, of what time, everything is in the restored wallets; the second
    /// step of a recovery. Some wallets may be later.
    pub fn restore_mark(&mut self, last: Option<OperationId>, time: Timestamp) {
        self.last = last.map_or(0, OperationId::get);
        self.time = time;
    }

    /// Applies a recorded transfer after the mark; the third step of a recovery.
    ///
    /// A wallet that was recorded later than this transfer already holds it and is left as it is;
    /// for the others the transfer must follow from their state, or the record is damaged. So it is
    /// when the rules would never have accepted the transfer, whatever the state.
    pub fn replay(&mut self, transfer: &Transfer) -> Result<(), Damage> {
        if transfer.id.get() != self.last + 1 {
            return Err(Damage::OutOfOrder { expected: self.last + 1, found: transfer.id });
        }
        let Transfer { id, amount, debit, credit, .. } = transfer;
        self.replay_side(*id, debit, |before| before.debited(*amount))?;
        self.replay_side(*id, credit, |before| before.credited(*amount))?;
        // The rules that concern more than one side: a record that breaks them was never accepted.
        let payer_is_system = self.system.contains(&debit.wallet);
        let allowed = match transfer.kind {
            OperationKind::Deposit => payer_is_system,
            OperationKind::Transfer => !payer_is_system && debit.balance >= Balance::ZERO,
        };
        if !allowed || debit.wallet == credit.wallet {
            return Err(Damage::DoesNotFollow(*id, debit.wallet));
        }
        self.last = id.get();
        self.time = self.time.max(transfer.time);
        Ok(())
    }

    /// Takes a recorded transfer as it stands although it does not follow, so that a check can go on
    /// behind a damage. Never a step of a recovery.
    pub fn adopt(&mut self, transfer: &Transfer) {
        for side in [transfer.debit, transfer.credit] {
            if let Some(slot) = self.slots.get_mut(index(side.wallet)) {
                *slot = Slot { balance: side.balance, last: transfer.id.get() };
            }
        }
        self.last = transfer.id.get();
        self.time = self.time.max(transfer.time);
    }

    /// Checks the whole: the sum is zero, no person is below zero, nothing points into the future;
    /// the last step of a recovery. Commits.
    pub fn check(&mut self) -> Result<(), Damage> {
        let mut sum: i128 = 0;
        for (slot, number) in self.slots.iter().zip(1..) {
            sum += i128::from(slot.balance.minor());
            let Some(wallet) = WalletId::new(number) else { continue };
            if slot.balance < Balance::ZERO && !self.system.contains(&wallet) {
                return Err(Damage::BelowZero(wallet));
            }
            if let Some(last) = OperationId::new(slot.last).filter(|last| last.get() > self.last) {
                return Err(Damage::OperationMissing(wallet, last));
            }
        }
        if sum != 0 {
            return Err(Damage::SumNotZero(sum));
        }
        self.commit();
        Ok(())
    }

    fn replay_side(
        &mut self,
        id: OperationId,
        side: &Side,
        apply: impl Fn(Balance) -> Option<Balance>,
    ) -> Result<(), Damage> {
        let slot =
            self.slots.get_mut(index(side.wallet)).ok_or(Damage::WalletMissing(id, side.wallet))?;
        let follows = match slot.last.cmp(&id.get()) {
            Ordering::Less => {
                side.previous.map_or(0, OperationId::get) == slot.last
                    && apply(slot.balance) == Some(side.balance)
            }
            // The wallet was recorded right after this transfer: both must tell the same balance.
            Ordering::Equal => side.balance == slot.balance,
            Ordering::Greater => return Ok(()),
        };
        if !follows {
            return Err(Damage::DoesNotFollow(id, side.wallet));
        }
        *slot = Slot { balance: side.balance, last: id.get() };
        Ok(())
    }

    /// Writes one side of an accepted operation. [`judge`] has seen the wallet, so it exists.
    fn move_to(&mut self, wallet: WalletId, balance: Balance, id: OperationId) -> Side {
        let index = index(wallet);
        let mut previous = None;
        if let Some(slot) = self.slots.get_mut(index) {
            self.undo.slots.push((index, *slot));
            previous = OperationId::new(slot.last);
            *slot = Slot { balance, last: id.get() };
        }
        Side { wallet, balance, previous }
    }
}

fn index(wallet: WalletId) -> usize {
    usize::try_from(wallet.get() - 1).unwrap_or(usize::MAX)
}

/// The rules: both balances after the operation, or the first refusal that holds.
fn judge(
    operation: &Operation,
    debit: Option<WalletState>,
    credit: Option<WalletState>,
) -> Result<(Balance, Balance), Rejection> {
    let payer = debit.map(|wallet| wallet.kind);
    if operation.kind == OperationKind::Deposit && payer == Some(WalletKind::Person) {
        return Err(Rejection::NotTheBank);
    }
    if operation.debit == operation.credit {
        return Err(Rejection::SenderIsReceiver);
    }
    let (Some(debit), Some(credit)) = (debit, credit) else {
        return Err(Rejection::WalletNotFound);
    };
    if operation.kind == OperationKind::Transfer && debit.kind == WalletKind::System {
        return Err(Rejection::BankMustDeposit);
    }
    let debited = debit.balance.debited(operation.amount);
    if debit.kind == WalletKind::Person && debited.is_none_or(|after| after < Balance::ZERO) {
        return Err(Rejection::InsufficientFunds);
    }
    let credited = credit.balance.credited(operation.amount);
    debited.zip(credited).ok_or(Rejection::BalanceLimit)
}
