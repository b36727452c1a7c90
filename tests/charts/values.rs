//! What the operator's chart takes for values.

use serde_json::Value;

use super::{World, chart, everything, objects, tree};

fn schema(chart_name: &str) -> Value {
    let path = format!("{}/values.schema.json", chart(chart_name));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Every object says which keys it has: a mistyped one is found before anything is installed. Only what
/// Kubernetes itself checks, and what helm hands down, is open.
pub fn closed(_: &World) {
    fn look(schema: &Value, path: &str, open: &mut Vec<String>) {
        if schema["type"] == "object" {
            match &schema["additionalProperties"] {
                Value::Bool(false) | Value::Object(_) => {}
                Value::Bool(true) => open.push(path.to_owned()),
                _ => panic!("{path}: says nothing of other keys"),
            }
        }
        match schema {
            Value::Object(map) => {
                map.iter().for_each(|(key, part)| look(part, &format!("{path}/{key}"), open))
            }
            Value::Array(list) => list.iter().for_each(|part| look(part, path, open)),
            _ => {}
        }
    }
    for (name, expected) in [
        ("bricklayer", vec!["/definitions/kubernetes", "/properties/global"]),
        ("bricklayer-crds", vec!["/properties/global"]),
    ] {
        let mut open = vec![];
        look(&schema(name), "", &mut open);
        open.sort();
        assert_eq!(open, expected, "{name}");
    }
}

/// Each case: what is set, the key that the answer names, and what it says of it.
const BAD: &[(&str, &str, &str)] = &[
    ("replica=2", "'replica'", "not allowed"),
    ("replicas=0", "/replicas", "minimum"),
    ("replicas=two", "/replicas", "want integer"),
    ("image.tags=1", "/image", "'tags' not allowed"),
    ("image.digest=md5:1", "/image/digest", "pattern"),
    ("image.tag=a b", "/image/tag", "pattern"),
    ("image.pullPolicy=Sometimes", "/image/pullPolicy", "'IfNotPresent'"),
    ("imagePullSecrets[0]=x", "/imagePullSecrets/0", "want object"),
    ("serviceAccount.annotation.a=b", "/serviceAccount", "'annotation' not allowed"),
    ("rbac.secretNames[0]=Big", "/rbac/secretNames/0", "pattern"),
    ("resources.request.cpu=1", "/resources", "'request' not allowed"),
    ("resources.requests.memory=64MiB", "/resources/requests/memory", "pattern"),
    ("nodeSelector=a", "/nodeSelector", "want object"),
    ("tolerations[0].effect=Never", "/tolerations/0/effect", "'NoSchedule'"),
    ("affinity.podAntiaffinity=x", "/affinity", "'podAntiaffinity' not allowed"),
    ("topologySpreadConstraints[0].maxSkew=1", "/topologySpreadConstraints/0", "missing"),
    ("terminationGracePeriodSeconds=1", "/terminationGracePeriodSeconds", "minimum"),
    ("extraArgs[0]=rm", "/extraArgs/0", "pattern"),
    ("extraEnv[0].value=x", "/extraEnv/0", "missing property 'name'"),
    ("podDisruptionBudget.minAvailable=1", "/podDisruptionBudget", "'minAvailable' not allowed"),
    ("podDisruptionBudget.maxUnavailable=most", "/podDisruptionBudget/maxUnavailable", "pattern"),
    ("metrics.serviceMonitor.enabled=maybe", "/metrics/serviceMonitor/enabled", "want boolean"),
    ("metrics.serviceMonitor.interval=fast", "/metrics/serviceMonitor/interval", "pattern"),
    ("metrics.prometheusRules.enabled=true", "/metrics", "'prometheusRules' not allowed"),
    ("rest.enable=true", "/rest", "'enable' not allowed"),
    ("rest.service.port=0", "/rest/service/port", "minimum"),
    ("rest.service.type=Ingress", "/rest/service/type", "'ClusterIP'"),
    ("rest.auth.adminKey=x", "/rest/auth", "'adminKey' not allowed"),
    ("rest.tls.existingSecret=A", "/rest/tls/existingSecret", "pattern"),
    ("rest.tls.names[0]=a/b", "/rest/tls/names/0", "pattern"),
    ("networkPolicy.from[0]=x", "/networkPolicy", "'from' not allowed"),
    ("networkPolicy.metricsFrom[0].namespace=x", "/networkPolicy/metricsFrom/0", "'namespace' not allowed"),
    ("storageClasses[0].parameters.volumetype=none", "/storageClasses/0", "missing property 'name'"),
    ("storageClasses[0].name=A_b", "/storageClasses/0/name", "pattern"),
    (
        "storageClasses[0].name=a,storageClasses[0].reclaimPolicy=Recycle",
        "/storageClasses/0/reclaimPolicy",
        "'Retain'",
    ),
    (
        "storageClasses[0].name=a,storageClasses[0].parameters.volumtype=none",
        "/storageClasses/0/parameters",
        "'volumtype' not allowed",
    ),
    ("admissionPolicies.exempt=x", "/admissionPolicies/exempt", "want array"),
    ("simulated.data=/x", "/simulated", "'data' not allowed"),
    ("simulated.deviceSize=1", "/simulated/deviceSize", "want string"),
    ("node.enable=true", "/node", "'enable' not allowed"),
    ("node.kubeletDir=kubelet", "/node/kubeletDir", "pattern"),
    ("node.kubeletDir=/var/lib/kubelet/", "/node/kubeletDir", "pattern"),
    ("node.clients=plugin", "/node/clients", "'systemd'"),
    ("node.maxVolumes=many", "/node/maxVolumes", "want integer"),
    ("node.updateStrategy.type=OnDelete", "/node/updateStrategy", "'type' not allowed"),
    ("node.updateStrategy.maxUnavailable=0", "/node/updateStrategy/maxUnavailable", "minimum"),
    ("node.tolerations[0].operator=All", "/node/tolerations/0/operator", "'Exists'"),
    ("node.securityContext.privileged=false", "/node", "'securityContext' not allowed"),
    ("node.namespace.name=", "/node/namespace/name", "pattern"),
    ("node.probePort=0", "/node/probePort", "minimum"),
    ("node.extraArgs[0]=-x", "/node/extraArgs/0", "pattern"),
    ("podExec.namespaces[0]=a.b", "/podExec/namespaces/0", "pattern"),
    ("glusterfs.image.name=x", "/glusterfs/image", "'name' not allowed"),
    ("glusterfs.namespace.name=", "/glusterfs/namespace/name", "pattern"),
];

pub fn refused(world: &World) {
    let operator = chart("bricklayer");
    for (set, key, said) in BAD {
        for words in [
            ["template", "x", operator.as_str(), "--set", set],
            ["lint", operator.as_str(), "--strict", "--set", set],
        ] {
            let output = world.helm_try(&words);
            let both = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&both);
            assert!(!output.status.success() && text.contains(key) && text.contains(said), "{set}: {text}");
        }
    }
    let crds = chart("bricklayer-crds");
    let output = world.helm_try(&["template", "x", &crds, "--set", "keep=false"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && text.contains("'keep' not allowed"), "{text}");
}

/// The keys of a table in class.rs. Those of CSI stand there to be refused.
fn table<'a>(source: &'a str, name: &str) -> Vec<&'a str> {
    let (_, table) = source.split_once(&format!("const {name}: ")).expect("the table in class.rs");
    let (_, table) = table.split_once('=').unwrap();
    let (_, table) = table.split_once('[').unwrap();
    let (table, _) = table.split_once("];").unwrap();
    let entries: Vec<&str> = match table.contains('(') {
        // A parenthesis in a text is not followed by a quotation mark.
        true => table.split('(').map(str::trim_start).collect(),
        false => table.split(',').map(str::trim).collect(),
    };
    let words = entries.iter().filter_map(|entry| entry.strip_prefix('"')?.split_once('"'));
    let mut words: Vec<&str> = words.map(|(word, _)| word).filter(|word| !word.contains('/')).collect();
    words.sort_unstable();
    words
}

/// The keys that the provisioner reads, those that the schema takes, and those that the policy names.
pub fn class_parameters(world: &World) {
    let source = std::fs::read_to_string(tree().join("src/intent/class.rs")).unwrap();
    let known = table(&source, "KEYS");
    let of_heketi = table(&source, "OF_HEKETI");
    assert!(known.contains(&"volumetype") && of_heketi.contains(&"resturl"), "{known:?} {of_heketi:?}");

    let schema = schema("bricklayer");
    let parameters = &schema["definitions"]["storageClass"]["properties"]["parameters"]["properties"];
    let mut taken: Vec<&str> = parameters.as_object().unwrap().keys().map(String::as_str).collect();
    taken.sort_unstable();
    assert_eq!(taken, known, "values.schema.json");

    let rendered = world.helm_run(&["template", "bricklayer", &chart("bricklayer"), "-f", &everything()]);
    let policies = objects(&rendered);
    let policy = policies.iter().find(|object| {
        object["kind"] == "ValidatingAdmissionPolicy"
            && object["metadata"]["name"].as_str().unwrap().ends_with("-class-parameters")
    });
    for (variable, words) in [("known", &known), ("ofHeketi", &of_heketi)] {
        let mut variables = policy.unwrap()["spec"]["variables"].as_array().unwrap().iter();
        let listed = &variables.find(|one| one["name"] == variable).unwrap()["expression"];
        let quoted: Vec<String> = words.iter().map(|key| format!("'{key}'")).collect();
        assert_eq!(listed, &format!("[{}]", quoted.join(", ")), "the policy's {variable}");
    }
}
