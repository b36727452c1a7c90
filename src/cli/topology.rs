//! The whole estate: loaded from a file in Heketi's topology.json format, or shown.

use std::{collections::BTreeMap, fs, io::Write, path::Path};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use ureq::http::Method;

use super::out::Out;
use super::wire::{Cluster, Hostnames, Node, Volume, read};
use super::{CliError, Format, Server, cluster, clusters, show};

/// Shows every cluster with its nodes, devices and volumes.
pub(super) fn info(server: &Server, format: Format, out: &mut Out<'_>) -> Result<(), CliError> {
    let ids = clusters(server)?;
    if format != Format::Table {
        let estate: Result<Vec<Value>, CliError> = ids.iter().map(|id| whole_cluster(server, id)).collect();
        return show::value(&json!({ "clusters": estate? }), format, out);
    }
    if ids.is_empty() {
        return Ok(writeln!(
            out,
            "no clusters; load some with `bricklayer topology load --json examples/topology.json`"
        )?);
    }
    for id in ids {
        let whole = whole_cluster(server, &id)?;
        let what = format!("cluster {id}");
        let mut nodes: Vec<Node> = read(&what, &whole["nodes"])?;
        nodes.sort_by(|one, other| one.hostnames.manage.cmp(&other.hostnames.manage));
        let volumes: Vec<Volume> = read(&what, &whole["volumes"])?;
        let kinds = [("file", &whole["file"]), ("block", &whole["block"])];
        let kinds: Vec<&str> =
            kinds.iter().filter(|(_, on)| **on == json!(true)).map(|(kind, _)| *kind).collect();
        writeln!(out, "Cluster {id} ({})\n", kinds.join(", "))?;
        show::nodes(&nodes, out)?;
        for node in &nodes {
            writeln!(out, "\nDevices of {}:", node.hostnames.manage.join(","))?;
            show::devices(&node.devices, out)?;
        }
        writeln!(out, "\nVolumes:")?;
        show::volumes(&volumes, out)?;
        writeln!(out)?;
    }
    Ok(())
}

/// A cluster with what is in it, as Heketi's own client puts it together.
fn whole_cluster(server: &Server, id: &str) -> Result<Value, CliError> {
    let cluster: Cluster = cluster(server, id)?;
    let each = |kind: &str, ids: &[String]| -> Result<Vec<Value>, CliError> {
        let one = |id: &String| server.get(&format!("{kind} {id}"), &format!("/{kind}s/{id}"));
        ids.iter().map(one).collect()
    };
    Ok(json!({
        "id": id,
        "file": cluster.file,
        "block": cluster.block,
        "nodes": each("node", &cluster.nodes)?,
        "volumes": each("volume", &cluster.volumes)?,
    }))
}

/// A topology file.
#[derive(Debug, Deserialize)]
struct File {
    clusters: Vec<FileCluster>,
}

#[derive(Debug, Deserialize)]
struct FileCluster {
    #[serde(default)]
    nodes: Vec<FileNode>,
    #[serde(default = "yes")]
    file: bool,
    #[serde(default = "yes")]
    block: bool,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize)]
struct FileNode {
    node: NodeAsk,
    #[serde(default)]
    devices: Vec<FileDevice>,
}

#[derive(Debug, Deserialize)]
struct NodeAsk {
    hostnames: Hostnames,
    zone: i64,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

/// A device: its path alone, or with more about it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum FileDevice {
    Path(String),
    Full {
        name: String,
        #[serde(default)]
        tags: BTreeMap<String, String>,
        #[serde(default)]
        destroydata: bool,
    },
}

impl FileDevice {
    fn name(&self) -> &str {
        match self {
            Self::Path(name) | Self::Full { name, .. } => name,
        }
    }

    fn body(&self, node: &str) -> Value {
        let mut body = json!({ "name": self.name(), "node": node });
        if let Self::Full { tags, destroydata, .. } = self {
            if !tags.is_empty() {
                body["tags"] = json!(tags);
            }
            if *destroydata {
                body["destroydata"] = json!(true);
            }
        }
        body
    }
}

impl FileNode {
    fn host(&self) -> &str {
        self.node.hostnames.manage.first().map_or("", String::as_str)
    }

    fn body(&self, cluster: &str) -> Value {
        let ask = &self.node;
        let mut body = json!({ "zone": ask.zone, "hostnames": ask.hostnames, "cluster": cluster });
        if !ask.tags.is_empty() {
            body["tags"] = json!(ask.tags);
        }
        body
    }
}

/// How many things were made, found and failed.
#[derive(Default)]
struct Count {
    made: usize,
    found: usize,
    failed: usize,
}

/// A run over a file.
struct Load<'a> {
    server: &'a Server,
    /// The nodes that were there before.
    there: Vec<Node>,
    counts: [(&'static str, Count); 3],
    /// Where the lines go: not to the answer when that is JSON.
    log: &'a mut dyn Write,
    err: &'a mut dyn Write,
}

const CLUSTERS: usize = 0;
const NODES: usize = 1;
const DEVICES: usize = 2;

/// Creates what a file describes and is not there yet. What is there is found by the first manage
/// name of a node and the path of a device, and is left as it is.
pub(super) fn load(
    server: &Server,
    path: &Path,
    format: Format,
    out: &mut Out<'_>,
    err: &mut dyn Write,
) -> Result<(), CliError> {
    let file = read_file(path)?;
    let there = nodes(server)?;
    let mut sink = std::io::sink();
    let counts = [("clusters", Count::default()), ("nodes", Count::default()), ("devices", Count::default())];
    let log: &mut dyn Write = match format {
        Format::Table => &mut *out,
        Format::Json | Format::Yaml => &mut sink,
    };
    let mut load = Load { server, there, counts, log, err };
    for cluster in &file.clusters {
        load.cluster(cluster)?;
    }
    let counts = load.counts;
    match format {
        Format::Json | Format::Yaml => show::value(&summary_json(&counts), format, out)?,
        Format::Table => writeln!(out, "\n{}", summary(&counts))?,
    }
    match counts.iter().map(|(_, count)| count.failed).sum() {
        0 => Ok(()),
        failed => Err(CliError::Partly { failed }),
    }
}

impl Load<'_> {
    fn cluster(&mut self, wanted: &FileCluster) -> Result<(), CliError> {
        // The cluster that new nodes go to: that of the node before them in the file.
        let mut current: Option<String> = None;
        let mut made: Option<String> = None;
        for wanted_node in &wanted.nodes {
            let host = wanted_node.host();
            let there =
                self.there.iter().find(|node| node.hostnames.manage.first().is_some_and(|h| h == host));
            let id = match there {
                Some(node) => {
                    let (id, cluster) = (node.id.clone(), node.cluster.clone());
                    self.done(
                        NODES,
                        |count| &mut count.found,
                        format!("  node {host}: found in cluster {cluster}"),
                    )?;
                    if current.as_ref() != Some(&cluster) {
                        self.counts[CLUSTERS].1.found += 1;
                    }
                    current = Some(cluster);
                    Some(id)
                }
                None => {
                    let cluster = match &current {
                        Some(cluster) => cluster.clone(),
                        None => {
                            let new = self.new_cluster(wanted)?;
                            made = Some(new.clone());
                            new
                        }
                    };
                    current = Some(cluster.clone());
                    self.new_node(wanted_node, &cluster)?
                }
            };
            for device in &wanted_node.devices {
                self.device(device, host, id.as_deref())?;
            }
        }
        match made {
            Some(id) => self.drop_if_empty(&id),
            None => Ok(()),
        }
    }

    fn new_cluster(&mut self, wanted: &FileCluster) -> Result<String, CliError> {
        let body = json!({ "file": wanted.file, "block": wanted.block });
        let made: Cluster =
            read("a new cluster", &self.server.post("create a cluster", "/clusters", &body)?)?;
        self.done(CLUSTERS, |count| &mut count.made, format!("cluster {}: created", made.id))?;
        Ok(made.id)
    }

    fn new_node(&mut self, wanted: &FileNode, cluster: &str) -> Result<Option<String>, CliError> {
        let host = wanted.host();
        let what = format!("create node {host}");
        match self.server.operate(&what, &Method::POST, "/nodes", Some(&wanted.body(cluster))) {
            Ok(answer) => {
                let node: Node = read(&what, &answer.unwrap_or(Value::Null))?;
                self.done(NODES, |count| &mut count.made, format!("  node {host}: created as {}", node.id))?;
                Ok(Some(node.id))
            }
            Err(error) => self.failed(NODES, error).map(|()| None),
        }
    }

    fn device(&mut self, wanted: &FileDevice, host: &str, node: Option<&str>) -> Result<(), CliError> {
        let name = wanted.name();
        let Some(node) = node else {
            self.counts[DEVICES].1.failed += 1;
            return Ok(writeln!(self.err, "device {name} of {host} is left out: its node was not created")?);
        };
        let on = self.there.iter().filter(|there| there.id == node);
        if on.flat_map(|there| &there.devices).any(|device| device.name == name) {
            return self.done(DEVICES, |count| &mut count.found, format!("    device {name}: found"));
        }
        let what = format!("add device {name} to {host}");
        match self.server.operate(&what, &Method::POST, "/devices", Some(&wanted.body(node))) {
            Ok(_) => self.done(DEVICES, |count| &mut count.made, format!("    device {name}: added")),
            Err(error) => self.failed(DEVICES, error),
        }
    }

    /// A cluster whose nodes all failed is of no use.
    fn drop_if_empty(&mut self, id: &str) -> Result<(), CliError> {
        let now = cluster(self.server, id)?;
        if !now.nodes.is_empty() || !now.volumes.is_empty() {
            return Ok(());
        }
        self.server.delete(&format!("delete the empty cluster {id}"), &format!("/clusters/{id}"))?;
        self.counts[CLUSTERS].1.made -= 1;
        Ok(writeln!(self.log, "cluster {id}: deleted again, since it has no node")?)
    }

    fn done(
        &mut self,
        kind: usize,
        part: fn(&mut Count) -> &mut usize,
        line: String,
    ) -> Result<(), CliError> {
        *part(&mut self.counts[kind].1) += 1;
        Ok(writeln!(self.log, "{line}")?)
    }

    /// Counts and reports a failure; only when the server has gone there is no use in going on.
    fn failed(&mut self, kind: usize, error: CliError) -> Result<(), CliError> {
        if !matches!(error, CliError::Refused { .. } | CliError::Slow { .. }) {
            return Err(error);
        }
        self.counts[kind].1.failed += 1;
        self.log.flush()?;
        writeln!(self.err, "error: {error}")?;
        if let Some(hint) = error.hint() {
            writeln!(self.err, "hint: {hint}")?;
        }
        Ok(())
    }
}

/// All nodes of all clusters, as they are now.
fn nodes(server: &Server) -> Result<Vec<Node>, CliError> {
    let mut nodes = vec![];
    for id in clusters(server)? {
        for node in cluster(server, &id)?.nodes {
            let what = format!("node {node}");
            nodes.push(read(&what, &server.get(&what, &format!("/nodes/{node}"))?)?);
        }
    }
    Ok(nodes)
}

fn read_file(path: &Path) -> Result<File, CliError> {
    let shown = path.display();
    let usage = |cause: String| CliError::Usage(format!("topology file {shown}: {cause}"));
    let text = fs::read_to_string(path).map_err(|error| usage(error.to_string()))?;
    let file: File = serde_json::from_str(&text).map_err(|error| usage(error.to_string()))?;
    for (c, cluster) in file.clusters.iter().enumerate() {
        for (n, node) in cluster.nodes.iter().enumerate() {
            let names = &node.node.hostnames;
            for (kind, names) in [("manage", &names.manage), ("storage", &names.storage)] {
                if names.first().is_none_or(String::is_empty) {
                    return Err(usage(format!("clusters[{c}].nodes[{n}].node.hostnames.{kind} is empty")));
                }
            }
        }
    }
    Ok(file)
}

fn summary(counts: &[(&str, Count)]) -> String {
    let part = |(kind, count): &(&str, Count)| {
        format!("{kind}: {} created, {} found, {} failed", count.made, count.found, count.failed)
    };
    counts.iter().map(part).collect::<Vec<_>>().join("; ")
}

fn summary_json(counts: &[(&str, Count)]) -> Value {
    let part = |(kind, count): &(&str, Count)| {
        let count = json!({ "created": count.made, "found": count.found, "failed": count.failed });
        ((*kind).to_owned(), count)
    };
    Value::Object(counts.iter().map(part).collect::<Map<_, _>>())
}
