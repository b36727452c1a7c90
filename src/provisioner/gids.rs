//! One group for each volume of a class. The number is chosen here from what is in use; the task
//! that places volumes refuses a number that another volume of the class has got, so two processes
//! that both believe to lead cannot give one number to two volumes.

use std::collections::{BTreeSet, HashMap};

use parking_lot::Mutex;

use crate::intent::class::GidRange;

/// Numbers that were given out and that no cache has shown yet: claim uid → class and number.
#[derive(Debug, Default)]
pub struct Gids {
    given: Mutex<HashMap<String, (String, i64)>>,
}

impl Gids {
    /// A number of the range for a claim of a class, by those that volumes of the class have; the same one when the
    /// claim asks again. Nothing when all are in use.
    pub fn give(&self, class: &str, range: GidRange, claim: &str, mut used: BTreeSet<i64>) -> Option<i64> {
        let mut given = self.given.lock();
        if let Some((of_class, number)) = given.get(claim)
            && of_class == class
            && (range.min..=range.max).contains(number)
        {
            return Some(*number);
        }
        used.extend(given.values().filter(|(of_class, _)| of_class == class).map(|(_, number)| *number));
        let number = lowest_free(range, &used)?;
        given.insert(claim.to_owned(), (class.to_owned(), number));
        Some(number)
    }

    /// Forgets what was given to a claim: its volume shows it, or there will be none.
    pub fn forget(&self, claim: &str) {
        self.given.lock().remove(claim);
    }
}

fn lowest_free(range: GidRange, used: &BTreeSet<i64>) -> Option<i64> {
    let mut free = range.min;
    for number in used.range(range.min..=range.max) {
        if *number > free {
            break;
        }
        free = number + 1;
    }
    (free <= range.max).then_some(free)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_volume_of_a_class_gets_a_number_of_its_own() {
        let (gids, range) = (Gids::default(), GidRange { min: 2000, max: 2003 });
        let in_use =
            |class: &str| BTreeSet::from_iter(if class == "a" { vec![2000, 2002] } else { vec![2001] });
        let give = |class: &str, claim: &str| gids.give(class, range, claim, in_use(class));
        assert_eq!(give("a", "one"), Some(2001));
        assert_eq!(give("a", "one"), Some(2001), "asking twice is asking once");
        assert_eq!(give("a", "two"), Some(2003));
        assert_eq!(give("a", "three"), None, "all are in use");
        assert_eq!(give("b", "four"), Some(2000), "another class has numbers of its own");
        gids.forget("two");
        assert_eq!(give("a", "three"), Some(2003));
    }
}
