//! How things look on a terminal: aligned columns without borders.

use std::{collections::BTreeMap, io::Write};

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets::NOTHING};
use serde_json::{Value, json};

use super::out::Out;
use super::wire::{
    Brick, Change, Cluster, Device, Durability, Node, Operation, Plan, PlannedBrick, Volume, read,
};
use super::{CliError, Format};
use crate::units::Bytes;

/// The server's answer as it is, for people and programs.
pub(super) fn value(value: &Value, format: Format, out: &mut Out<'_>) -> Result<(), CliError> {
    if format == Format::Yaml {
        let text = serde_yaml::to_string(value)
            .map_err(|error| CliError::Strange { what: "the answer".into(), cause: error.to_string() })?;
        return Ok(write!(out, "{text}")?);
    }
    Ok(writeln!(out, "{value:#}")?)
}

/// The server's answer as `table` shows it, or as it is.
pub(super) fn answer<T: serde::de::DeserializeOwned>(
    what: &str,
    answer: &Value,
    format: Format,
    out: &mut Out<'_>,
    table: impl FnOnce(&T, &mut Out<'_>) -> Result<(), CliError>,
) -> Result<(), CliError> {
    match format {
        Format::Table => table(&read(what, answer)?, out),
        Format::Json | Format::Yaml => value(answer, format, out),
    }
}

/// One line about what was done.
pub(super) fn done(text: &str, out: &mut Out<'_>) -> Result<(), CliError> {
    Ok(writeln!(out, "{text}")?)
}

/// What was done to the thing with an id: a line, or the id under a key.
pub(super) fn changed(
    key: &str,
    text: &str,
    id: &str,
    format: Format,
    out: &mut Out<'_>,
) -> Result<(), CliError> {
    match format {
        Format::Table => done(text, out),
        Format::Json | Format::Yaml => value(&json!({ key: id }), format, out),
    }
}

/// The tags of a node or device.
pub(super) fn tags_of(tags: &BTreeMap<String, String>, out: &mut Out<'_>) -> Result<(), CliError> {
    let rows = tags.iter().map(|(key, value)| vec![key.clone(), value.clone()]).collect();
    table(&["TAG", "VALUE"], rows, "no tags", out)
}

/// What is under way.
pub(super) fn operations(operations: &[Operation], out: &mut Out<'_>) -> Result<(), CliError> {
    let rows =
        operations.iter().map(|one| vec![one.id.clone(), one.type_name.clone(), status(one)]).collect();
    table(&["ID", "TYPE", "STATUS"], rows, "nothing is under way", out)
}

/// One operation, and what it does to which brick or volume.
pub(super) fn operation(operation: &Operation, out: &mut Out<'_>) -> Result<(), CliError> {
    let rows =
        [("Id", operation.id.clone()), ("Type", operation.type_name.clone()), ("Status", status(operation))];
    fields(&rows, out)?;
    writeln!(out)?;
    let row = |change: &Change| vec![change.description.clone(), change.id.clone()];
    table(&["CHANGE", "ID"], operation.changes.iter().map(row).collect(), "no changes", out)
}

fn status(operation: &Operation) -> String {
    let words = [operation.status.as_str(), operation.sub_status.as_str()];
    match words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ") {
        none if none.is_empty() => "new".into(),
        some => some,
    }
}

/// A list of clusters.
pub(super) fn clusters(clusters: &[Cluster], out: &mut Out<'_>) -> Result<(), CliError> {
    let row = |cluster: &Cluster| {
        let (nodes, volumes) = (cluster.nodes.len(), cluster.volumes.len());
        vec![cluster.id.clone(), kinds(cluster), nodes.to_string(), volumes.to_string()]
    };
    let rows = clusters.iter().map(row).collect();
    table(&["ID", "KINDS", "NODES", "VOLUMES"], rows, "no clusters", out)
}

/// One cluster.
pub(super) fn cluster(cluster: &Cluster, out: &mut Out<'_>) -> Result<(), CliError> {
    fields(
        &[
            ("Id", cluster.id.clone()),
            ("Kinds", kinds(cluster)),
            ("Nodes", lines(&cluster.nodes)),
            ("Volumes", lines(&cluster.volumes)),
        ],
        out,
    )
}

/// A list of nodes.
pub(super) fn nodes(nodes: &[Node], out: &mut Out<'_>) -> Result<(), CliError> {
    let row = |node: &Node| {
        let sum = |part: fn(&Device) -> u64| gib(node.devices.iter().map(part).sum());
        vec![
            node.id.clone(),
            node.hostnames.manage.join(","),
            node.hostnames.storage.join(","),
            node.zone.to_string(),
            node.state.clone(),
            node.devices.len().to_string(),
            sum(|device| device.storage.total),
            sum(|device| device.storage.free),
            node.cluster.clone(),
        ]
    };
    let head = ["ID", "MANAGE", "STORAGE", "ZONE", "STATE", "DEVICES", "SIZE", "FREE", "CLUSTER"];
    let nodes = sorted(nodes, |node| &node.hostnames.manage);
    table(&head, nodes.into_iter().map(row).collect(), "no nodes", out)
}

/// One node and its devices.
pub(super) fn node(node: &Node, out: &mut Out<'_>) -> Result<(), CliError> {
    let mut rows = vec![
        ("Id", node.id.clone()),
        ("Cluster", node.cluster.clone()),
        ("Manage", node.hostnames.manage.join(", ")),
        ("Storage", node.hostnames.storage.join(", ")),
        ("Zone", node.zone.to_string()),
        ("State", node.state.clone()),
    ];
    if !node.tags.is_empty() {
        rows.push(("Tags", tags(&node.tags)));
    }
    fields(&rows, out)?;
    writeln!(out)?;
    devices(&node.devices, out)
}

/// A list of devices.
pub(super) fn devices(devices: &[Device], out: &mut Out<'_>) -> Result<(), CliError> {
    let row = |device: &Device| {
        vec![
            device.id.clone(),
            device.name.clone(),
            device.state.clone(),
            gib(device.storage.total),
            gib(device.storage.used),
            gib(device.storage.free),
            device.bricks.len().to_string(),
            tags(&device.tags),
        ]
    };
    let head = ["DEVICE", "NAME", "STATE", "SIZE", "USED", "FREE", "BRICKS", "TAGS"];
    let devices = sorted(devices, |device| &device.name);
    table(&head, devices.into_iter().map(row).collect(), "no devices", out)
}

/// One device and its bricks.
pub(super) fn device(device: &Device, out: &mut Out<'_>) -> Result<(), CliError> {
    let mut rows = vec![
        ("Id", device.id.clone()),
        ("Name", device.name.clone()),
        ("State", device.state.clone()),
        ("Size", gib(device.storage.total)),
        ("Used", gib(device.storage.used)),
        ("Free", gib(device.storage.free)),
    ];
    if !device.paths.is_empty() {
        rows.push(("Paths", lines(&device.paths)));
    }
    if !device.pv_uuid.is_empty() {
        rows.push(("PV UUID", device.pv_uuid.clone()));
    }
    if !device.tags.is_empty() {
        rows.push(("Tags", tags(&device.tags)));
    }
    fields(&rows, out)?;
    writeln!(out)?;
    let row = |brick: &Brick| vec![gib(brick.size), brick.volume.clone(), brick.path.clone()];
    let bricks = device.bricks.iter().map(row).collect();
    table(&["SIZE", "VOLUME", "PATH"], bricks, "no bricks", out)
}

/// A list of volumes.
pub(super) fn volumes(volumes: &[Volume], out: &mut Out<'_>) -> Result<(), CliError> {
    let row = |volume: &Volume| {
        vec![
            volume.id.clone(),
            volume.name.clone(),
            format!("{} GiB", volume.size),
            durability(&volume.durability),
            volume.mount.glusterfs.device.clone(),
            volume.cluster.clone(),
        ]
    };
    let head = ["ID", "NAME", "SIZE", "DURABILITY", "MOUNT", "CLUSTER"];
    let volumes = sorted(volumes, |volume| &volume.name);
    table(&head, volumes.into_iter().map(row).collect(), "no volumes", out)
}

/// One volume, its bricks, and how to mount it.
pub(super) fn volume(volume: &Volume, out: &mut Out<'_>) -> Result<(), CliError> {
    let mut rows = vec![
        ("Name", volume.name.clone()),
        ("Id", volume.id.clone()),
        ("Size", format!("{} GiB", volume.size)),
        ("Durability", durability(&volume.durability)),
        ("Cluster", volume.cluster.clone()),
    ];
    if volume.gid != 0 {
        rows.push(("Group", volume.gid.to_string()));
    }
    if volume.block {
        rows.push(("Kind", "hosts block volumes".into()));
    }
    if volume.snapshot.enable && volume.snapshot.factor > 1.0 {
        rows.push(("Snapshot factor", volume.snapshot.factor.to_string()));
    }
    let options = volume.options.iter().filter(|option| !option.is_empty());
    let options: Vec<String> = options.cloned().collect();
    if !options.is_empty() {
        rows.push(("Options", lines(&options)));
    }
    rows.push(("Mount it", mount_command(volume)));
    fields(&rows, out)?;
    writeln!(out)?;
    let row =
        |brick: &Brick| vec![brick.node.clone(), brick.device.clone(), gib(brick.size), brick.path.clone()];
    let bricks = volume.bricks.iter().map(row).collect();
    table(&["NODE", "DEVICE", "SIZE", "PATH"], bricks, "no bricks", out)
}

/// Where the bricks of a volume would go, and why there.
pub(super) fn plan(plan: &Plan, out: &mut Out<'_>) -> Result<(), CliError> {
    let cluster = plan.cluster.clone().unwrap_or_default();
    fields(&[("Cluster", cluster), ("Why", lines(&plan.reasons))], out)?;
    writeln!(out)?;
    let row = |brick: &PlannedBrick| {
        let kind = if brick.arbiter { "arbiter" } else { "data" };
        let set = brick.set.to_string();
        vec![set, brick.node.clone(), brick.device.clone(), gib(brick.size), gib(brick.takes), kind.into()]
    };
    let bricks = plan.bricks.iter().map(row).collect();
    table(&["SET", "NODE", "DEVICE", "SIZE", "TAKES", "KIND"], bricks, "no bricks", out)
}

/// Things in the order of their names, as people look for them; the server sorts by id.
fn sorted<T, N: Ord + ?Sized>(things: &[T], name: fn(&T) -> &N) -> Vec<&T> {
    let mut things: Vec<&T> = things.iter().collect();
    things.sort_by(|one, other| name(one).cmp(name(other)));
    things
}

/// Things by name, one a line; the values are aligned.
fn fields(rows: &[(&str, String)], out: &mut Out<'_>) -> Result<(), CliError> {
    let mut table = plain(out);
    for (name, value) in rows {
        table.add_row([Cell::new(format!("{name}:")), cell(value)]);
    }
    print(table, out)
}

/// Rows under a head line, or the word for none.
fn table(head: &[&str], rows: Vec<Vec<String>>, none: &str, out: &mut Out<'_>) -> Result<(), CliError> {
    if rows.is_empty() {
        return Ok(writeln!(out, "{none}")?);
    }
    let mut table = plain(out);
    table.set_header(head.iter().map(|title| Cell::new(title).add_attribute(Attribute::Bold)));
    table.add_rows(rows.iter().map(|row| row.iter().map(|text| cell(text))));
    print(table, out)
}

/// States have the colours of traffic lights.
fn cell(text: &str) -> Cell {
    let cell = Cell::new(text);
    match text {
        "online" => cell.fg(Color::Green),
        "offline" => cell.fg(Color::Yellow),
        "failed" => cell.fg(Color::Red),
        _ => cell,
    }
}

/// A table that fits the terminal; elsewhere each row is one line, however long, and there are no colours.
fn plain(out: &Out<'_>) -> Table {
    let mut table = Table::new();
    table.load_preset(NOTHING);
    match out.screen() {
        Some(screen) => {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(screen.width);
            if screen.colours {
                table.enforce_styling();
            } else {
                table.force_no_tty();
            }
        }
        None => {
            table.set_content_arrangement(ContentArrangement::Disabled).force_no_tty();
        }
    }
    table
}

fn print(mut table: Table, out: &mut Out<'_>) -> Result<(), CliError> {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    Ok(writeln!(out, "{}", table.trim_fmt())?)
}

fn kinds(cluster: &Cluster) -> String {
    match (cluster.file, cluster.block) {
        (true, true) => "file, block",
        (true, false) => "file",
        (false, true) => "block",
        (false, false) => "none",
    }
    .into()
}

fn durability(durability: &Durability) -> String {
    let (replicate, disperse) = (&durability.replicate, &durability.disperse);
    match durability.kind.as_str() {
        // Heketi leaves the number away when it took its default.
        "replicate" if replicate.replica == 0 => "replicate 2".into(),
        "replicate" => format!("replicate {}", replicate.replica),
        "disperse" => format!("disperse {}+{}", disperse.data, disperse.redundancy),
        "" => "none".into(),
        other => other.into(),
    }
}

fn mount_command(volume: &Volume) -> String {
    let mount = &volume.mount.glusterfs;
    let options = mount.options.iter().filter(|(_, value)| !value.is_empty());
    let options: Vec<String> = options.map(|(key, value)| format!("{key}={value}")).collect();
    let options = match options.join(",") {
        none if none.is_empty() => none,
        some => format!("-o {some} "),
    };
    format!("mount -t glusterfs {options}{} /mnt", mount.device)
}

fn tags(tags: &BTreeMap<String, String>) -> String {
    let tags: Vec<String> = tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
    tags.join(", ")
}

/// Things one below the other.
fn lines(things: &[String]) -> String {
    match things.join("\n") {
        none if none.is_empty() => "none".into(),
        some => some,
    }
}

/// KiB as people read them.
fn gib(kib: u64) -> String {
    let gib = Bytes::from_kib(kib).0 as f64 / crate::units::GIB as f64;
    format!("{gib:.1} GiB")
}
