//! StorageClasses: what they may say, and what comes of it.

use serde_json::{Value, json};

use super::{World, class, told, wait_for};

/// Makes a claim and gives back the name of its volume once it is bound.
pub fn bound(world: &World, claim: &str, class: &str, size: &str) -> String {
    world.claims(&[claim.into()], class, size);
    let phase = "--for=jsonpath={.status.phase}=Bound";
    world.cluster.run(&["wait", phase, &format!("pvc/{claim}"), "--timeout=90s"]);
    world.cluster.value(&[&format!("pvc/{claim}")], "{.spec.volumeName}")
}

/// Deletes all claims and waits until nothing is left of them.
pub fn clear(world: &World) {
    world.cluster.run(&["delete", "pvc", "--all", "--timeout=120s"]);
    world.nothing_left();
}

fn volume(world: &World, name: &str, path: &str) -> String {
    world.cluster.value(&["gvol", name], path)
}

/// Everything that a class may say shows in the volume; everything else is named.
pub fn table(world: &World) {
    let operator = world.operator();
    world.topology();
    let cluster = world.cluster.value(&["gcl/trial"], "{.status.id}");
    for (name, parameters, path, wanted) in [
        ("none", json!({"volumetype": "none"}), "{.spec.durability.type}", "none".to_owned()),
        ("two", json!({"volumetype": "replicate:2"}), "{.spec.durability.replicas}", "2".into()),
        (
            "options",
            json!({"volumeoptions": "nfs.disable on"}),
            "{.spec.options[0]}",
            "nfs.disable on".into(),
        ),
        ("cluster", json!({"clusters": "trial"}), "{.spec.clusters[0]}", "trial".into()),
        ("by-id", json!({"clusterid": cluster}), "{.spec.clusters[0]}", "trial".into()),
        ("snaps", json!({"snapfactor": "1.5"}), "{.spec.snapshotFactor}", "1.5".into()),
        ("zones", json!({"zoneChecking": "none"}), "{.spec.gid}", "0".into()),
        (
            "heketi",
            json!({"resturl": "http://x:8080", "gidMin": "3000", "gidMax": "3001"}),
            "{.spec.gid}",
            "3000".into(),
        ),
    ] {
        class(world, name, parameters, "Delete");
        let made = bound(world, &format!("good-{name}"), name, "1Gi");
        assert_eq!(volume(world, &made, path), wanted, "{name}");
        assert_eq!(volume(world, &made, "{.spec.claimRef.storageClass}"), name);
    }
    told(world, "good-heketi", "were not used: resturl");
    // The second volume of a class gets the second group, a third one none.
    let second = bound(world, "second", "heketi", "1Gi");
    assert_eq!(
        world.cluster.value(&["pv", &second], r"{.metadata.annotations.pv\.beta\.kubernetes\.io/gid}"),
        "3001"
    );
    world.claims(&["third".into()], "heketi", "1Gi");
    told(world, "third", "all gids from gidMin 3000 to gidMax 3001 are in use");
    class(world, "named", json!({"volumenameprefix": "team"}), "Delete");
    let named = bound(world, "my.data", "named", "1Gi");
    let name = volume(world, &named, "{.status.volumeName}");
    assert_eq!(name, format!("team_default_my-data_{}", named.trim_start_matches("pvc-")));
    bad(world);
    clear(world);
    world.audit(operator, 0);
}

fn bad(world: &World) {
    let cases = [
        ("disperse", json!({"volumetype": "disperse:3:1"}), "disperse:4:2"),
        ("zone-rule", json!({"zoneChecking": "hard"}), "accepted is none, soft or strict"),
        ("gids", json!({"gidMin": "9", "gidMax": "5000"}), "2000 to 2147483646"),
        ("snap", json!({"snapfactor": "0"}), "a number from 1 to 100"),
        ("option", json!({"volumeoptions": "a.b --log-file=/x"}), "does not begin with `--`"),
        ("source", json!({"pvSource": "nfs"}), "csi or glusterfs"),
        ("nowhere", json!({"clusters": "elsewhere"}), "no GlusterCluster \"elsewhere\""),
    ];
    for (name, parameters, _) in &cases {
        class(world, name, parameters.clone(), "Delete");
        world.claims(&[format!("bad-{name}")], name, "1Gi");
    }
    let topologies = json!([{"matchLabelExpressions": [{"key": "zone", "values": ["a"]}]}]);
    let zoned = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "zoned"},
        "provisioner": "gluster.bricklayer.dev", "allowedTopologies": topologies});
    world.cluster.apply(&zoned.to_string());
    world.claims(&["bad-zoned".into()], "zoned", "1Gi");
    for (name, _, text) in &cases {
        told(world, &format!("bad-{name}"), text);
    }
    told(world, "bad-zoned", "StorageClass \"zoned\": its allowedTopologies");
    let bound = world.cluster.run(&[
        "get",
        "pvc",
        "-o",
        "jsonpath={range .items[*]}{.metadata.name}={.status.phase} {end}",
    ]);
    assert!(!bound.split(' ').any(|claim| claim.starts_with("bad-") && claim.ends_with("=Bound")), "{bound}");
}

/// A class that is missing, then wrong, then right: the claim follows without being touched.
pub fn made_anew(world: &World) {
    let operator = world.operator();
    world.topology();
    class(world, "later", json!({"clusters": "elsewhere"}), "Delete");
    world.claims(&["data".into()], "later", "1Gi");
    told(world, "data", "no GlusterCluster \"elsewhere\"");
    world.cluster.run(&["delete", "storageclass", "later"]);
    told(world, "data", "there is no StorageClass \"later\"");
    class(world, "later", json!({"snapfactor": "many"}), "Delete");
    told(world, "data", "a number from 1 to 100");
    world.cluster.run(&["delete", "storageclass", "later"]);
    class(world, "later", json!({"volumetype": "none"}), "Delete");
    world.cluster.run(&["wait", "--for=jsonpath={.status.phase}=Bound", "pvc/data", "--timeout=60s"]);
    let made = world.cluster.value(&["pvc/data"], "{.spec.volumeName}");
    assert_eq!(volume(world, &made, "{.spec.durability.type}"), "none");
    // A class of somebody else is not ours to serve, whatever the annotation on the claim says.
    let other = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "other"},
        "provisioner": "example.com/other"});
    world.cluster.apply(&other.to_string());
    world.claims(&["foreign".into()], "other", "1Gi");
    let ours = "volume.kubernetes.io/storage-provisioner=gluster.bricklayer.dev";
    world.cluster.run(&["annotate", "--overwrite", "pvc", "foreign", ours]);
    let uid = world.cluster.value(&["pvc/foreign"], "{.metadata.uid}");
    bound(world, "next", "gluster", "1Gi");
    assert_eq!(volume(world, &format!("pvc-{uid}"), "{.metadata.name}"), "");
    clear(world);
    world.audit(operator, 0);
}

/// The source that kubelets had before Kubernetes 1.26, with Endpoints and a Service beside the claim.
pub fn old_source(world: &World) {
    let operator = world.operator();
    world.topology();
    class(world, "old", json!({"pvSource": "glusterfs", "volumetype": "replicate:2"}), "Delete");
    class(world, "old-named", json!({"pvSource": "glusterfs", "customepnameprefix": "db"}), "Delete");
    let made = bound(world, "data", "old", "1Gi");
    let uid = made.trim_start_matches("pvc-");
    let endpoints = format!("glusterfs-dynamic-{uid}");
    let source = world
        .cluster
        .value(&["pv", &made], "{.spec.glusterfs.endpoints} {.spec.glusterfs.endpointsNamespace}");
    assert_eq!(source, format!("{endpoints} default"));
    let path = world.cluster.value(&["pv", &made], "{.spec.glusterfs.path}");
    assert_eq!(path, volume(world, &made, "{.status.volumeName}"));
    let gid = world.cluster.value(&["pv", &made], r"{.metadata.annotations.pv\.beta\.kubernetes\.io/gid}");
    assert_eq!(gid, "2000", "as the old provisioner did");
    let addresses = || world.cluster.value(&["endpoints", &endpoints], "{.subsets[*].addresses[*].ip}");
    let servers = wait_for("the Endpoints", 30, || Some(addresses()).filter(|found| !found.is_empty()));
    let hosts: Value = serde_json::from_str(&volume(world, &made, "{.status.mount.servers}")).unwrap();
    let hosts: Vec<&str> = hosts.as_array().unwrap().iter().map(|host| host.as_str().unwrap()).collect();
    assert_eq!(servers, hosts.join(" "));
    assert_eq!(world.cluster.value(&["service", &endpoints], "{.spec.ports[0].port}"), "1");
    // People delete them, and servers change. A new operator looks at everything anew.
    world.cluster.run(&["delete", "endpoints,service", &endpoints]);
    operator.stop();
    let operator = world.operator();
    wait_for("the Endpoints to come right", 60, || (addresses() == servers).then_some(()));
    wait_for("the Service to come back", 30, || {
        world.cluster.try_run(&["get", "service", &endpoints]).status.success().then_some(())
    });
    let stale = json!({"subsets": [{"addresses": [{"ip": "10.9.9.9"}], "ports": [{"port": 1}]}]}).to_string();
    world.cluster.run(&["patch", "endpoints", &endpoints, "--type=merge", "-p", &stale]);
    operator.stop();
    let operator = world.operator();
    wait_for("the Endpoints to be right again", 60, || (addresses() == servers).then_some(()));
    let named = bound(world, "other", "old-named", "1Gi");
    let named = named.replace("pvc-", "db-");
    wait_for("Endpoints of that prefix", 30, || {
        world.cluster.try_run(&["get", "service", &named]).status.success().then_some(())
    });
    clear(world);
    wait_for("Endpoints and Services to go with their volumes", 60, || {
        let left = world.cluster.run(&["get", "endpoints,service", "-n", "default", "-o", "name"]);
        (!left.contains(uid) && !left.contains(&named)).then_some(())
    });
    world.audit(operator, 0);
}
