//! Volumes from their creation to their end, and the lists of them.

use std::collections::BTreeSet;

use bricklayer::csi::DRIVER;
use bricklayer::csi::proto::csi as rpc;
use bricklayer::csi::proto::csi::controller_service_capability::Type as Capability;
use bricklayer::csi::proto::csi::controller_service_capability::rpc::Type;
use bricklayer::resources::{GlusterVolume, OnRefusal};
use tonic::Code;

use crate::client::{Client, ask, block, code, gib, mount, sizes, with};
use crate::rig::in_runtime;
use crate::world::World;

#[test]
fn who_answers_and_what_is_offered() {
    in_runtime(async {
        let world = World::start().await;
        let client = &world.client;
        let identity = async |method: &'static str| {
            let second = std::time::Duration::from_secs(5);
            let asked = rpc::GetPluginInfoRequest {};
            client
                .call_within::<_, rpc::GetPluginInfoResponse>("csi.v1.Identity", method, asked, second)
                .await
        };
        assert_eq!(identity("GetPluginInfo").await.unwrap().name, DRIVER);
        let asked = rpc::ControllerGetCapabilitiesRequest {};
        let offered: rpc::ControllerGetCapabilitiesResponse =
            client.call("ControllerGetCapabilities", asked).await.unwrap();
        let offered: Vec<i32> = offered
            .capabilities
            .iter()
            .map(|capability| match capability.r#type {
                Some(Capability::Rpc(rpc)) => rpc.r#type,
                None => panic!("{capability:?}"),
            })
            .collect();
        let wanted = [
            Type::CreateDeleteVolume,
            Type::ListVolumes,
            Type::GetCapacity,
            Type::ExpandVolume,
            Type::SingleNodeMultiWriter,
        ];
        assert_eq!(offered, wanted.map(i32::from));
    });
}

#[test]
fn a_volume_from_beginning_to_end() {
    in_runtime(async {
        let world = World::start().await;
        let client = &world.client;
        let asked = with(with(ask("pvc-1", 2), "volumetype", "replicate:2"), "volumenameprefix", "team");
        let of_claim = |key: &str| format!("csi.storage.k8s.io/pvc/{key}");
        let asked = with(with(asked, &of_claim("namespace"), "shop"), &of_claim("name"), "data");
        let made = client.create(asked.clone()).await.unwrap();
        assert_eq!(made.capacity_bytes, gib(2));
        let stored: GlusterVolume = world.rig.store.get(&made.volume_id).await.unwrap().unwrap();
        assert_eq!(stored.spec.durability.set_size(), 2);
        assert_eq!(made.volume_context["volume"], stored.volume_name());
        assert!(stored.volume_name().starts_with("team_shop_data_"), "{}", stored.volume_name());
        let servers: BTreeSet<&str> = made.volume_context["servers"].split(',').collect();
        assert!(servers.iter().all(|server| server.starts_with("storage")), "{servers:?}");
        assert!(made.accessible_topology.is_empty());

        assert_eq!(client.create(asked.clone()).await.unwrap(), made, "asking twice is asking once");
        let other = rpc::CreateVolumeRequest { capacity_range: sizes(gib(1), gib(3)), ..asked.clone() };
        assert_eq!(client.create(other).await.unwrap(), made, "its size is in the range");
        for other in [
            rpc::CreateVolumeRequest { capacity_range: sizes(gib(4), 0), ..asked.clone() },
            rpc::CreateVolumeRequest { capacity_range: sizes(0, gib(1)), ..asked.clone() },
            with(asked.clone(), "volumetype", "replicate:3"),
            with(asked.clone(), "volumeoptions", "performance.cache-size 64MB"),
        ] {
            assert_eq!(code(client.create(other).await), Code::AlreadyExists);
        }

        client.delete(&made.volume_id).await.unwrap();
        world.nothing_left().await;
        client.delete(&made.volume_id).await.unwrap();
        let again = client.create(ask("pvc-1", 1)).await.unwrap();
        assert_eq!((again.volume_id, again.capacity_bytes), (made.volume_id, gib(1)));
    });
}

#[test]
fn sizes_that_are_made() {
    in_runtime(async {
        let world = World::start().await;
        for (name, range, made) in [
            ("none", None, Some(gib(10))),
            ("limit", sizes(0, gib(3)), Some(gib(3))),
            ("small", sizes(1, 0), Some(gib(1))),
            ("odd", sizes(gib(1) + 1, 0), Some(gib(1) + 1)),
            ("exact", sizes(gib(2), gib(2)), Some(gib(2))),
            ("tiny", sizes(1, gib(1) - 1), None),
            ("mixed up", sizes(gib(3), gib(2)), None),
        ] {
            let asked = rpc::CreateVolumeRequest { capacity_range: range, ..ask(name, 1) };
            let answer = world.client.create(asked).await;
            match made {
                Some(size) => assert_eq!(answer.unwrap().capacity_bytes, size, "{name}"),
                None => assert_eq!(code(answer), Code::OutOfRange, "{name}"),
            }
        }
        world.rig.agrees().await;
    });
}

#[test]
fn names_of_every_kind_are_volumes_of_their_own() {
    in_runtime(async {
        let world = World::start().await;
        let long = "x".repeat(128);
        let names = ["a", "A", "a b\tc", "$(id); rm -rf /", "../..", "größe/1", "--", long.as_str()];
        let mut ids = BTreeSet::new();
        for name in names {
            let made = world.client.create(ask(name, 1)).await.unwrap();
            assert!(made.volume_id.len() <= 128);
            assert!(ids.insert(made.volume_id.clone()), "{name} is another one");
            assert_eq!(world.client.create(ask(name, 1)).await.unwrap(), made, "{name}");
        }
        for id in ids {
            world.client.delete(&id).await.unwrap();
        }
        world.nothing_left().await;
    });
}

async fn grow(client: &Client, id: &str, range: Option<rpc::CapacityRange>) -> Result<i64, tonic::Status> {
    let asked = rpc::ControllerExpandVolumeRequest {
        volume_id: id.into(),
        capacity_range: range,
        volume_capability: Some(mount()),
        ..rpc::ControllerExpandVolumeRequest::default()
    };
    let grown: rpc::ControllerExpandVolumeResponse = client.call("ControllerExpandVolume", asked).await?;
    assert!(!grown.node_expansion_required);
    Ok(grown.capacity_bytes)
}

#[test]
fn a_volume_grows_and_never_shrinks() {
    in_runtime(async {
        let world = World::start().await;
        let client = &world.client;
        let id = client.create(ask("v", 2)).await.unwrap().volume_id;
        assert_eq!(grow(client, &id, sizes(gib(5), 0)).await.unwrap(), gib(5));
        assert_eq!(grow(client, &id, sizes(gib(5), 0)).await.unwrap(), gib(5), "asking twice is asking once");
        assert_eq!(grow(client, &id, sizes(gib(1), 0)).await.unwrap(), gib(5), "it is large enough");
        assert_eq!(code(grow(client, &id, sizes(gib(1), gib(2))).await), Code::OutOfRange);
        assert_eq!(code(grow(client, &id, None).await), Code::InvalidArgument);
        assert_eq!(code(grow(client, &id, sizes(0, 0)).await), Code::InvalidArgument);
        assert_eq!(code(grow(client, "none", sizes(gib(1), 0)).await), Code::NotFound);
        assert_eq!(code(grow(client, "NO/../NE", sizes(gib(1), 0)).await), Code::NotFound);
        assert_eq!(code(grow(client, "", sizes(gib(1), 0)).await), Code::InvalidArgument);
        let (listed, _) = client.list("", 0).await.unwrap();
        assert_eq!(listed[0].capacity_bytes, gib(5));

        // What there is no room for is taken back, whoever has made the volume.
        for on_refusal in ["Forget", "Retry"] {
            let patch = serde_json::json!({"spec": {"onRefusal": on_refusal}});
            world.rig.store.merge::<GlusterVolume>(&id, &patch).await.unwrap();
            let refused = grow(client, &id, sizes(gib(5000), 0)).await.unwrap_err();
            assert_eq!(refused.code(), Code::OutOfRange, "{refused:?}");
            assert!(refused.message().contains("no room"), "{refused:?}");
            let stored: GlusterVolume = world.rig.store.get(&id).await.unwrap().unwrap();
            assert_eq!(stored.spec.size, stored.size().unwrap(), "{on_refusal}");
        }
        assert_eq!(grow(client, &id, sizes(gib(6), 0)).await.unwrap(), gib(6), "a refusal is not for ever");
        client.delete(&id).await.unwrap();
        world.nothing_left().await;
    });
}

#[test]
fn lists_in_pages_while_volumes_come_and_go() {
    in_runtime(async {
        let world = World::start().await;
        let client = &world.client;
        let mut ids = vec![];
        for n in 0..100 {
            ids.push(client.create(ask(&format!("v{n}"), 1)).await.unwrap().volume_id);
            if n < 3 {
                let (listed, _) = client.list("", 0).await.unwrap();
                assert_eq!(listed.len(), n + 1, "one more");
            }
        }
        let mut rig_volume = crate::rig::wish(1);
        rig_volume.on_refusal = OnRefusal::Retry;
        world.rig.want("by hand", rig_volume).await;
        world.rig.ready(&world.rig.caches.volumes, &crate::rig::id("by hand").to_string()).await;
        let (mut seen, mut token) = (BTreeSet::new(), String::new());
        let mut pages = 0;
        loop {
            let (page, next) = client.list(&token, 7).await.unwrap();
            assert!(page.len() <= 7);
            let last = page.last().map(|volume| volume.volume_id.clone()).unwrap();
            seen.extend(page.into_iter().map(|volume| volume.volume_id));
            pages += 1;
            if next.is_empty() {
                break;
            }
            if pages == 5 {
                // The one that the next page begins after goes.
                client.delete(&last).await.unwrap();
            }
            token = next;
        }
        assert_eq!(seen.len(), 101, "each once, those of others too");
        assert!(ids.iter().all(|id| seen.contains(id)));
        assert_eq!(client.list("", 0).await.unwrap().0.len(), 100, "one less");
        assert_eq!(code(client.list("invalid-token", 0).await), Code::Aborted);
        assert_eq!(code(client.list("", -1).await), Code::InvalidArgument);
    });
}

#[test]
fn capabilities_are_confirmed_or_the_reason_is_said() {
    in_runtime(async {
        let world = World::start().await;
        let client = &world.client;
        let made = client.create(with(ask("v", 1), "volumetype", "none")).await.unwrap();
        let asked = rpc::ValidateVolumeCapabilitiesRequest {
            volume_id: made.volume_id.clone(),
            volume_context: made.volume_context.clone(),
            volume_capabilities: vec![mount()],
            parameters: [("volumetype".to_owned(), "none".to_owned())].into(),
            ..rpc::ValidateVolumeCapabilitiesRequest::default()
        };
        let validate = async |asked: rpc::ValidateVolumeCapabilitiesRequest| {
            client
                .call::<_, rpc::ValidateVolumeCapabilitiesResponse>("ValidateVolumeCapabilities", asked)
                .await
        };
        let confirmed = validate(asked.clone()).await.unwrap().confirmed.expect("confirmed");
        assert_eq!(confirmed.volume_capabilities, asked.volume_capabilities);
        for (change, why) in [
            (
                rpc::ValidateVolumeCapabilitiesRequest {
                    volume_capabilities: vec![block()],
                    ..asked.clone()
                },
                "block",
            ),
            (
                rpc::ValidateVolumeCapabilitiesRequest {
                    parameters: [("volumetype".to_owned(), "replicate:3".to_owned())].into(),
                    ..asked.clone()
                },
                "other parameters",
            ),
            (
                rpc::ValidateVolumeCapabilitiesRequest {
                    volume_context: [("volume".to_owned(), "other".to_owned())].into(),
                    ..asked.clone()
                },
                "volume_context",
            ),
        ] {
            let answer = validate(change).await.unwrap();
            assert!(answer.confirmed.is_none() && answer.message.contains(why), "{answer:?}");
        }
        let none = rpc::ValidateVolumeCapabilitiesRequest { volume_capabilities: vec![], ..asked.clone() };
        assert_eq!(code(validate(none).await), Code::InvalidArgument);
        for (id, wanted) in [("", Code::InvalidArgument), ("none", Code::NotFound), ("A/b", Code::NotFound)] {
            let other = rpc::ValidateVolumeCapabilitiesRequest { volume_id: id.into(), ..asked.clone() };
            assert_eq!(code(validate(other).await), wanted, "{id}");
        }
    });
}

#[test]
fn the_capacity_is_what_one_volume_may_have() {
    in_runtime(async {
        let world = World::start().await;
        let client = &world.client;
        let clusters = &world.rig.caches.clusters;
        let known = |seen: Option<&bricklayer::resources::GlusterCluster>| {
            let largest = seen?.status.as_ref()?.capacity?.largest;
            (largest.replicate3.0 > 0 && largest.none.0 > 2 * largest.replicate3.0).then_some(())
        };
        world.rig.until(clusters, crate::rig::CLUSTER, "has room on all its nodes", known).await;
        let asked = async |parameters: &[(&str, &str)], capability| {
            let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
            let asked = rpc::GetCapacityRequest {
                parameters: parameters.iter().map(pair).collect(),
                volume_capabilities: vec![capability],
                accessible_topology: None,
            };
            client.call::<_, rpc::GetCapacityResponse>("GetCapacity", asked).await
        };
        let room =
            async |parameters: &[(&str, &str)]| asked(parameters, mount()).await.unwrap().available_capacity;
        let (plain, once) = (room(&[]).await, room(&[("volumetype", "none")]).await);
        assert!(plain > gib(400) && plain < gib(500), "three disks of 500 GiB hold it three times: {plain}");
        assert!(once > 2 * plain, "{once}");
        assert!(room(&[("snapfactor", "2")]).await <= plain / 2);
        assert_eq!(room(&[("clusters", "other")]).await, 0);
        assert_eq!(asked(&[], block()).await.unwrap().available_capacity, 0, "nothing of that kind is made");
        assert_eq!(code(asked(&[("volumtype", "none")], mount()).await), Code::InvalidArgument);

        let answer = asked(&[], mount()).await.unwrap();
        assert_eq!(answer.maximum_volume_size, Some(plain));
        let exact = |size| rpc::CreateVolumeRequest { capacity_range: sizes(size, size), ..ask("v", 1) };
        assert_eq!(code(client.create(exact(plain + gib(2))).await), Code::ResourceExhausted);
        client.create(exact(plain)).await.expect("what is said to fit does");
    });
}
