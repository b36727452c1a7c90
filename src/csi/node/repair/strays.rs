//! Dead mounts that no record tells of, below kubelet's staging directory: what somebody mounted by hand, or
//! whose record was lost. Kubelet cannot make its directory where one stands, and then asks for nothing, so
//! nobody else would ever take it away.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::csi::node::Node;
use crate::csi::node::mounts::{self, Away, Table};
use crate::csi::node::record::Record;
use crate::csi::node::touch::Seen;

/// What a mount of GlusterFS is called in the mount table.
const KIND: &str = "fuse.glusterfs";

/// Looks so often, for as long as this is awaited.
pub async fn watch(node: &Node, root: &Path, every: Duration) {
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let (records, below) = (node.records.clone(), root.to_owned());
        let found = tokio::task::spawn_blocking(move || {
            let records = records.all()?;
            Ok::<_, std::io::Error>(strays(&Table::read()?, &below, &records))
        });
        match found.await.map_err(std::io::Error::other).flatten() {
            Ok(found) => {
                for path in found {
                    clear(node, path).await;
                }
            }
            Err(error) => tracing::warn!(%error, "what is mounted cannot be held against the records"),
        }
    }
}

/// The paths below `root` at which GlusterFS is mounted and no record says why.
fn strays(table: &Table, root: &Path, records: &[Record]) -> Vec<PathBuf> {
    let below = table.all().iter().filter(|one| one.kind == KIND && one.at.starts_with(root));
    let unknown = below.filter(|one| !records.iter().any(|record| record.staging == one.at));
    unknown.map(|one| one.at.clone()).collect()
}

/// Takes away a mount whose client has ended. One that lives is somebody's.
async fn clear(node: &Node, path: PathBuf) {
    if !matches!(node.looks.at(&path).await, Seen::Dead) {
        return;
    }
    let shown = path.display().to_string();
    let done = tokio::task::spawn_blocking(move || mounts::unmount(&path, Away::AtOnce)).await;
    match done.map_err(std::io::Error::other).flatten() {
        Ok(()) => tracing::warn!(path = shown, "a dead mount that no record tells of is taken away"),
        Err(error) => tracing::warn!(path = shown, %error, "a dead mount is not taken away"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn only_what_no_record_tells_of_and_only_below_the_root() {
        let table = Table::parse(
            b"1 0 0:5 / /s/a/globalmount rw - fuse.glusterfs a:/v rw\n\
              2 0 0:6 / /s/b/globalmount rw - fuse.glusterfs a:/w rw\n\
              3 0 0:7 / /other rw - fuse.glusterfs a:/x rw\n\
              4 0 0:8 / /s/c/globalmount rw - xfs /dev/c rw\n",
        );
        let record = Record {
            handle: "h".into(),
            staging: "/s/a/globalmount".into(),
            volume: "v".into(),
            servers: vec!["a".into()],
            options: vec![],
            targets: BTreeMap::new(),
            pods: BTreeMap::new(),
        };
        assert_eq!(strays(&table, Path::new("/s"), &[record]), [PathBuf::from("/s/b/globalmount")]);
    }
}
