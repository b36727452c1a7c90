//! How full a volume is, and whether it answers. A mount that is dead or hangs is no failed call: it is
//! what there is to say about the volume.

use std::io;
use std::path::{Path, PathBuf};

use tonic::Status;

use super::Node;
use super::mounts::{Table, resolved};
use super::record::Record;
use super::touch::{Room, Seen};
use crate::csi::proto::csi::volume_health::VolumeHealthEntry;
use crate::csi::proto::csi::volume_usage::Unit;
use crate::csi::proto::csi::{
    NodeGetVolumeHealthResponse, NodeGetVolumeStatsResponse, VolumeHealth, VolumeHealthErrorType, VolumeUsage,
};

/// How full the volume at a path is. Nothing is said of one that does not answer: see [`health`].
pub async fn stats(node: &Node, handle: &str, path: &str) -> Result<NodeGetVolumeStatsResponse, Status> {
    let record = node.staged(handle).await?;
    let Some(at) = node.mounted(record, Path::new(path)).await? else {
        return Err(Status::not_found(format!("volume {handle} is not mounted at {path}")));
    };
    let usage = match node.looks.at(&at).await {
        Seen::Alive(sizes) => [usage(Unit::Bytes, sizes.bytes), usage(Unit::Inodes, sizes.inodes)].into(),
        seen => {
            tracing::warn!(handle, path, why = seen.wrong(), "no statistics");
            Vec::new()
        }
    };
    Ok(NodeGetVolumeStatsResponse { usage })
}

fn usage(unit: Unit, room: Room) -> VolumeUsage {
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    VolumeUsage {
        unit: unit.into(),
        total: number(room.total),
        used: number(room.used),
        available: number(room.available),
    }
}

/// What is wrong with a volume on this node.
pub async fn health(node: &Node, handle: &str, path: &str) -> Result<NodeGetVolumeHealthResponse, Status> {
    let record = node.staged(handle).await?;
    let path = if path.is_empty() { record.staging.clone() } else { PathBuf::from(path) };
    let seen = match node.mounted(record, &path).await? {
        Some(at) => Some(node.looks.at(&at).await),
        None => None,
    };
    let volume_health =
        VolumeHealth { volume_id: handle.into(), health_statuses: entries(&path, seen.as_ref()) };
    Ok(NodeGetVolumeHealthResponse { volume_health: Some(volume_health) })
}

/// What a look, or that there was nothing to look at, says about the volume.
fn entries(path: &Path, seen: Option<&Seen>) -> Vec<VolumeHealthEntry> {
    let (reason, why) = match seen {
        Some(Seen::Alive(_)) => return Vec::new(),
        None => ("NotMounted", Some("nothing is mounted there".to_owned())),
        Some(seen @ Seen::Dead) => ("ClientEnded", seen.wrong()),
        Some(seen @ Seen::Hangs) => ("ClientHangs", seen.wrong()),
        Some(seen @ Seen::Refuses(_)) => ("ClientRefuses", seen.wrong()),
    };
    let message = format!("{}: {}", path.display(), why.unwrap_or_default());
    let status = VolumeHealthErrorType::Inaccessible.into();
    vec![VolumeHealthEntry { status, reason: reason.into(), message }]
}

impl Node {
    /// What is recorded of a volume.
    async fn staged(&self, handle: &str) -> Result<Record, Status> {
        let records = self.records.clone();
        let all = tokio::task::spawn_blocking(move || records.all()).await;
        let all = all.map_err(|error| Status::internal(error.to_string()))?;
        let all = all.map_err(|error| Status::internal(format!("the records: {error}")))?;
        let found = all.into_iter().find(|record| record.handle == handle);
        found.ok_or_else(|| Status::not_found(format!("volume {handle} is not staged on this node")))
    }

    /// The path in the mount table's words, if this volume is mounted there.
    async fn mounted(&self, record: Record, path: &Path) -> Result<Option<PathBuf>, Status> {
        let path = path.to_owned();
        let read = tokio::task::spawn_blocking(move || {
            let Ok(path) = resolved(&path) else { return Ok(None) };
            let shown = Table::read()?.top(&path).is_some_and(|top| top.is_of(&record.volume));
            io::Result::Ok(shown.then_some(path))
        });
        let read = read.await.map_err(|error| Status::internal(error.to_string()))?;
        read.map_err(|error| Status::internal(format!("the mount table: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told() {
        let reason = |seen: Option<&Seen>| entries(Path::new("/s"), seen).pop().map(|entry| entry.reason);
        assert_eq!(reason(None).as_deref(), Some("NotMounted"));
        assert_eq!(reason(Some(&Seen::Dead)).as_deref(), Some("ClientEnded"));
        assert_eq!(reason(Some(&Seen::Hangs)).as_deref(), Some("ClientHangs"));
        assert_eq!(reason(Some(&Seen::Refuses("no".into()))).as_deref(), Some("ClientRefuses"));
        let dead = entries(Path::new("/s"), Some(&Seen::Dead)).pop().unwrap_or_default();
        assert!(dead.message.starts_with("/s: ") && dead.message.contains("not connected"));
    }

    #[test]
    fn numbers_fit_into_the_message() {
        let said = usage(Unit::Bytes, Room { total: u64::MAX, used: 1, available: 2 });
        assert_eq!((said.total, said.used, said.available, said.unit), (i64::MAX, 1, 2, 1));
    }
}
