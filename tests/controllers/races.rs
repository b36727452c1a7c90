//! Asks that want the same.

use bricklayer::intent::Decision;
use bricklayer::resources::{GlusterVolume, PLACED, condition};
use bricklayer::units::Bytes;

use crate::rig::{Rig, RigOptions, directory, id, in_runtime, volume_remains, wish};

/// How often two asks race for the last space.
const ROUNDS: usize = 200;

#[test]
fn two_creates_race_for_the_last_space_and_one_wins() {
    let directory = directory();
    in_runtime(async {
        let options = RigOptions { device_size: Bytes::from_gib(10), ..RigOptions::default() };
        let rig = Rig::open(directory.path(), options).await;
        rig.make_topology(3, 1).await;
        let mut first_won = 0;
        for round in 0..ROUNDS {
            let (a, b) = (format!("a{round}"), format!("b{round}"));
            let asked = futures::future::join(rig.create(&a, wish(6)), rig.create(&b, wish(6))).await;
            let (won, lost, refused) = match asked {
                (Decision::Accepted(_), Decision::Refused(refused)) => (a, b, refused),
                (Decision::Refused(refused), Decision::Accepted(_)) => (b, a, refused),
                both => panic!("round {round}: {both:?}"),
            };
            first_won += usize::from(won.starts_with('a'));
            let placed = condition(refused.conditions(), PLACED).expect("a verdict");
            assert_eq!(placed.reason, "NoSpace", "{placed:?}");
            rig.ready(&rig.caches.volumes, &id(&won).to_string()).await;
            rig.gone(&lost).await;
            if round % 20 == 0 {
                assert_eq!(rig.agrees().await, 3);
            }
            assert!(rig.delete(&won).await);
            rig.gone(&won).await;
        }
        println!("{ROUNDS} rounds, the first asker won {first_won}");
        assert_eq!(volume_remains(&rig.sim.snapshot()), Vec::<String>::new());
        rig.close().await;
    });
}

#[test]
fn of_many_asks_at_once_as_many_are_placed_as_fit() {
    let directory = directory();
    in_runtime(async {
        let options = RigOptions { device_size: Bytes::from_gib(50), ..RigOptions::default() };
        let rig = Rig::open(directory.path(), options).await;
        rig.make_topology(3, 1).await;
        let names: Vec<String> = (0..40).map(|n| format!("v{n}")).collect();
        let asked = names.iter().map(|name| rig.create(name, wish(2)));
        let decided = futures::future::join_all(asked).await;
        let accepted = decided.iter().filter(|decision| matches!(decision, Decision::Accepted(_))).count();
        // 2 GiB take 2 GiB and 12 MiB; a spare of 12 MiB and the metadata of LVM come off 50 GiB.
        assert_eq!(accepted, 24);
        assert_eq!(rig.agrees().await, 72);
        let tries: Vec<GlusterVolume> = rig.store.list().await.expect("a list");
        assert!(tries.iter().all(|volume| volume.status.as_ref().is_some_and(|status| status.attempt == 1)));
        rig.delete_all_volumes().await;
        assert_eq!(volume_remains(&rig.sim.snapshot()), Vec::<String>::new());
        rig.close().await;
    });
}

/// One name, asked for twice at once.
#[test]
fn a_name_is_given_once() {
    let directory = directory();
    in_runtime(async {
        let rig = Rig::open(directory.path(), RigOptions::default()).await;
        rig.make_topology(3, 1).await;
        let mut spec = wish(2);
        spec.name = Some("data".into());
        for round in 0..20 {
            let (a, b) = (format!("a{round}"), format!("b{round}"));
            let asked =
                futures::future::join(rig.create(&a, spec.clone()), rig.create(&b, spec.clone())).await;
            let (won, refused) = match asked {
                (Decision::Accepted(_), Decision::Refused(refused)) => (a, refused),
                (Decision::Refused(refused), Decision::Accepted(_)) => (b, refused),
                both => panic!("round {round}: {both:?}"),
            };
            let placed = condition(refused.conditions(), PLACED).expect("a verdict");
            assert_eq!(placed.reason, "NameInUse", "{placed:?}");
            rig.ready(&rig.caches.volumes, &id(&won).to_string()).await;
            rig.delete(&won).await;
            rig.gone(&won).await;
        }
        rig.close().await;
    });
}
