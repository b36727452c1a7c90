//! In which order claims are begun. Pure: the time is handed in.
//!
//! Within a namespace the first that came is the first to begin, and namespaces take turns, so that
//! a thousand claims of one do not hold up the one claim of another. Only a few are under way at a
//! time, and none is begun that came more than a few places behind one that is still under way: so
//! an older claim is overtaken by few younger ones, whatever happens below. One that takes very long
//! stands in nobody's way any more.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// How many claims are under way at a time.
const UNDER_WAY: usize = 16;
/// How far a claim may be begun ahead of the oldest one that is under way.
const AHEAD: u64 = 20;
/// How long one that is under way is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A claim in the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The claim's uid.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// When it came: its creation, and a number that grows with each change of any claim.
    pub came: (Timestamp, u64),
}

/// When a claim came, and its uid: the order within a namespace.
type Place = ((Timestamp, u64), String);

/// Who waits and who is under way.
#[derive(Debug, Default)]
pub struct Admission {
    waiting: BTreeMap<String, BTreeMap<Place, Ticket>>,
    /// By uid: the namespace, when it came, and the number of the last ask for a place.
    places: HashMap<String, (String, (Timestamp, u64), u64)>,
    /// How often somebody asked for a place.
    asks: u64,
    /// Number of the turn → uid, and since when.
    under_way: BTreeMap<u64, (String, Instant)>,
    turns: HashMap<String, u64>,
    /// Namespace → its last turn.
    last: HashMap<String, u64>,
    next_turn: u64,
}

impl Admission {
    /// Puts a claim in the queue, once.
    pub fn queue(&mut self, ticket: Ticket) {
        self.asks += 1;
        if let Some(place) = self.places.get_mut(&ticket.uid) {
            place.2 = self.asks;
            return;
        }
        if self.turns.contains_key(&ticket.uid) {
            return;
        }
        self.places.insert(ticket.uid.clone(), (ticket.namespace.clone(), ticket.came, self.asks));
        let of_namespace = self.waiting.entry(ticket.namespace.clone()).or_default();
        of_namespace.insert((ticket.came, ticket.uid.clone()), ticket);
    }

    /// The present moment, for [`Admission::leave_as_of`].
    pub fn moment(&self) -> u64 {
        self.asks
    }

    /// Takes a claim out that needs nothing by what was seen at a moment or later, unless somebody has asked for a
    /// place since the moment: then it is needed by what was seen after that. Tells whether it left.
    pub fn leave_as_of(&mut self, uid: &str, moment: u64) -> bool {
        let leaves = self.places.get(uid).is_none_or(|(.., asked)| *asked <= moment);
        if leaves {
            self.leave(uid);
        }
        leaves
    }

    /// Takes a claim out: it is served, refused, or gone.
    pub fn leave(&mut self, uid: &str) {
        if let Some(turn) = self.turns.remove(uid) {
            self.under_way.remove(&turn);
        }
        if let Some((namespace, came, _)) = self.places.remove(uid)
            && let Some(of_namespace) = self.waiting.get_mut(&namespace)
        {
            of_namespace.remove(&(came, uid.to_owned()));
            if of_namespace.is_empty() {
                self.waiting.remove(&namespace);
            }
        }
        let Self { waiting, last, .. } = self;
        if last.len() > 2 * waiting.len() + UNDER_WAY {
            let namespaces: HashSet<&String> = waiting.keys().collect();
            last.retain(|namespace, _| namespaces.contains(namespace));
        }
    }

    /// Whether a claim has had its turn and has not left since.
    pub fn is_under_way(&self, uid: &str) -> bool {
        self.turns.contains_key(uid)
    }

    /// Whether nobody waits or is under way.
    pub fn is_idle(&self) -> bool {
        self.places.is_empty() && self.turns.is_empty()
    }

    /// When the turn of a claim began that is under way.
    pub fn since(&self, uid: &str) -> Option<Instant> {
        Some(self.under_way.get(self.turns.get(uid)?)?.1)
    }

    /// The next claim to begin, if one may begin now.
    pub fn next(&mut self, now: Instant) -> Option<Ticket> {
        let awaited = self.under_way.iter().filter(|(_, (_, since))| now.duration_since(*since) < PATIENCE);
        let (count, oldest) =
            awaited.fold((0, None), |(count, oldest), (turn, _)| (count + 1, oldest.or(Some(*turn))));
        if count >= UNDER_WAY || oldest.is_some_and(|oldest| self.next_turn - oldest > AHEAD) {
            return None;
        }
        // The namespace whose last turn is longest ago; the one whose claim came first among equals.
        let turn_of = |namespace: &String| self.last.get(namespace).map_or(0, |turn| turn + 1);
        let first = |tickets: &BTreeMap<Place, Ticket>| tickets.keys().next().cloned();
        let (namespace, key) = self
            .waiting
            .iter()
            .filter_map(|(namespace, tickets)| Some((namespace, first(tickets)?)))
            .min_by(|(one, came_one), (other, came_other)| {
                turn_of(one).cmp(&turn_of(other)).then_with(|| came_one.cmp(came_other))
            })
            .map(|(namespace, key)| (namespace.clone(), key))?;
        let of_namespace = self.waiting.get_mut(&namespace)?;
        let ticket = of_namespace.remove(&key)?;
        if of_namespace.is_empty() {
            self.waiting.remove(&namespace);
        }
        self.places.remove(&ticket.uid);
        self.under_way.insert(self.next_turn, (ticket.uid.clone(), now));
        self.turns.insert(ticket.uid.clone(), self.next_turn);
        self.last.insert(namespace, self.next_turn);
        self.next_turn += 1;
        Some(ticket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(namespace: &str, number: u64) -> Ticket {
        Ticket {
            uid: format!("{namespace}-{number}"),
            namespace: namespace.into(),
            name: format!("claim-{number}"),
            came: (Timestamp::UNIX_EPOCH, number),
        }
    }

    fn begin(admission: &mut Admission, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| admission.next(now)).map(|ticket| ticket.uid).collect()
    }

    #[test]
    fn the_first_that_came_begins_first_and_few_are_under_way() {
        let (mut admission, now) = (Admission::default(), Instant::now());
        for number in (0..100).rev() {
            admission.queue(ticket("a", number));
            admission.queue(ticket("a", number));
        }
        let begun = begin(&mut admission, now);
        assert_eq!(begun, (0..16).map(|number| format!("a-{number}")).collect::<Vec<_>>());
        admission.leave("a-3");
        assert_eq!(begin(&mut admission, now), ["a-16"]);
        assert!(admission.is_under_way("a-16") && !admission.is_under_way("a-3"));
    }

    #[test]
    fn nobody_is_overtaken_by_more_than_a_few() {
        let (mut admission, now) = (Admission::default(), Instant::now());
        (0..100).for_each(|number| admission.queue(ticket("a", number)));
        let mut overtook = 0;
        let mut begun = begin(&mut admission, now);
        while let Some(other) = begun.iter().position(|uid| uid != "a-0") {
            admission.leave(&begun.remove(other));
            overtook += 1;
            begun.extend(begin(&mut admission, now));
        }
        assert_eq!(overtook, AHEAD, "the first one is stuck");
        // After a while nobody waits for it any more.
        assert!(!begin(&mut admission, now + PATIENCE).is_empty());
    }

    #[test]
    fn namespaces_take_turns() {
        let (mut admission, now) = (Admission::default(), Instant::now());
        (0..100).for_each(|number| admission.queue(ticket("many", number)));
        let mut begun = begin(&mut admission, now);
        (0..5).for_each(|number| admission.queue(ticket("few", 1000 + number)));
        let mut order = vec![];
        for _ in 0..10 {
            admission.leave(&begun.remove(0));
            let new = begin(&mut admission, now);
            order.extend(new.clone());
            begun.extend(new);
        }
        let few: Vec<usize> = (0..order.len()).filter(|at| order[*at].starts_with("few")).collect();
        assert_eq!(few, [0, 2, 4, 6, 8], "{order:?}");
    }

    #[test]
    fn who_looked_before_somebody_asked_takes_nobody_out() {
        let (mut admission, now) = (Admission::default(), Instant::now());
        let before = admission.moment();
        admission.queue(ticket("a", 1));
        assert!(!admission.leave_as_of("a-1", before), "what was seen then is older than the ask");
        let between = admission.moment();
        admission.queue(ticket("a", 1));
        assert!(!admission.leave_as_of("a-1", between), "it was asked for once more");
        assert_eq!(begin(&mut admission, now), ["a-1"]);
        assert!(admission.leave_as_of("a-1", admission.moment()) && !admission.is_under_way("a-1"));
        admission.queue(ticket("a", 1));
        assert!(admission.leave_as_of("a-1", admission.moment()));
        assert_eq!(begin(&mut admission, now), Vec::<String>::new());
    }

    #[test]
    fn who_left_is_forgotten() {
        let (mut admission, now) = (Admission::default(), Instant::now());
        (0..200).for_each(|number| admission.queue(ticket(&format!("ns{number}"), number)));
        (0..200).for_each(|number| admission.leave(&format!("ns{number}-{number}")));
        assert_eq!(begin(&mut admission, now), Vec::<String>::new());
        assert!(admission.waiting.is_empty() && admission.is_idle());
        admission.queue(ticket("ns1", 1));
        assert_eq!(begin(&mut admission, now), ["ns1-1"], "it may come again");
    }
}
