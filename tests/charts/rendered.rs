//! What the charts render.

use std::process::Command;

use serde_json::{Value, json};

use super::fixture::BINARY;
use super::{NAMESPACE, World, chart, everything, objects, run, text, tree};

/// `deploy/` and the templates of the kinds are what `make generate` would write.
pub fn fresh(_: &World) {
    run(Command::new(tree().join("charts/generate")).arg("--check"));
}

pub fn lint(world: &World) {
    let (crds, operator) = (chart("bricklayer-crds"), chart("bricklayer"));
    world.helm_run(&["lint", "--strict", &crds]);
    world.helm_run(&["lint", "--strict", &operator]);
    world.helm_run(&["lint", "--strict", &operator, "-f", &everything()]);
    assert_eq!(objects(&template(world, &crds, &[])).len(), 4);
    for words in [vec![], vec!["-f".to_owned(), everything()]] {
        for object in objects(&template(world, &operator, &words)) {
            let labels = &object["metadata"]["labels"];
            for key in ["name", "instance", "version", "part-of", "managed-by"] {
                let key = format!("app.kubernetes.io/{key}");
                assert!(labels[&key].is_string(), "{key} is missing: {object}");
            }
            let rules = object["rules"].to_string();
            assert!(!rules.contains('*'), "a wildcard: {object}");
            let cluster_wide = object["kind"] == "ClusterRole" && rules.contains("secrets");
            assert!(!cluster_wide, "Secrets everywhere: {object}");
        }
    }
}

fn template(world: &World, chart: &str, words: &[String]) -> String {
    let words = words.iter().map(String::as_str);
    let all: Vec<&str> = ["template", "bricklayer", chart].into_iter().chain(words).collect();
    world.helm_run(&all)
}

pub fn notes(world: &World) {
    let notes = |words: &[&str]| {
        let operator = chart("bricklayer");
        let all = ["install", "x", operator.as_str(), "--dry-run=client"];
        let words: Vec<&str> = all.iter().chain(words).copied().collect();
        let all = world.helm_run(&words);
        all.split_once("NOTES:").unwrap().1.to_owned()
    };
    let usual = notes(&[]);
    assert!(
        usual.contains("kubectl apply -f examples/topology.yaml") && !usual.contains("WARNING"),
        "{usual}"
    );
    for (words, told) in [
        (["--set", "simulated.enabled=true"], "NO DATA"),
        (["--set", "replicas=1"], "claims wait"),
        (["--set", "rest.enabled=true,rest.tls.enabled=false"], "travel unencrypted"),
        (["--set", "admissionPolicies.enabled=false"], "only finalizers"),
        (["--set", "glusterfs.enabled=true,glusterfs.namespace.create=false"], "enforce=privileged"),
        (["--set", "node.namespace.create=false"], "enforce=privileged"),
        (["--set", "node.enabled=false"], "No pod can mount"),
    ] {
        let text = notes(&words);
        assert!(text.contains("WARNING") && text.contains(told), "{text}");
    }
    let server = ["install", "x", &chart("bricklayer"), "--dry-run=server"];
    let without_kinds = world.helm_run(&server);
    assert!(without_kinds.contains("WARNING: the kinds are missing"), "{without_kinds}");
}

/// Every object of both charts, with default values and with every option, is sent to the API server,
/// which checks it as if it were stored. Pods are sent as pods, since that is where PodSecurity looks.
pub fn dry_run(world: &World) {
    let cluster = &world.cluster;
    cluster.apply(&prometheus_kinds());
    cluster.wait_for_kinds();
    for namespace in ["storage-pods", "bricklayer-gluster", "bricklayer-node"] {
        cluster.run(&["create", "namespace", namespace]);
    }
    let operator = chart("bricklayer");
    let all = ["-f".to_owned(), everything()];
    let rendered = [
        template(world, &chart("bricklayer-crds"), &[]),
        template(world, &operator, &[]),
        template(world, &operator, &all),
    ];
    for (number, stream) in rendered.iter().enumerate() {
        let path = world.file(&format!("rendered-{number}.yaml"), stream);
        let output = cluster.try_run(&["apply", "--dry-run=server", "-f", text(&path)]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert!(!said.contains("would violate PodSecurity") || number == 2, "{said}");
        let taken = String::from_utf8_lossy(&output.stdout).lines().count();
        assert_eq!(taken, objects(stream).len());
    }
    let try_pod = |template: &Value, namespace: &str| {
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "spec": template["spec"],
            "metadata": {"name": "pod", "namespace": namespace}});
        pod["spec"]["serviceAccountName"] = "default".into();
        // Names of priority classes are for a cluster of its administrator's making.
        pod["spec"]["priorityClassName"] = "system-node-critical".into();
        let path = world.file("pod.json", &pod.to_string());
        cluster.try_run(&["create", "--dry-run=server", "-f", text(&path)])
    };
    for stream in &rendered[1..] {
        for object in objects(stream) {
            let template = match object["kind"].as_str() {
                Some("Deployment") => &object["spec"]["template"],
                Some("Pod") => &object,
                _ => continue,
            };
            let output = try_pod(template, NAMESPACE);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }
    let daemons: Vec<Value> =
        objects(&rendered[2]).into_iter().filter(|object| object["kind"] == "DaemonSet").collect();
    assert_eq!(daemons.len(), 2, "{daemons:?}");
    for daemon in daemons {
        let template = &daemon["spec"]["template"];
        let refused = try_pod(template, NAMESPACE);
        let refused = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.contains("violates PodSecurity \"restricted"), "the level is enforced: {refused}");
        assert!(try_pod(template, daemon["metadata"]["namespace"].as_str().unwrap()).status.success());
    }
    cluster.run(&["delete", "namespace", "storage-pods", "bricklayer-gluster", "bricklayer-node"]);
}

/// What the node plugin gets is what docs/node.md explains, line by line: its rights, its privileges and
/// its paths of the host, and no more.
pub fn privileges(world: &World) {
    let page = std::fs::read_to_string(tree().join("docs/node.md")).unwrap();
    let all = objects(&template(world, &chart("bricklayer"), &[]));
    let find = |kind: &str| {
        let of_node = |object: &&Value| {
            object["kind"] == kind && object["metadata"]["labels"]["app.kubernetes.io/component"] == "node"
        };
        all.iter().find(of_node).unwrap_or_else(|| panic!("no {kind} of the node plugin"))
    };
    assert_eq!(
        find("ClusterRole")["rules"],
        json!([{"apiGroups": ["bricklayer.dev"], "resources": ["glustervolumes"], "verbs": ["get"]},
            {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]}])
    );
    let account = &find("ServiceAccount")["metadata"];
    let subjects = &find("ClusterRoleBinding")["subjects"];
    let subject =
        json!({"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]});
    assert_eq!(*subjects, json!([subject]));
    let labels = &find("Namespace")["metadata"]["labels"];
    assert_eq!(labels["pod-security.kubernetes.io/enforce"], "privileged");

    let pod = &find("DaemonSet")["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let mut asked: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .map(str::to_owned)
        .into_iter()
        .filter(|key| pod[key] == true)
        .collect();
    asked.extend(
        container["securityContext"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(key, value)| format!("{key}: {value}")),
    );
    for volume in pod["volumes"].as_array().unwrap() {
        let mounts = container["volumeMounts"].as_array().unwrap();
        let mount = mounts.iter().find(|mount| mount["name"] == volume["name"]).unwrap();
        assert!(volume["hostPath"].is_object(), "{volume}");
        let how = mount["mountPropagation"].as_str().or(mount["readOnly"].as_bool().map(|_| "read-only"));
        asked.push(format!("{} {}", volume["hostPath"]["path"].as_str().unwrap(), how.unwrap_or_default()));
    }
    for one in &asked {
        let row = format!("| `{}` |", one.trim());
        assert!(page.contains(&row), "docs/node.md has no row {row}");
    }
    let rows = page.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(rows, asked.len(), "docs/node.md explains more, or less, than {asked:?}");
}

/// Stand-ins for the kinds of the Prometheus operator: any content.
fn prometheus_kinds() -> String {
    let kind = |kind: &str, plural: &str| {
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.monitoring.coreos.com")},
            "spec": {"group": "monitoring.coreos.com", "scope": "Namespaced",
                "names": {"kind": kind, "plural": plural},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
                    {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}})
    };
    let items = [kind("ServiceMonitor", "servicemonitors"), kind("PrometheusRule", "prometheusrules")];
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

/// The binary knows the words that the chart gives it: without a cluster it fails, but not for its words.
pub fn arguments(world: &World) {
    let operator = chart("bricklayer");
    let simulated = ["--set", "simulated.enabled=true"].map(str::to_owned);
    for words in [vec![], vec!["-f".to_owned(), everything()], simulated.to_vec()] {
        for object in objects(&template(world, &operator, &words)) {
            let spec = match object["kind"].as_str() {
                Some("Deployment") => &object["spec"]["template"]["spec"],
                Some("Pod") => &object["spec"],
                // GlusterFS in pods is another program.
                Some("DaemonSet") if object["spec"]["template"]["spec"]["hostPID"] == true => {
                    &object["spec"]["template"]["spec"]
                }
                _ => continue,
            };
            let args = spec["containers"][0]["args"].as_array().unwrap();
            let mut start = Command::new(BINARY);
            start.args(args.iter().map(|word| word.as_str().unwrap())).args(["--version"]);
            let output = start.output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{args:?}: {said}");
        }
    }
}

/// Alerts ask for figures that exist.
pub fn alerts(world: &World) {
    let rendered = template(world, &chart("bricklayer"), &["-f".to_owned(), everything()]);
    let rule = objects(&rendered).into_iter().find(|object| object["kind"] == "PrometheusRule").unwrap();
    let rules = rule["spec"]["groups"][0]["rules"].as_array().unwrap().clone();
    assert!(rules.len() >= 7, "{rules:?}");
    let source = |path: &str| std::fs::read_to_string(tree().join(path)).unwrap();
    let known = source("src/serve/metrics.rs") + &source("src/provisioner/metrics.rs");
    for rule in rules {
        let expression = rule["expr"].as_str().unwrap();
        let words = expression.split(|other: char| !other.is_ascii_alphanumeric() && other != '_');
        let names = words.filter_map(|word| {
            let name = word.strip_prefix("bricklayer_").or(word.strip_prefix("controller_"))?;
            Some(name.trim_end_matches("_total"))
        });
        let names: Vec<&str> = names.collect();
        assert!(!names.is_empty(), "{expression}");
        for name in names {
            assert!(known.contains(&format!("\"{name}\"")), "{expression}: there is no {name}");
        }
    }
}
