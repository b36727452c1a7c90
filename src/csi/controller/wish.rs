//! What requests say, and whether that can be. Pure: a request in, a wish or a refusal out.

use std::collections::{BTreeMap, HashMap};

use kube::ResourceExt;
use tonic::Status;

use crate::csi::proto::csi::volume_capability::{AccessType, access_mode::Mode};
use crate::csi::proto::csi::{CapacityRange, CreateVolumeRequest, VolumeCapability};
use crate::intent::class::{self, ClassParameters, PvSource};
use crate::intent::volume::{SMALLEST, VolumeAsk};
use crate::resources::{GlusterVolume, GlusterVolumeSpec, OnRefusal};
use crate::units::{Bytes, Id};

/// The longest string in a request, in bytes.
pub const LONGEST_TEXT: usize = 128;
/// The largest map in a request, and the longest list of mount flags, in bytes.
const LARGEST_MAP: usize = 4096;
/// The size of a volume when nobody says one.
const USUAL: Bytes = Bytes::from_gib(10);
/// The only file system there is; it may be named.
const FILE_SYSTEM: &str = "glusterfs";

/// Under which name a volume was asked for.
const NAME: &str = "csi.bricklayer.dev/name";
/// A digest of the parameters that it was asked for with. They may hold the key of a Heketi user.
const PARAMETERS: &str = "csi.bricklayer.dev/parameters";
/// What the provisioner sidecar adds to the parameters of a class (`--extra-create-metadata`).
const OF_CLAIM: [&str; 3] =
    ["csi.storage.k8s.io/pvc/namespace", "csi.storage.k8s.io/pvc/name", "csi.storage.k8s.io/pv/name"];

/// A volume that an orchestrator asks for.
#[derive(Debug)]
pub struct Wish {
    /// The name that it is asked for under: asking twice is asking once.
    pub name: String,
    /// The name of its object, made of that name: the id of the volume.
    pub object_name: String,
    id: Id,
    range: Range,
    parameters: ClassParameters,
    digest: Id,
    volume_name: Option<String>,
    gid: i64,
}

/// How large something may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// At least so large.
    pub required: Bytes,
    /// At the most so large; any size when it is not given.
    pub limit: Option<Bytes>,
}

impl Range {
    /// Reads a range.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for what is no range, OUT_OF_RANGE for one that no size is in.
    pub fn read(range: &CapacityRange) -> Result<Self, Status> {
        let size = |bytes: i64, field: &str| {
            u64::try_from(bytes).map(Bytes).map_err(|_| {
                Status::invalid_argument(format!("capacity_range.{field} is {bytes}: a size is expected"))
            })
        };
        let required = size(range.required_bytes, "required_bytes")?;
        let limit = size(range.limit_bytes, "limit_bytes")?;
        if (required, limit) == (Bytes(0), Bytes(0)) {
            let text = "capacity_range has neither required_bytes nor limit_bytes: give one of them";
            return Err(Status::invalid_argument(text));
        }
        let limit = Some(limit).filter(|limit| limit.0 > 0);
        if limit.is_some_and(|limit| limit < required) {
            let text = "capacity_range.required_bytes is more than its limit_bytes";
            return Err(Status::out_of_range(text));
        }
        Ok(Self { required, limit })
    }

    /// Whether a size is in it.
    pub fn holds(&self, size: Bytes) -> bool {
        size >= self.required && self.limit.is_none_or(|limit| size <= limit)
    }

    /// The size of a new volume: the smallest one of the range that is made, or the usual one when the range
    /// does not begin.
    fn size(&self) -> Result<Bytes, Status> {
        let size = match self.required {
            Bytes(0) => USUAL.min(self.limit.unwrap_or(USUAL)),
            required => required.max(SMALLEST),
        };
        if size < SMALLEST || !self.holds(size) {
            let text = format!("the smallest volume is {SMALLEST}: capacity_range.limit_bytes is less");
            return Err(Status::out_of_range(text));
        }
        Ok(size)
    }
}

/// Reads what CreateVolume is asked.
///
/// # Errors
/// INVALID_ARGUMENT, with the field and what is accepted; OUT_OF_RANGE for a size that is not made.
pub fn create(request: &CreateVolumeRequest) -> Result<Wish, Status> {
    let name = name(&request.name)?;
    check_capabilities(&request.volume_capabilities).map_err(Status::invalid_argument)?;
    check_map("secrets", &request.secrets)?;
    if request.volume_content_source.is_some() {
        let text = "volume_content_source: clones and snapshots are not offered yet; leave it out";
        return Err(Status::invalid_argument(text));
    }
    if !request.mutable_parameters.is_empty() {
        let text = "mutable_parameters: nothing about a volume can be changed yet; leave them out";
        return Err(Status::invalid_argument(text));
    }
    let range = match &request.capacity_range {
        Some(range) => Range::read(range)?,
        None => Range { required: Bytes(0), limit: None },
    };
    range.size()?;
    let parameters = parameters(&request.parameters)?;
    let id = Id::from_uid("csi.bricklayer.dev").derive(name);
    let of_claim = |key: &str| request.parameters.get(key).map(String::as_str);
    let words: Vec<&str> = OF_CLAIM[..2].iter().filter_map(|key| of_claim(key)).collect();
    Ok(Wish {
        name: name.to_owned(),
        object_name: format!("csi-{id}"),
        id,
        range,
        volume_name: parameters.volume_name(&words, &id.to_string()),
        gid: gid(&parameters)?,
        parameters,
        digest: digest(&request.parameters),
    })
}

impl Wish {
    /// The names or ids of the clusters that may hold it; any when empty.
    pub fn clusters(&self) -> &[String] {
        &self.parameters.clusters
    }

    /// Keys of the parameters that mean nothing here.
    pub fn unused(&self) -> &[String] {
        &self.parameters.unused
    }

    /// The ask for it. It is forgotten when it is refused: an orchestrator that is told so does not ask for
    /// what is left to be removed.
    ///
    /// # Errors
    /// OUT_OF_RANGE for a size that is not made.
    pub fn ask(&self, clusters: Vec<String>) -> Result<VolumeAsk, Status> {
        let spec = GlusterVolumeSpec {
            name: self.volume_name.clone(),
            durability: self.parameters.durability,
            zones: self.parameters.zones,
            device_tags: self.parameters.device_tags.clone(),
            clusters,
            snapshot_factor: self.parameters.snapshot_factor,
            growth: self.parameters.growth,
            options: self.parameters.options.clone(),
            allow: self.parameters.allow.clone(),
            gid: self.gid,
            on_refusal: OnRefusal::Forget,
            ..GlusterVolumeSpec::sized(self.range.size()?)
        };
        let annotations = BTreeMap::from([
            (NAME.to_owned(), self.name.clone()),
            (PARAMETERS.to_owned(), self.digest.to_string()),
        ]);
        Ok(VolumeAsk { object_name: self.object_name.clone(), id: self.id, spec, annotations })
    }

    /// Whether a volume that is there is what is asked for.
    ///
    /// # Errors
    /// ALREADY_EXISTS, with what is different.
    pub fn check_same(&self, there: &GlusterVolume) -> Result<(), Status> {
        let exists = |what: String| {
            let name: String = self.name.chars().take(LONGEST_TEXT).collect();
            Err(Status::already_exists(format!("there is a volume named {name:?} already, {what}")))
        };
        if there.annotations().get(NAME) != Some(&self.name) {
            return exists(format!("GlusterVolume {}, which was made for another name", there.name_any()));
        }
        let size = there.size().unwrap_or(there.spec.size);
        if !self.range.holds(size) {
            return exists(format!("of {size}, and that is not in the capacity_range"));
        }
        if !is_asked_with(there, self.digest) {
            return exists("which was made with other parameters".into());
        }
        Ok(())
    }
}

/// Reads the parameters of a StorageClass as the provisioner does, and refuses what an orchestrator cannot
/// be told.
///
/// # Errors
/// INVALID_ARGUMENT, with the key and what is accepted.
pub fn parameters(given: &HashMap<String, String>) -> Result<ClassParameters, Status> {
    check_map("parameters", given)?;
    let parameters = class::read(&of_class(given)).map_err(Status::invalid_argument)?;
    if parameters.source != PvSource::Csi {
        let text = "StorageClass parameter pvSource: a CSI driver gives csi only; leave it out";
        return Err(Status::invalid_argument(text));
    }
    gid(&parameters)?;
    Ok(parameters)
}

/// Whether a volume was asked for with these parameters, as far as that is known.
pub fn is_made_with(volume: &GlusterVolume, parameters: &HashMap<String, String>) -> bool {
    !volume.annotations().contains_key(PARAMETERS) || is_asked_with(volume, digest(parameters))
}

fn is_asked_with(volume: &GlusterVolume, digest: Id) -> bool {
    volume.annotations().get(PARAMETERS) == Some(&digest.to_string())
}

fn of_class(parameters: &HashMap<String, String>) -> BTreeMap<String, String> {
    let of_class = parameters.iter().filter(|(key, _)| !OF_CLAIM.contains(&key.as_str()));
    of_class.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn digest(parameters: &HashMap<String, String>) -> Id {
    Id::from_uid(&serde_json::Value::from_iter(of_class(parameters)).to_string())
}

/// The provisioner gives each volume of a class a group of its own and has Kubernetes tell the pods. A CSI
/// driver cannot tell it, so only a group that is known beforehand is of use.
fn gid(parameters: &ClassParameters) -> Result<i64, Status> {
    match parameters.gids {
        None => Ok(0),
        Some(range) if range.min == range.max => Ok(range.min),
        Some(range) => Err(Status::invalid_argument(format!(
            "StorageClass parameters gidMin and gidMax are {} and {}: pods are not told their volume's group by a \
             CSI driver; accepted is the same number for both, or none (pods use fsGroup then)",
            range.min, range.max
        ))),
    }
}

/// A name for a volume.
fn name(name: &str) -> Result<&str, Status> {
    let bad = |why: String| Err(Status::invalid_argument(format!("name {why}")));
    match name {
        "" => bad("is missing".into()),
        long if long.len() > LONGEST_TEXT => {
            bad(format!("has {} bytes; {LONGEST_TEXT} are the most", long.len()))
        }
        odd if odd.chars().any(|char| char.is_control() && !char.is_whitespace()) => {
            bad("has control characters".into())
        }
        name => Ok(name),
    }
}

/// Checks that the id of a volume is given. Whether there can be such a volume is another question:
/// [`is_object_name`].
///
/// # Errors
/// INVALID_ARGUMENT.
pub fn volume_id(id: &str) -> Result<&str, Status> {
    if id.is_empty() { Err(Status::invalid_argument("volume_id is missing")) } else { Ok(id) }
}

/// Whether an object can have that name. What cannot is no volume of ours, and is never sent anywhere.
pub fn is_object_name(id: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    id.len() <= LONGEST_TEXT
        && id.bytes().all(good)
        && id.starts_with(|first: char| first.is_ascii_alphanumeric())
}

/// Checks the size of a map.
///
/// # Errors
/// INVALID_ARGUMENT.
pub fn check_map(field: &str, map: &HashMap<String, String>) -> Result<(), Status> {
    let size: usize = map.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > LARGEST_MAP {
        let text = format!("{field} has {size} bytes; {LARGEST_MAP} are the most");
        return Err(Status::invalid_argument(text));
    }
    Ok(())
}

/// Checks that volumes can be used in these ways; says why not otherwise. Every volume can be used in all
/// the ways that any can be: capabilities never make two volumes different.
pub fn check_capabilities(capabilities: &[VolumeCapability]) -> Result<(), String> {
    if capabilities.is_empty() {
        return Err("volume_capabilities are missing".into());
    }
    capabilities.iter().try_for_each(check_capability)
}

/// Checks one capability.
pub fn check_capability(capability: &VolumeCapability) -> Result<(), String> {
    let mount = match &capability.access_type {
        Some(AccessType::Mount(mount)) => mount,
        Some(AccessType::Block(_)) => {
            return Err("volume_capability: block is not offered yet; accepted is mount".into());
        }
        None => return Err("volume_capability has no access_type; accepted is mount".into()),
    };
    if !["", FILE_SYSTEM].contains(&mount.fs_type.as_str()) {
        let given: String = mount.fs_type.chars().take(LONGEST_TEXT).collect();
        return Err(format!(
            "volume_capability.mount.fs_type is {given:?}; accepted is {FILE_SYSTEM:?} or nothing"
        ));
    }
    if mount.mount_flags.iter().map(String::len).sum::<usize>() > LARGEST_MAP {
        return Err(format!("volume_capability.mount.mount_flags: {LARGEST_MAP} bytes are the most"));
    }
    let mode = capability.access_mode.map_or(0, |mode| mode.mode);
    match Mode::try_from(mode) {
        Ok(Mode::Unknown) => Err("volume_capability.access_mode is missing".into()),
        Ok(_) => Ok(()),
        Err(_) => Err(format!("volume_capability.access_mode {mode} is not known")),
    }
}
