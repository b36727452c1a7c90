//! Very many volumes in the original's database. To make them takes it half an hour and more: the last ones
//! a third of a second each. So it makes some; these are copied under new ids in what it exports, and imported again, all by its own commands.

use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value, json};

use crate::fixture::{command, run};

/// Copies the volumes of a database that nobody has open until there are so many. Gives back all ids.
pub fn fill(binary: &Path, database: &Path, volumes: usize) -> Vec<String> {
    let exported = database.with_extension("exported");
    run(&mut tool(binary, "export", &exported, database));
    let mut all: Value = serde_json::from_slice(&std::fs::read(&exported).unwrap()).unwrap();
    let patterns: Vec<(String, Value)> = map(&mut all, "volumeentries").clone().into_iter().collect();
    assert!(!patterns.is_empty(), "there is no volume to copy");
    for (id, volume) in patterns.iter().cycle().take(volumes.saturating_sub(patterns.len())) {
        copy(&mut all, id, volume);
    }
    // In its exports these lists are in the order of their ids.
    for (entries, list) in [("clusterentries", "/Info/volumes"), ("deviceentries", "/Bricks")] {
        for entry in map(&mut all, entries).values_mut() {
            let list = entry.pointer_mut(list).unwrap().as_array_mut().unwrap();
            list.sort_by(|one, other| one.as_str().cmp(&other.as_str()));
        }
    }
    std::fs::write(&exported, all.to_string()).unwrap();
    std::fs::remove_file(database).unwrap();
    run(&mut tool(binary, "import", &exported, database));
    // It writes no file that is there.
    std::fs::remove_file(&exported).unwrap();
    map(&mut all, "volumeentries").keys().cloned().collect()
}

fn tool(binary: &Path, verb: &str, json: &Path, database: &Path) -> Command {
    let mut tool = command(None, binary);
    tool.args(["db", verb, "--jsonfile"]).arg(json).arg("--dbfile").arg(database);
    tool
}

/// Adds a copy of a volume with bricks of its own on the same devices.
fn copy(all: &mut Value, id: &str, volume: &Value) {
    let new = fresh();
    let mut text = volume.to_string().replace(id, &new);
    for old in volume["Bricks"].as_array().unwrap() {
        let (old, fresh) = (old.as_str().unwrap(), fresh());
        text = text.replace(old, &fresh);
        let brick = map(all, "brickentries")[old].to_string().replace(old, &fresh).replace(id, &new);
        let brick: Value = serde_json::from_str(&brick).unwrap();
        let taken = brick["TpSize"].as_u64().unwrap() + brick["PoolMetadataSize"].as_u64().unwrap();
        let device = &mut map(all, "deviceentries")[brick["Info"]["device"].as_str().unwrap()];
        device["Bricks"].as_array_mut().unwrap().push(json!(fresh));
        let storage = &mut device["Info"]["storage"];
        storage["free"] = json!(storage["free"].as_u64().unwrap() - taken);
        storage["used"] = json!(storage["used"].as_u64().unwrap() + taken);
        map(all, "brickentries").insert(fresh, brick);
    }
    let copied: Value = serde_json::from_str(&text).unwrap();
    let cluster = &mut map(all, "clusterentries")[copied["Info"]["cluster"].as_str().unwrap()];
    cluster["Info"]["volumes"].as_array_mut().unwrap().push(json!(new));
    map(all, "volumeentries").insert(new, copied);
}

fn map<'a>(all: &'a mut Value, entries: &str) -> &'a mut Map<String, Value> {
    all[entries].as_object_mut().unwrap()
}

fn fresh() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}
