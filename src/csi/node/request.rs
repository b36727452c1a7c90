//! What a request may say: the limits and rules of the specification, before anything is looked at.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use tonic::Status;

use super::client::words;
use crate::csi::proto::csi::VolumeCapability;
use crate::csi::proto::csi::volume_capability::AccessType;
use crate::csi::proto::csi::volume_capability::access_mode::Mode;

/// The longest string, in bytes, where the specification says nothing else.
const LONGEST: usize = 128;
/// What all keys and values of a map, or all mount flags, may have together, in bytes.
const LARGEST: usize = 4096;
/// More mount flags than anybody needs.
const MOST_FLAGS: usize = 64;
/// The longest path that Linux takes, in bytes, with the byte that ends it.
const LONGEST_PATH: usize = 4096;

/// How a volume is to be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// By whom, and how many of them.
    pub mode: Mode,
    /// Mount options.
    pub flags: Vec<String>,
}

impl Access {
    /// Whether the access mode is one of reading.
    pub fn only_reads(&self) -> bool {
        matches!(self.mode, Mode::SingleNodeReaderOnly | Mode::MultiNodeReaderOnly)
    }
}

fn invalid(text: impl Into<String>) -> Status {
    Status::invalid_argument(text)
}

/// The id of a volume.
pub fn handle(id: &str) -> Result<&str, Status> {
    match id.len() {
        0 => Err(invalid("volume_id is missing")),
        1..=LONGEST if !id.contains(char::is_control) => Ok(id),
        1..=LONGEST => Err(invalid("volume_id has control characters")),
        _ => Err(invalid("volume_id is longer than 128 bytes")),
    }
}

/// A path that has to be there.
pub fn path(field: &str, path: &str) -> Result<PathBuf, Status> {
    let plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
    if path.is_empty() {
        return Err(invalid(format!("{field} is missing")));
    }
    if path.len() >= LONGEST_PATH || path.contains('\0') {
        return Err(invalid(format!("{field} is no path that Linux takes")));
    }
    let path = Path::new(path);
    if !path.is_absolute() || path.file_name().is_none() || !path.components().all(plain) {
        return Err(invalid(format!("{field} has to be an absolute path without `..`")));
    }
    Ok(path.components().collect())
}

/// A capability: what of it can be served.
pub fn access(capability: Option<&VolumeCapability>) -> Result<Access, Status> {
    let capability = capability.ok_or_else(|| invalid("volume_capability is missing"))?;
    let mount = match &capability.access_type {
        Some(AccessType::Mount(mount)) => mount,
        Some(AccessType::Block(_)) => {
            return Err(invalid(
                "volumes of this driver are file systems: block access (volumeMode: Block) is not served",
            ));
        }
        None => return Err(invalid("volume_capability has no access type")),
    };
    let mode = capability.access_mode.as_ref().map_or(Mode::Unknown, |mode| mode.mode());
    if mode == Mode::Unknown {
        return Err(invalid("volume_capability has no access mode, or one that is not known here"));
    }
    if !["", "glusterfs", "fuse.glusterfs"].contains(&mount.fs_type.as_str()) {
        return Err(invalid(format!("fs_type {:?}: volumes of this driver are glusterfs", mount.fs_type)));
    }
    if !mount.volume_mount_group.is_empty() {
        return Err(invalid(
            "volume_mount_group: GlusterFS mounts for no group; kubelet sets fsGroup itself",
        ));
    }
    Ok(Access { mode, flags: flags(&mount.mount_flags)? })
}

/// Mount flags, each an option that stays what it is.
fn flags(flags: &[String]) -> Result<Vec<String>, Status> {
    if flags.len() > MOST_FLAGS || flags.iter().map(String::len).sum::<usize>() > LARGEST {
        return Err(invalid("mount_flags: 64 options and 4096 bytes at the most"));
    }
    for flag in flags {
        words::check_option(flag).map_err(|why| invalid(format!("mount_flags: {why}")))?;
    }
    Ok(flags.to_vec())
}

/// A map of a request.
pub fn map(field: &str, map: &HashMap<String, String>) -> Result<(), Status> {
    if map.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() > LARGEST {
        return Err(invalid(format!("{field} is larger than 4096 bytes")));
    }
    Ok(())
}

/// Refuses a volume that would live and die with its pod.
pub fn not_ephemeral(context: &HashMap<String, String>) -> Result<(), Status> {
    if context.get("csi.storage.k8s.io/ephemeral").is_some_and(|word| word == "true") {
        return Err(invalid(
            "inline (ephemeral) CSI volumes are not served: use a claim, or a generic ephemeral volume",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::csi::proto::csi::volume_capability::{AccessMode, BlockVolume, MountVolume};

    fn capability(mount: MountVolume, mode: Mode) -> VolumeCapability {
        VolumeCapability {
            access_mode: Some(AccessMode { mode: mode.into() }),
            access_type: Some(AccessType::Mount(mount)),
        }
    }

    fn refused(capability: Option<&VolumeCapability>) -> String {
        let status = access(capability).unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        assert!(status.details().is_empty());
        status.message().to_owned()
    }

    #[test]
    fn handles_and_paths_have_limits() {
        handle(&"x".repeat(128)).unwrap();
        for bad in ["", &"x".repeat(129), "a\nb"] {
            handle(bad).unwrap_err();
        }
        assert_eq!(path("p", "/a//b/").unwrap(), Path::new("/a/b"));
        path("p", &format!("/{}", "x/".repeat(1000))).unwrap();
        for bad in ["", "a/b", "/", "/a/../b", "/a\0", &format!("/{}", "x".repeat(4095))] {
            assert!(path("target_path", bad).unwrap_err().message().starts_with("target_path"));
        }
        map("m", &HashMap::from([("k".repeat(2000), "v".repeat(2096))])).unwrap();
        map("m", &HashMap::from([("k".repeat(2000), "v".repeat(2097))])).unwrap_err();
    }

    #[test]
    fn a_capability_is_taken_or_says_why_not() {
        let mount =
            || MountVolume { mount_flags: vec!["ro".into(), "log-level=INFO".into()], ..Default::default() };
        let taken = access(Some(&capability(mount(), Mode::MultiNodeMultiWriter))).unwrap();
        assert_eq!(taken.flags, ["ro", "log-level=INFO"]);
        assert!(!taken.only_reads());
        let reads = access(Some(&capability(mount(), Mode::MultiNodeReaderOnly))).unwrap();
        assert!(reads.only_reads());

        assert!(refused(None).contains("missing"));
        assert!(refused(Some(&VolumeCapability::default())).contains("access type"));
        assert!(refused(Some(&capability(mount(), Mode::Unknown))).contains("access mode"));
        let block = VolumeCapability {
            access_type: Some(AccessType::Block(BlockVolume {})),
            ..capability(mount(), Mode::SingleNodeWriter)
        };
        assert!(refused(Some(&block)).contains("volumeMode: Block"));
        let ext4 = MountVolume { fs_type: "ext4".into(), ..mount() };
        assert!(refused(Some(&capability(ext4, Mode::SingleNodeWriter))).contains("ext4"));
        let grouped = MountVolume { volume_mount_group: "1".into(), ..mount() };
        assert!(refused(Some(&capability(grouped, Mode::SingleNodeWriter))).contains("fsGroup"));
        for bad in
            [vec!["a b".into()], vec!["x".into(); 65], vec!["x".repeat(4097)], vec!["log-file=/x".into()]]
        {
            let flags = MountVolume { mount_flags: bad, ..mount() };
            assert!(refused(Some(&capability(flags, Mode::SingleNodeWriter))).starts_with("mount_flags"));
        }
    }

    #[test]
    fn ephemeral_volumes_are_refused() {
        let context = |word: &str| HashMap::from([("csi.storage.k8s.io/ephemeral".into(), word.into())]);
        not_ephemeral(&context("false")).unwrap();
        assert!(not_ephemeral(&context("true")).unwrap_err().message().contains("generic ephemeral"));
    }
}
