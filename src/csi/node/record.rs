//! What is staged on this node, kept over restarts: one small file a staged volume. The mount table is
//! the truth about what is mounted; a record says what it was meant to be, so that it can be told from
//! other requests, and made again when its client has died.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A staged volume. All calls here touch the disk of the state directory, and none touches a mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The volume as the orchestrator names it: the name of the GlusterVolume.
    pub handle: String,
    /// Where it is staged: the mount point of its client.
    pub staging: PathBuf,
    /// The volume as GlusterFS names it.
    pub volume: String,
    /// The servers that were asked for it, in order of preference.
    pub servers: Vec<String>,
    /// The options that the request asked for, without those that every client gets.
    pub options: Vec<String>,
    /// Where it is published, or about to be: the mount table says which.
    #[serde(default)]
    pub targets: BTreeMap<PathBuf, Target>,
    /// The pods of targets, as far as the orchestrator has told who they are.
    #[serde(default)]
    pub pods: BTreeMap<PathBuf, Pod>,
}

/// A pod of Kubernetes, which tells who it is if the CSIDriver object has podInfoOnMount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

impl Pod {
    /// The pod that the context of a request tells of, when it does.
    pub fn of_context(context: &HashMap<String, String>) -> Option<Self> {
        let part = |name: &str| context.get(&format!("csi.storage.k8s.io/pod.{name}")).cloned();
        Some(Self { namespace: part("namespace")?, name: part("name")?, uid: part("uid")? })
    }
}

/// How a volume is published at one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Nothing can be written there.
    pub readonly: bool,
    /// The access mode of the request, as CSI numbers it.
    pub mode: i32,
}

/// The records of a state directory.
#[derive(Clone, Debug)]
pub struct Records {
    folder: PathBuf,
}

impl Records {
    /// The records below a state directory, which is made when it is not there.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn open(state: &Path) -> io::Result<Self> {
        let folder = state.join("staged");
        std::fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    /// All that can be read. One that cannot is named in the log and left where it is.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub fn all(&self) -> io::Result<Vec<Record>> {
        let mut all = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_none_or(|ending| ending != "json") {
                continue;
            }
            match read(&path) {
                Ok(record) => all.extend(record),
                Err(error) => tracing::warn!(path = %path.display(), %error, "a record is not understood"),
            }
        }
        Ok(all)
    }

    /// What is recorded for a staging path.
    ///
    /// # Errors
    /// When there is a record that cannot be read or is not understood.
    pub fn staged_at(&self, staging: &Path) -> io::Result<Option<Record>> {
        read(&self.file(staging))
    }

    /// Writes a record, in place of the one for its staging path. It is there after a crash, whole.
    ///
    /// # Errors
    /// When it cannot be written; the one before is still there then.
    pub fn write(&self, record: &Record) -> io::Result<()> {
        let (file, new) = (self.file(&record.staging), self.file(&record.staging).with_extension("new"));
        let mut writing = File::create(&new)?;
        writing.write_all(&serde_json::to_vec_pretty(record)?)?;
        writing.sync_all()?;
        std::fs::rename(&new, &file)?;
        File::open(&self.folder)?.sync_all()
    }

    /// Forgets what is recorded for a staging path, if anything is.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self, staging: &Path) -> io::Result<()> {
        match std::fs::remove_file(self.file(staging)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn file(&self, staging: &Path) -> PathBuf {
        self.folder.join(format!("{}.json", key(staging)))
    }
}

/// A short name for a staging path, for the files that belong to it.
pub fn key(staging: &Path) -> String {
    let digest = Sha256::digest(staging.as_os_str().as_encoded_bytes());
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn read(path: &Path) -> io::Result<Option<Record>> {
    let text = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read?,
    };
    Ok(Some(serde_json::from_slice(&text)?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn record(staging: &str) -> Record {
        Record {
            handle: "pvc-1".into(),
            staging: staging.into(),
            volume: "vol_1".into(),
            servers: vec!["10.0.0.1".into()],
            options: vec!["acl".into()],
            targets: BTreeMap::from([("/pods/a/mount".into(), Target { readonly: true, mode: 5 })]),
            pods: BTreeMap::from([(
                "/pods/a/mount".into(),
                Pod { namespace: "n".into(), name: "a".into(), uid: "u".into() },
            )]),
        }
    }

    #[test]
    fn what_is_written_is_read_by_the_next_process() {
        let state = tempfile::tempdir().unwrap();
        let records = Records::open(state.path()).unwrap();
        let (one, two) = (record("/staging/1"), record("/staging/2"));
        records.write(&one).unwrap();
        records.write(&two).unwrap();
        let changed = Record { targets: BTreeMap::new(), ..one.clone() };
        records.write(&changed).unwrap();

        let records = Records::open(state.path()).unwrap();
        assert_eq!(records.staged_at(Path::new("/staging/1")).unwrap(), Some(changed));
        assert_eq!(records.all().unwrap().len(), 2);
        records.remove(Path::new("/staging/1")).unwrap();
        records.remove(Path::new("/staging/1")).unwrap();
        assert_eq!(records.all().unwrap(), [two]);
    }

    #[test]
    fn what_is_not_understood_hides_nothing_else() {
        let state = tempfile::tempdir().unwrap();
        let records = Records::open(state.path()).unwrap();
        records.write(&record("/staging/1")).unwrap();
        std::fs::write(records.file(Path::new("/staging/2")), "{").unwrap();
        std::fs::write(records.file(Path::new("/staging/3")).with_extension("new"), "{").unwrap();
        assert_eq!(records.all().unwrap(), [record("/staging/1")]);
        records.staged_at(Path::new("/staging/2")).unwrap_err();
        assert_eq!(records.staged_at(Path::new("/staging/3")).unwrap(), None);
    }

    #[test]
    fn a_record_of_before_and_a_pod_that_tells_who_it_is() {
        let before = br#"{"handle": "h", "staging": "/s", "volume": "v", "servers": [], "options": []}"#;
        let before: Record = serde_json::from_slice(before).unwrap();
        assert!(before.targets.is_empty() && before.pods.is_empty());
        let context = |keys: &[&str]| -> HashMap<String, String> {
            keys.iter().map(|key| (format!("csi.storage.k8s.io/pod.{key}"), (*key).to_owned())).collect()
        };
        let told = Pod::of_context(&context(&["name", "namespace", "uid"])).unwrap();
        assert_eq!(
            (told.name.as_str(), told.namespace.as_str(), told.uid.as_str()),
            ("name", "namespace", "uid")
        );
        assert_eq!(Pod::of_context(&context(&["name", "uid"])), None);
    }
}
