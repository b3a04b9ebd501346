//! Owns the order within a round: what is compared changes places from round to round.
//!
//! Never: a measurement. Whoever comes later meets what the one before has left to be done, such as keys to
//! be merged and pages to be written; so each comes later as often as earlier, but for one round of an odd number.

/// What is compared, in the order of this round, of which the first is 1.
pub(super) fn in_turn<T, C: AsMut<[T]>>(round: usize, mut compared: C) -> C {
    if round.is_multiple_of(2) {
        compared.as_mut().reverse();
    }
    compared
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_second_round_is_in_the_opposite_order() {
        assert_eq!(in_turn(1, ['a', 'b', 'c']), ['a', 'b', 'c']);
        assert_eq!(in_turn(2, ['a', 'b', 'c']), ['c', 'b', 'a']);
        assert_eq!(in_turn(3, vec![1, 2]), [1, 2]);
    }
}
