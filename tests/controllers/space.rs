//! Derived space is physical space, whatever was made and removed in whatever order.

use bricklayer::intent::Decision;
use bricklayer::resources::{Durability, GlusterVolume, GlusterVolumeSpec};
use bricklayer::units::{Bytes, GIB};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::rig::{Rig, RigOptions, directory, in_runtime, volume_remains, wish};

/// What happens next.
#[derive(Clone, Debug)]
enum Event {
    /// A volume is asked for: MiB, replicas, tenths of the snapshot factor.
    Create(u64, u32, u32),
    /// The how-manieth volume of those that are there is removed.
    Delete(usize),
    /// The server ends and starts again.
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (1024u64..20_000, 1u32..=3, 10u32..25).prop_map(|(mib, replicas, tenths)| Event::Create(mib, replicas, tenths)),
        3 => any::<usize>().prop_map(Event::Delete),
        1 => Just(Event::Restart),
    ]
}

fn spec(mib: u64, replicas: u32, tenths: u32) -> GlusterVolumeSpec {
    let durability = match replicas {
        1 => Durability::none(),
        more => Durability::replicate(more),
    };
    let (size, snapshot_factor) = (Bytes(mib << 20), f64::from(tenths) / 10.0);
    GlusterVolumeSpec { size, durability, snapshot_factor, ..wish(1) }
}

#[test]
fn derived_space_is_physical_space() {
    let mut runner = TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    let histories = proptest::collection::vec(event(), 1..30);
    runner
        .run(&histories, |events| {
            live(&events);
            Ok(())
        })
        .expect("no history breaks it");
}

fn live(events: &[Event]) {
    let directory = directory();
    let options = RigOptions { device_size: Bytes(30 * GIB), ..RigOptions::default() };
    let mut made = 0;
    let mut there: Vec<String> = vec![];
    for (n, part) in events.split(|event| matches!(event, Event::Restart)).enumerate() {
        in_runtime(async {
            let rig = Rig::open(directory.path(), options.clone()).await;
            if n == 0 {
                rig.make_topology(4, 2).await;
            }
            for event in part {
                match event {
                    Event::Create(mib, replicas, tenths) => {
                        made += 1;
                        let name = format!("v{made}");
                        if let Decision::Accepted(_) = rig.create(&name, spec(*mib, *replicas, *tenths)).await
                        {
                            there.push(name);
                        }
                    }
                    Event::Delete(which) if !there.is_empty() => {
                        let name = there.remove(which % there.len());
                        rig.ready(&rig.caches.volumes, &crate::rig::id(&name).to_string()).await;
                        rig.delete(&name).await;
                        rig.gone(&name).await;
                    }
                    Event::Delete(_) | Event::Restart => {}
                }
            }
            rig.agrees().await;
            // What was derived to be free was free: LVM has never refused a brick.
            let volumes: Vec<GlusterVolume> = rig.store.list().await.expect("a list");
            assert_eq!(volumes.len(), there.len());
            assert!(volumes.iter().all(|volume| volume.status.as_ref().is_some_and(|s| s.attempt == 1)));
            rig.close().await;
        });
    }
    in_runtime(async {
        let rig = Rig::open(directory.path(), options.clone()).await;
        rig.delete_all_volumes().await;
        assert_eq!(volume_remains(&rig.sim.snapshot()), Vec::<String>::new());
        rig.close().await;
    });
}
