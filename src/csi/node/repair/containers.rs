//! What running containers have mounted. A container has its own copy of each mount of its pod, made when
//! it started: binding a pod's path anew changes nothing for it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use crate::csi::node::mounts::{Mounted, Table};
use crate::csi::node::record::Record;
use crate::csi::node::touch::is_dead;

/// The kind of GlusterFS's mounts.
const KIND: &str = "fuse.glusterfs";

/// A mount of a volume in a mount namespace of somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inside {
    /// A process in the namespace.
    pub pid: u32,
    /// The namespace, such as `mnt:[4026532177]`.
    pub namespace: String,
    /// The mount, as that process sees it.
    pub mounted: Mounted,
    /// The target of the pod that it belongs to.
    pub target: PathBuf,
}

/// The dead mounts of a volume in the containers of its pods: those whose device is not that of its living
/// client. Blocks, and may hang on a mount that does.
///
/// # Errors
/// When the processes of this node cannot be listed.
pub fn dead(record: &Record, living: &str) -> io::Result<Vec<Inside>> {
    let mut found = Vec::new();
    for (namespace, pids) in namespaces()? {
        // One that has ended meanwhile tells nothing, nor does one that came in from elsewhere, as `nsenter` does:
        // another of the same container may.
        let of_pod = pids.into_iter().find_map(|pid| {
            let about = Path::new("/proc").join(pid.to_string());
            let groups = std::fs::read_to_string(about.join("cgroup")).ok()?;
            let target = target_of(record, &groups)?;
            Some((
                pid,
                target,
                Table::parse(&std::fs::read(about.join("mountinfo")).ok()?),
                about.join("root"),
            ))
        });
        let Some((pid, target, table, root)) = of_pod else { continue };
        for mounted in tops(record, &table) {
            let at = root.join(mounted.at.strip_prefix("/").unwrap_or(&mounted.at));
            if mounted.device != living && is_dead(&at) {
                let (namespace, mounted, target) = (namespace.clone(), mounted.clone(), target.clone());
                found.push(Inside { pid, namespace, mounted, target });
            }
        }
    }
    Ok(found)
}

/// The target of the pod that a process belongs to by its cgroups. Who is in no pod of this volume has none: what it
/// mounts is its own affair.
fn target_of<'a>(record: &'a Record, groups: &str) -> Option<&'a PathBuf> {
    record.targets.keys().find(|target| pod_of(target).is_some_and(|uid| has(groups, uid)))
}

/// The mounts of a volume in a table; of several at one path only the topmost, which is what is seen.
fn tops<'a>(record: &Record, table: &'a Table) -> impl Iterator<Item = &'a Mounted> {
    let of_volume = table.all().iter().filter(|one| one.kind == KIND && one.is_of(&record.volume));
    of_volume.filter(|one| table.top(&one.at).is_some_and(|top| top.id == one.id))
}

/// The uid of the pod that a path below kubelet's directory belongs to: `.../pods/UID/volumes/...`.
pub fn pod_of(target: &Path) -> Option<&str> {
    let mut parts = target.iter();
    parts.find(|part| *part == "pods")?;
    let uid = parts.next()?.to_str()?;
    (parts.next()? == "volumes" && uid.len() >= 8).then_some(uid)
}

/// Whether the cgroups of a process, as proc tells them, are of a pod: `pod<uid>`, where systemd's
/// names have underscores for dashes.
fn has(groups: &str, uid: &str) -> bool {
    let names = [format!("pod{uid}"), format!("pod{}", uid.replace('-', "_"))];
    let parts = groups.split(['/', '\n']).map(|part| part.trim_end_matches(".slice"));
    parts.into_iter().any(|part| names.iter().any(|name| part == name || part.ends_with(&format!("-{name}"))))
}

/// The mount namespaces of this node but our own, each with its processes.
fn namespaces() -> io::Result<BTreeMap<String, BTreeSet<u32>>> {
    let ours = std::fs::read_link("/proc/self/ns/mnt")?;
    let mut all = BTreeMap::<String, BTreeSet<u32>>::new();
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(namespace) = std::fs::read_link(entry.path().join("ns/mnt")) else { continue };
        if namespace != ours {
            all.entry(namespace.to_string_lossy().into_owned()).or_default().insert(pid);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::csi::node::record::Target;

    const UID: &str = "421e7843-fb53-4a18-9c2d-cf34729d4ae8";

    fn record() -> Record {
        let target = format!("/var/lib/kubelet/pods/{UID}/volumes/kubernetes.io~csi/pvc-1/mount");
        Record {
            handle: "pvc-1".into(),
            staging: "/s".into(),
            volume: "v".into(),
            servers: vec!["a".into()],
            options: Vec::new(),
            targets: BTreeMap::from([(target.into(), Target { readonly: false, mode: 5 })]),
            pods: BTreeMap::new(),
        }
    }

    #[test]
    fn pods_are_known_by_path_and_cgroup() {
        let record = record();
        let target = record.targets.keys().next().map(PathBuf::as_path);
        assert_eq!(target.and_then(pod_of), Some(UID));
        for not in ["/s", "/pods", "/pods/x", "/pods/12345678/other/y", "/volumes/pods"] {
            assert_eq!(pod_of(Path::new(not)), None, "{not}");
        }
        let underscores = UID.replace('-', "_");
        for groups in [
            format!("4:memory:/kubepods/besteffort/pod{UID}/0b45\n0::/\n"),
            format!(
                "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{underscores}.slice/cri-x.scope\n"
            ),
            format!("0::/kubelet/kubepods/pod{UID}\n"),
        ] {
            assert!(has(&groups, UID), "{groups}");
        }
        for groups in ["", "0::/\n", "0::/kubepods/podother\n", &format!("0::/x{UID}\n")] {
            assert!(!has(groups, UID), "{groups}");
        }
    }

    #[test]
    fn only_the_volume_in_its_pods() {
        let table = Table::parse(
            b"1 0 0:50 / / rw - overlay overlay rw\n\
              2 1 0:51 / /data rw - fuse.glusterfs a:/v rw\n\
              3 1 0:51 /sub /more ro - fuse.glusterfs a:/v rw\n\
              4 1 0:52 / /other rw - fuse.glusterfs a:/w rw\n\
              5 1 0:53 / /hidden rw - fuse.glusterfs a:/v rw\n\
              6 5 0:54 / /hidden rw - tmpfs t rw\n",
        );
        let record = record();
        assert_eq!(tops(&record, &table).map(|mounted| mounted.id).collect::<Vec<_>>(), [2, 3]);
        assert!(target_of(&record, &format!("0::/kubepods/pod{UID}/c\n")).is_some());
        assert_eq!(target_of(&record, "0::/system.slice/x\n"), None);
    }
}
